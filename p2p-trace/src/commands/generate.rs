//! `completions` and `man`: generated from the command line itself.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use clap_complete::Shell;

use super::is_closed;
use crate::{
    cli,
    exit::{Exit, Refusal},
};

/// Prints a completion script.
///
/// # Errors
///
/// When it cannot be written.
pub fn completions(shell: Shell) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::command(), "p2p-trace", &mut script);
    print(&script)
}

/// Prints the manual page of `name`, or of the whole.
///
/// # Errors
///
/// When there is no such command, or the page cannot be written.
pub fn man(name: Option<&str>) -> Result<Exit> {
    let mut command = cli::command();
    command.build();
    let command = match name {
        None => command,
        Some(name) => command.find_subcommand(name).cloned().ok_or_else(|| {
            Refusal::new(Exit::Usage, format!("there is no command `{name}`; see `p2p-trace --help`"))
        })?,
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).context("cannot make the manual page")?;
    print(&page)
}

fn print(bytes: &[u8]) -> Result<Exit> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if !is_closed(&error) => Err(error).context("cannot write to stdout"),
        _ => Ok(Exit::Success),
    }
}
