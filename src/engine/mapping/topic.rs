//! What can be a row's topic.

use super::read::Reader;
use crate::document::Text;

/// Checks that a topic does not end as those do that are made of it.
pub(super) fn root(text: Text, suffix: &str, reader: &mut Reader<'_, '_>) -> String {
    let last = text.text.rsplit('/').next().unwrap_or_default();
    if matches!(last, "request" | "response") || (last == "notification" && !suffix.is_empty()) {
        let message = format!("topic {:?}: the gateway adds the last level itself", text.text);
        let event = if last == "notification" { ", or add `suffix = \"\"`" } else { "" };
        let help = format!("leave `/{last}` out{event}");
        reader.add(text.span.clone(), message, help);
    }
    whole(text, reader)
}

/// Checks that a topic is a plain name.
pub(super) fn whole(text: Text, reader: &mut Reader<'_, '_>) -> String {
    let name = &text.text;
    let wrong = if let Some(wild) = name.chars().find(|c| matches!(c, '+' | '#')) {
        Some((
            format!("topic {name:?}: `{wild}` is a wildcard"),
            "a row's topic must be a plain name",
        ))
    } else if name.is_empty() || name.split('/').any(str::is_empty) {
        Some((format!("topic {name:?} has an empty level"), "write levels parted by single `/`"))
    } else if name.contains('\0') || name.starts_with('$') || name.len() > 1024 {
        Some((
            format!("topic {name:?} is none that a client may publish to"),
            "leave out NUL and a leading `$`; 1024 bytes at most",
        ))
    } else {
        None
    };
    if let Some((message, help)) = wrong {
        reader.add(text.span, message, help);
    }
    text.text
}
