//! Standard error, which never holds the gateway up: without a reader of it, lines are lost and counted.

use crate::config::LogFormat;
use crate::printable;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::io::{self, Write};

/// The longest line, with its end: what a pipe takes whole or not at all (PIPE_BUF).
const LONGEST: usize = 4096;

/// Where the log is written, line by line.
#[derive(Debug)]
pub(super) struct Stderr {
    format: LogFormat,
    /// How many lines nobody has taken.
    lost: u64,
}

impl Stderr {
    pub(super) fn new(format: LogFormat) -> Self {
        Self { format, lost: 0 }
    }

    /// What is said before the next line.
    fn account(&self) -> String {
        let lost = self.lost;
        match self.format {
            LogFormat::Text => {
                format!("WARN nobody has read the log: lines are lost lines={lost}\n")
            }
            LogFormat::Json => format!(
                "{{\"level\":\"WARN\",\"message\":\"nobody has read the log: lines are lost\",\
                 \"lines\":{lost}}}\n"
            ),
        }
    }

    fn write_line(&mut self, line: &str) -> io::Result<()> {
        if self.lost > 0 {
            write_now(self.account().as_bytes())?;
            self.lost = 0;
        }
        write_now(line.as_bytes())
    }
}

impl Write for Stderr {
    /// A whole line, or none of it: then it is counted. There is nobody to tell of an error.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let mut shown = match self.format {
            LogFormat::Text => cut(printable::text(text)),
            LogFormat::Json => cut_json(printable::json(text)),
        };
        shown.push('\n');
        if self.write_line(&shown).is_err() {
            self.lost = self.lost.saturating_add(1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// At most a line's room.
fn cut(line: Cow<'_, str>) -> String {
    const ROOM: usize = LONGEST - 64;
    if line.len() < LONGEST {
        return line.into_owned();
    }
    let head = printable::head(&line, ROOM);
    format!("{head}... and {} bytes", line.len() - head.len())
}

/// At most a line's room: texts lose their ends.
fn cut_json(line: Cow<'_, str>) -> String {
    if line.len() < LONGEST {
        return line.into_owned();
    }
    let mut members: Map<String, Value> = serde_json::from_str(&line).unwrap_or_default();
    let mut most = LONGEST;
    loop {
        most /= 2;
        for text in members.values_mut() {
            if let Value::String(text) = text {
                *text = printable::head(text, most).to_owned();
            }
        }
        members.insert("cut".into(), true.into());
        let text = serde_json::to_string(&members).unwrap_or_default();
        let shown = printable::json(&text);
        if shown.len() < LONGEST || most == 0 {
            return shown.into_owned();
        }
    }
}

/// Writes a line if that can be done without waiting. To a file it always can.
fn write_now(line: &[u8]) -> io::Result<()> {
    let mut stderr = io::stderr();
    let mut ends = [PollFd::new(&stderr, PollFlags::OUT)];
    poll(&mut ends, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    match ends.iter().any(|end| end.revents().contains(PollFlags::OUT)) {
        true => stderr.write_all(line),
        false => Err(io::ErrorKind::WouldBlock.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_has_a_length() {
        for text in ["x", "é", "\u{202e}", "\"", "\u{e0041}"].map(|c| c.repeat(70_000)) {
            let line = cut(printable::text(&text));
            assert!(line.len() < LONGEST && line.contains("... and "), "{}", line.len());
            let event =
                json!({"level": "WARN", "message": "refused", "n": 7, "head": text, "from": text});
            let line = cut_json(printable::json(&event.to_string()));
            let value: Value = serde_json::from_str(&line).unwrap();
            assert!(line.len() < LONGEST, "{}", line.len());
            assert_eq!((&value["message"], &value["n"]), (&json!("refused"), &json!(7)));
            assert!(value["head"].as_str().is_some_and(|head| text.starts_with(head)), "{line}");
        }
        assert_eq!(cut("short".into()), "short");
        assert_eq!(cut_json("{\"a\":1}".into()), "{\"a\":1}");
    }
}
