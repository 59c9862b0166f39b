//! Writes the manual pages and the shells' completions into a folder: `pages FOLDER DATE`. `make pages` runs it.

#![allow(clippy::disallowed_methods, reason = "it writes the files that it is told to")]

use clap::{Command, CommandFactory as _};
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;
use passerelle::cli::Cli;
use std::io;
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let usage = || io::Error::other("usage: pages FOLDER DATE");
    let folder = args.next().map(PathBuf::from).ok_or_else(usage)?;
    let date = args.next().ok_or_else(usage)?;
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    std::fs::create_dir_all(&man)?;
    std::fs::create_dir_all(&completions)?;
    // Built, a subcommand knows its whole name.
    let mut command = Cli::command();
    command.build();
    manual(&command, &date, &man)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut Cli::command(), "passerelle", &completions)?;
    }
    Ok(())
}

/// A page for a command, and for each below it.
fn manual(command: &Command, date: &str, folder: &Path) -> io::Result<()> {
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        manual(below, date, folder)?;
    }
    let mut page = Vec::new();
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let source = concat!("passerelle ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone())
        .title(name.to_uppercase())
        .date(date)
        .source(source)
        .render(&mut page)?;
    // Breaks beside an empty line are too many, says mandoc.
    let page = String::from_utf8_lossy(&page).replace(".br\n\n.br\n", "\n");
    std::fs::write(folder.join(format!("{name}.1")), page)
}
