//! Builds the programs that run inside a guest: statically linked, because the guest has no libc.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::host::cargo::{self, Profile};
use crate::host::command;

/// Their names.
const NAMES: [&str; 10] = [
    "p2p-trace",
    "p2p-agent",
    "p2pdio",
    "p2pread",
    "p2pmap",
    "p2pcaps",
    "p2pkexec",
    "p2pfloor",
    "p2pstart",
    "p2pstamp",
];

/// A program for the guest.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// Its name in the guest, under `/bin`.
    pub(crate) name: String,
    /// Its file on the host.
    pub(crate) path: PathBuf,
}

impl Program {
    /// The bytes of its file.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub(crate) fn read(&self) -> Result<Vec<u8>> {
        fs::read(&self.path).with_context(|| format!("cannot read the program {}", self.path.display()))
    }
}

/// Path of a program that was built for scenarios; it runs on the host as well.
pub(crate) fn built(root: &Path, name: &str) -> PathBuf {
    cargo::program(root, Profile::Guest, name)
}

/// Builds all programs.
///
/// # Errors
///
/// The build fails; the error says why.
pub(crate) fn build(root: &Path, profile: Profile) -> Result<Vec<Program>> {
    command::run(cargo::programs(root, profile).arg("--quiet"), "building the programs for the guest")?;
    Ok(NAMES
        .map(|name| Program { name: name.to_owned(), path: cargo::program(root, profile, name) })
        .to_vec())
}
