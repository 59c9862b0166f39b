//! What the subcommands print: all of it goes through here.

use super::trouble;
use crate::printable;
use anstream::{AutoStream, ColorChoice, adapter::strip_str, stream::RawStream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, IsTerminal as _, Stdout, Write as _};
use std::os::fd::AsFd;
use std::process::ExitCode;

/// Standard output and standard error. Nothing that is shown does anything to a terminal, and output that
/// breaks ends the program as [`Out::end`] says, never with a panic.
#[derive(Debug)]
pub struct Out {
    stdout: BufWriter<Stdout>,
    /// What has gone wrong first; nothing is written after it.
    broken: Option<io::Error>,
}

impl Out {
    /// The program's own.
    #[must_use]
    pub fn new() -> Self {
        Self { stdout: BufWriter::new(io::stdout()), broken: None }
    }

    /// Prints text of whole lines.
    pub fn say(&mut self, lines: impl Display) {
        self.put(&printable::lines(&lines.to_string()));
    }

    /// Prints JSON of whole lines.
    pub fn say_json(&mut self, lines: impl Display) {
        self.put(&printable::json(&lines.to_string()));
    }

    /// Prints text of whole lines, with its colours where somebody wants them. What is from outside in it
    /// has been made printable.
    pub fn say_painted(&mut self, lines: &str) {
        let lines = for_whom(self.stdout.get_ref(), lines);
        self.put(&lines);
    }

    /// Prints what is not from outside, or has been made printable.
    pub fn put(&mut self, text: &str) {
        if self.broken.is_none() {
            self.broken = self.stdout.write_all(text.as_bytes()).err();
        }
    }

    /// Writes out what has been printed; whether it could, and more is wanted.
    pub fn flush(&mut self) -> bool {
        if self.broken.is_none() {
            self.broken = self.stdout.flush().err();
        }
        self.broken.is_none() && !self.is_cut_off()
    }

    /// Whether nobody reads what is printed any more, as far as can be told without printing.
    fn is_cut_off(&self) -> bool {
        let mut reader = [self.reader()];
        poll(&mut reader, Some(&Timespec::default())).is_ok() && is_gone(&reader)
    }

    /// Waits until there is something to read at a source: true; or until nobody reads what is printed: false.
    pub fn waits_for(&self, source: &impl AsFd) -> bool {
        let mut either = [self.reader(), PollFd::new(source, PollFlags::IN)];
        poll(&mut either, None).is_err() || !is_gone(either.get(..1).unwrap_or_default())
    }

    /// Whoever reads what is printed.
    fn reader(&self) -> PollFd<'_> {
        PollFd::new(self.stdout.get_ref(), PollFlags::empty())
    }

    /// Says something on standard error, after what has been printed. Nobody can be told if that fails.
    pub fn complain(&mut self, lines: impl Display) {
        self.flush();
        let _ = io::stderr().write_all(printable::lines(&lines.to_string()).as_bytes());
    }

    /// As [`Out::complain`], with colours as [`Out::say_painted`] has them.
    pub fn complain_painted(&mut self, lines: &str) {
        self.flush();
        let lines = for_whom(&io::stderr(), lines);
        let _ = io::stderr().write_all(lines.as_bytes());
    }

    /// Whether somebody looks at what is printed.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.stdout.get_ref().is_terminal()
    }

    /// How wide the terminal is, in characters; 80 if nobody can tell.
    #[must_use]
    pub fn width(&self) -> usize {
        const USUAL: usize = 80;
        let size = rustix::termios::tcgetwinsize(self.stdout.get_ref()).ok();
        size.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0).unwrap_or(USUAL)
    }

    /// The end: with this code, also if whoever read it has seen enough; with 2 if it could not be written.
    #[must_use]
    pub fn end(mut self, code: ExitCode) -> ExitCode {
        self.flush();
        match self.broken.take() {
            Some(error) if error.kind() != ErrorKind::BrokenPipe => {
                self.complain(format_args!("error: standard output: {error}\n"));
                trouble()
            }
            _ => code,
        }
    }
}

fn is_gone(readers: &[PollFd<'_>]) -> bool {
    readers.iter().any(|reader| reader.revents().intersects(PollFlags::ERR | PollFlags::HUP))
}

/// Colours are for a terminal, unless `NO_COLOR` or the like says otherwise.
fn for_whom(stream: &impl RawStream, lines: &str) -> String {
    let lines = printable::painted(lines);
    match AutoStream::choice(stream) {
        ColorChoice::Never => strip_str(&lines).to_string(),
        _ => lines.into_owned(),
    }
}

impl Default for Out {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Out {
    /// A buffer that broke is not written again.
    fn drop(&mut self) {
        self.flush();
    }
}
