//! What is wrong with a file: where, what, the rule, and the way out; all findings at once.

use crate::printable;
use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// A file that was read: its name as the user gave it, and its text.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The path as given.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    /// A line that names the file and what the system says, or the first byte that is not UTF-8.
    #[allow(clippy::disallowed_methods, reason = "it reads what the user names")]
    pub fn read(path: &Path) -> Result<Arc<Self>, String> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| format!("{name}: {error}"))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
            let line = memchr::memchr_iter(b'\n', good).count() + 1;
            let byte = good.len() - memchr::memrchr(b'\n', good).map_or(0, |at| at + 1) + 1;
            format!("{name}: line {line}, byte {byte} is not UTF-8: save the file as UTF-8")
        })?;
        Ok(Arc::new(Self { name, text }))
    }

    /// The line, counted from 1, of a byte.
    #[must_use]
    pub fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        memchr::memchr_iter(b'\n', before).count() + 1
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub source: Arc<Source>,
    /// The offending text, in bytes.
    pub span: Range<usize>,
    /// The thing and the rule that it breaks.
    pub message: String,
    /// The way out.
    pub help: String,
}

impl Finding {
    /// All of it on one line, as a log wants it.
    #[must_use]
    pub fn on_a_line(&self) -> String {
        let Self { source, span, message, help } = self;
        let mut text = format!("{}:{}: {message}", source.name, source.line(span.start));
        if !help.is_empty() {
            text += "; help: ";
            text += help;
        }
        text
    }

    /// All of it, with the place underlined, in colour. The colours are the only ESC in it.
    #[must_use]
    pub fn painted(&self) -> String {
        self.render(&Renderer::styled())
    }

    fn render(&self, renderer: &Renderer) -> String {
        let text = &self.source.text;
        let end = self.span.end.min(text.len());
        let span = self.span.start.min(end)..end;
        let mut group = Level::ERROR.primary_title(printable::text(&self.message)).element(
            Snippet::source(text)
                .path(printable::text(&self.source.name))
                .annotation(AnnotationKind::Primary.span(span)),
        );
        if !self.help.is_empty() {
            group = group.element(Level::HELP.message(printable::text(&self.help)));
        }
        renderer.clone().decor_style(DecorStyle::Ascii).render(&[group])
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Renderer::plain()))
    }
}

/// Findings as they are collected.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds one.
    pub fn add(
        &mut self,
        source: &Arc<Source>,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let (message, help) = (message.into(), help.into());
        let finding = Finding { source: Arc::clone(source), span, message, help };
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }

    /// Adds those of another file.
    pub fn extend(&mut self, more: Vec<Finding>) {
        self.0.extend(more);
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in the order of files and lines.
    #[must_use]
    pub fn into_sorted(mut self) -> Vec<Finding> {
        self.0.sort_by(|a, b| (&a.source.name, a.span.start).cmp(&(&b.source.name, b.span.start)));
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_shows_the_place_the_rule_and_the_way_out() {
        let text = "a = 1\ntopic = \"system/#\"\n";
        let source = Arc::new(Source { name: "m.toml".into(), text: text.into() });
        let mut findings = Findings::default();
        findings.add(&source, 14..24, "`#` is a wildcard", "write a plain name");
        let shown = findings.into_sorted()[0].to_string();
        for part in
            ["error: `#` is a wildcard", "m.toml:2:9", "^^^^^^^^^^", "help: write a plain name"]
        {
            assert!(shown.contains(part), "{part:?} in\n{shown}");
        }
    }
}
