//! Creates all output files of commands, so that no existing file is destroyed by accident.
//!
//! [`Output`] is the path that the user named. `Outputs` checks it before a command starts its work, such as a search or a
//! session, and returns a `Destination`, which creates the `OutFile` and checks again. The rules:
//!
//! - a file is created with mode 0600, and only if the name does not exist; symbolic links are not followed;
//! - with `--force` a file or a link is replaced: the new file is written next to it and renamed over it;
//! - an input of the same command is never replaced, under any name, and two outputs never go to the same file;
//! - `-` and `/dev/stdout` are the open stdout, `/dev/fd/N` the other open descriptors; FIFOs and character devices are
//!   written to. Folders, sockets and block devices are refused;
//! - a file is locked until it is closed, so that another recorder does not remove it.
//!
//! In the rest of this crate, `clippy.toml` forbids the functions of the standard library that create files.

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

/// The name of an output file; `-` is stdout. Only `Outputs` can open it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output(pub(crate) PathBuf);

impl Output {
    /// Stdout as the destination of a dump or a page.
    pub(crate) fn stdout() -> Self {
        Self(PathBuf::from("-"))
    }
}

/// The name of an input file. No output of the same command may be the same file.
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
