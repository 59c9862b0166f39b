//! Topics: what can be a row's, and how one is taken apart.

use super::read::Reader;
use crate::document::Text;

/// A topic taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic<'t> {
    /// `<root>/request`, or `<root>/request/<requester>`.
    Request(&'t str, Option<&'t str>),
    /// `<root>/response`, or `<root>/response/<requester>`.
    Response(&'t str, Option<&'t str>),
    /// Anything else.
    Other,
}

impl<'t> Topic<'t> {
    /// Takes `topic` apart. A name with a wildcard is no topic (MQTT 5, 4.7.1), and nothing is to be
    /// published on it.
    #[must_use]
    pub fn parse(topic: &'t str) -> Self {
        if topic.contains(['+', '#']) {
            return Self::Other;
        }
        let (above, last) = topic.rsplit_once('/').unwrap_or(("", topic));
        let (root, kind) = above.rsplit_once('/').unwrap_or(("", above));
        match (last, kind) {
            ("request", _) => Self::Request(above, None),
            ("response", _) => Self::Response(above, None),
            (name, "request") => Self::Request(root, Some(name)),
            (name, "response") => Self::Response(root, Some(name)),
            _ => Self::Other,
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_taken_apart_by_its_end() {
        assert_eq!(Topic::parse("a/b/request"), Topic::Request("a/b", None));
        assert_eq!(Topic::parse("a/b/request/vm"), Topic::Request("a/b", Some("vm")));
        assert_eq!(Topic::parse("a/b/response/vm"), Topic::Response("a/b", Some("vm")));
        assert_eq!(Topic::parse("a/b/response"), Topic::Response("a/b", None));
        assert_eq!(Topic::parse("a/b/notification"), Topic::Other);
        assert_eq!(Topic::parse(""), Topic::Other);
    }
}
