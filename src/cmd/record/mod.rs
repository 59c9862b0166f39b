//! `passerelle record`: what a running gateway is told, into a file.

mod redact;

use super::{ConfigFile, GOOD, Out, load, load_bare, named, trouble};
use crate::edge::control::{Request, follow};
use redact::Redactor;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const MORE: &str = "\
It ends when its time is over, when the file is as large as it may be, with Ctrl-C, or when the gateway ends. The file is
for its owner alone: what the domains say is in it.

Examples:
  passerelle record today.jsonl --for 1h
  passerelle record today.jsonl --size 1GiB
  passerelle record for-others.jsonl --redact
  passerelle replay today.jsonl

Exit codes:
  0  it has recorded
  2  the gateway cannot be asked, or the file cannot be written";

/// Arguments of `record`.
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// The file, which must not be there yet
    #[arg(value_name = "FILE", value_parser = named())]
    file: PathBuf,
    /// For so long
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    span: Option<Duration>,
    /// Until the file is so large
    #[arg(long, value_name = "SIZE", default_value = "100MiB", value_parser = size)]
    size: u64,
    /// Replace the values of payloads by others of the same kind and length, and leave out everything else that
    /// the gateway knows: other people may read it, and it can be played with a mapping alone
    #[arg(long)]
    redact: bool,
}

/// Reads a size, such as `100MiB`.
fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];
    let units = UNITS.iter().filter_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    let mut sizes =
        units.filter_map(|(n, factor)| n.trim().parse::<u64>().ok()?.checked_mul(*factor));
    sizes
        .next()
        .filter(|size| *size > 0)
        .ok_or_else(|| "write it as 100MiB, 1GiB or 5000".to_owned())
}

/// Records until something ends it: 0; 2 if it cannot.
#[must_use]
pub fn run(args: &Args, out: &mut Out) -> ExitCode {
    let config = match load_bare(&args.config, out) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let redactor = match args.redact.then(|| load(&args.config, out)).transpose() {
        Ok(whole) => whole.map(|config| Redactor::new(&config.table, config.domains())),
        Err(code) => return code,
    };
    let lines = follow(config.control.as_deref(), &config.state_dir, Request::Record);
    let recorded = lines.map_err(|error| error.to_string()).and_then(|mut lines| {
        let file =
            create(&args.file).map_err(|error| format!("{}: {error}", args.file.display()))?;
        if let Some(span) = args.span {
            lines.end_after(span);
        }
        let next = || lines.next().map_err(|error| error.to_string());
        copy(next, redactor, file, args)
    });
    match recorded {
        Ok(said) => {
            out.say(format_args!("{}: {said}\n", args.file.display()));
            GOOD
        }
        Err(error) => {
            out.complain(format_args!("error: {error}\n"));
            trouble()
        }
    }
}

/// Makes the file, for its owner alone.
#[allow(clippy::disallowed_methods, reason = "it writes what the user names")]
fn create(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

/// Copies line after line. Says how many, and why no more.
fn copy(
    mut next: impl FnMut() -> Result<Option<String>, String>,
    mut redactor: Option<Redactor>,
    mut file: File,
    args: &Args,
) -> Result<String, String> {
    let (mut lines, mut size) = (0_u64, 0_u64);
    while let Some(mut line) = next()? {
        if let Some(redactor) = &mut redactor {
            match redactor.line(&line) {
                Some(redacted) => line = redacted,
                None => continue,
            }
        }
        line.push('\n');
        let after = size.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
        if after > args.size && lines > 1 {
            return Ok(format!("{lines} lines; it is as large as it may be (`--size`)"));
        }
        file.write_all(line.as_bytes())
            .map_err(|error| format!("{}: {error}", args.file.display()))?;
        (lines, size) = (lines + 1, after);
    }
    Ok(format!("{lines} lines"))
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("100MiB"), Ok(100 << 20));
        assert_eq!(size("2 GiB"), Ok(2 << 30));
        assert_eq!(size("17"), Ok(17));
        for wrong in ["", "0", "MiB", "-1", "1TB", "99999999999GiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
