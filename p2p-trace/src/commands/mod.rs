//! One file per subcommand.

pub mod check;
pub mod doctor;
mod exit_policy;
pub mod export;
#[cfg(any(test, fuzzing))]
#[cfg(all(feature = "trace", feature = "tui"))]
pub mod fuzz;
pub mod generate;
mod handler;
pub mod holders;
#[cfg(test)]
#[cfg(feature = "tui")]
mod hostile_tests;
pub mod live;
#[cfg(test)]
#[cfg(feature = "tui")]
mod one_answer_tests;
pub mod record;
pub mod recover;
pub mod replay;
pub mod report;
pub mod top;

use std::{
    env,
    io::{self, IsTerminal},
};

use crate::{
    cli::{ColorWhen, Global},
    exit::{Exit, Refusal},
    outfile::OutputError,
    render::{Format, text},
};

/// The exit code of an error.
#[must_use]
pub fn exit_of(error: &anyhow::Error) -> Exit {
    let refused = error.downcast_ref::<Refusal>().map(|refusal| refusal.exit);
    let of_output = || error.downcast_ref::<OutputError>().map(OutputError::exit);
    refused.or_else(of_output).unwrap_or(Exit::Error)
}

/// Whether output to `stream` is colored by default.
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

/// The format in which `live` and `replay` show a run.
fn format(json: bool, stacks: bool, global: &Global) -> Format {
    let color = colors_stdout(global);
    let style = text::Style { color };
    if json { Format::Json } else { Format::Text(text::Options { style, stacks }) }
}

/// Whether the reader of a pipe has closed it, so that writing more is pointless.
fn is_closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}
