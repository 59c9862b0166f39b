//! Writes the manual pages and the shells' completions into a folder: `pages FOLDER`. `make pages` runs it.

#![allow(clippy::disallowed_methods, reason = "it writes the files that it is told to")]

use clap::CommandFactory as _;
use clap_complete::{Shell, generate_to};
use passerelle::cli::Cli;
use std::io;
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let folder = std::env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .ok_or_else(|| io::Error::other("usage: pages FOLDER"))?;
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    std::fs::create_dir_all(&man)?;
    std::fs::create_dir_all(&completions)?;
    clap_mangen::generate_to(Cli::command(), man)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        complete(shell, &completions)?;
    }
    Ok(())
}

fn complete(shell: Shell, folder: &Path) -> io::Result<()> {
    generate_to(shell, &mut Cli::command(), "passerelle", folder).map(drop)
}
