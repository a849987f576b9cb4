//! Every file that a command writes is created here, so that none destroys another.
//!
//! [`Output`] is what the user named. `Outputs` checks it before anything long begins, such as a search or a session, and
//! makes a `Destination` of it; that creates the `OutFile`, and checks once more. The rules:
//!
//! - a file is created with mode 0600, and only where there is none; no symbolic link is followed;
//! - with `--force` a file or a link is replaced: the new file is written beside it and renamed over it;
//! - never where it would replace what the same command reads, by whatever name, or what another of its outputs goes to;
//! - `-` and `/dev/stdout` are stdout as it is, and so are the other open descriptors, by `/dev/fd/N`; FIFOs and character
//!   devices are written to. Folders, sockets and block devices are refused.
//!
//! `clippy.toml` forbids the standard library's ways to create a file elsewhere in this crate.

mod descriptor;
mod destination;
mod error;
mod file;
mod folder;
mod identity;
mod inspect;
mod lock;
mod outputs;
#[cfg(unix)]
#[cfg(test)]
mod tests;

use std::{
    ops::Deref,
    path::{Path, PathBuf},
};

use clap::builder::{MapValueParser, PathBufValueParser, TypedValueParser as _, ValueParserFactory};

pub(crate) use destination::Destination;
pub(crate) use error::OutputError;
pub(crate) use file::{OutFile, Placed};
pub(crate) use outputs::{Content, Outputs};

/// A file that a command writes, as it was named: `-` is stdout. Only `Outputs` makes something of it that can be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output(pub(crate) PathBuf);

impl Output {
    /// For a dump or a page that goes to stdout.
    pub(crate) fn stdout() -> Self {
        Self(PathBuf::from("-"))
    }
}

/// A file that a command reads, as it was named. No output of the same command may be the same file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input(PathBuf);

impl Deref for Input {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for Input {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl ValueParserFactory for Output {
    type Parser = MapValueParser<PathBufValueParser, fn(PathBuf) -> Self>;

    fn value_parser() -> Self::Parser {
        PathBufValueParser::new().map(Self)
    }
}

impl ValueParserFactory for Input {
    type Parser = MapValueParser<PathBufValueParser, fn(PathBuf) -> Self>;

    fn value_parser() -> Self::Parser {
        PathBufValueParser::new().map(Self)
    }
}
