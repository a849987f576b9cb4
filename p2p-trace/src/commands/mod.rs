//! One file per subcommand.

pub mod doctor;
pub mod generate;
pub mod holders;
pub mod live;
mod stop;

use std::{
    env,
    io::{self, IsTerminal},
};

use crate::{
    cli::{ColorWhen, Global},
    exit::Exit,
};

/// An error that ends the program with a code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// How the program ends.
    pub exit: Exit,
    /// What failed, on what, and what to do.
    pub message: String,
}

/// How the program ends on this error.
#[must_use]
pub fn exit_of(error: &anyhow::Error) -> Exit {
    error
        .downcast_ref::<Refusal>()
        .map_or(Exit::Error, |refusal| refusal.exit)
}

/// Whether to colour what goes to `stream`, if nothing else was asked for.
pub fn is_colored(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn colors_stdout(global: &Global) -> bool {
    match global.color {
        ColorWhen::Always => true,
        ColorWhen::Never => false,
        ColorWhen::Auto => is_colored(&io::stdout()),
    }
}

/// The reader of a pipe has gone: there is nobody left to write for.
fn is_closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}
