//! Standard error, which never holds the gateway up: without a reader of it, lines are lost and counted.

use crate::config::LogFormat;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Write};

/// What a pipe takes at once if it takes anything (PIPE_BUF).
const PIECE: usize = 4096;

/// Where the log is written, line by line.
#[derive(Debug)]
pub(super) struct Stderr {
    format: LogFormat,
    /// How many lines nobody has taken.
    lost: u64,
    /// A part of the last was taken.
    torn: bool,
}

impl Stderr {
    pub(super) fn new(format: LogFormat) -> Self {
        Self { format, lost: 0, torn: false }
    }

    /// What is said before the next line.
    fn account(&self) -> String {
        let end = if self.torn { "\n" } else { "" };
        let lost = self.lost;
        match self.format {
            _ if lost == 0 => String::new(),
            LogFormat::Text => {
                format!("{end}WARN nobody has read the log: lines are lost lines={lost}\n")
            }
            LogFormat::Json => format!(
                "{end}{{\"level\":\"WARN\",\"message\":\"nobody has read the log: lines are lost\",\
                 \"lines\":{lost}}}\n"
            ),
        }
    }
}

impl Write for Stderr {
    /// A whole line, or none of it: then it is counted. There is nobody to tell of an error.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = [self.account().as_bytes(), line].concat();
        for (n, piece) in text.chunks(PIECE).enumerate() {
            if write_now(piece).is_err() {
                self.lost = self.lost.saturating_add(1);
                self.torn |= n > 0;
                return Ok(line.len());
            }
        }
        (self.lost, self.torn) = (0, false);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a piece if that can be done without waiting. To a file it always can.
fn write_now(piece: &[u8]) -> io::Result<()> {
    let mut stderr = io::stderr();
    let mut ends = [PollFd::new(&stderr, PollFlags::OUT)];
    poll(&mut ends, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    match ends.iter().any(|end| end.revents().contains(PollFlags::OUT)) {
        true => stderr.write_all(piece),
        false => Err(io::ErrorKind::WouldBlock.into()),
    }
}
