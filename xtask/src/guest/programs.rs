//! Builds the programs that run inside a guest: linked statically, since there is no libc in there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::host::command;

/// The only target there is for now.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Packages whose programs go into a guest.
const PACKAGES: [&str; 2] = ["p2p-trace", "p2p-trace-guest"];
/// Their programs.
const NAMES: [&str; 7] = [
    "p2p-trace",
    "p2p-agent",
    "p2pdio",
    "p2pmap",
    "p2pcaps",
    "p2pkexec",
    "p2pfloor",
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

/// Where a program lies once it is built; it runs on the host, too.
pub(crate) fn built(root: &Path, name: &str) -> PathBuf {
    root.join("target/guest-programs")
        .join(TARGET)
        .join("release")
        .join(name)
}

/// Builds all programs, in a target folder of their own so that ordinary builds are not thrown away.
///
/// # Errors
///
/// The build fails; the error says why.
pub(crate) fn build(root: &Path) -> Result<Vec<Program>> {
    let target = root.join("target/guest-programs");
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build
        .current_dir(root)
        .args(["build", "--quiet", "--locked", "--release", "--target", TARGET]);
    build.arg("--target-dir").arg(&target);
    for package in PACKAGES {
        build.args(["--package", package]);
    }
    build
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    // The guest unpacks all of it at boot: what is not needed to run stays out.
    build
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    command::run(&mut build, "building the programs for the guest")?;
    Ok(NAMES
        .map(|name| Program {
            name: name.to_owned(),
            path: built(root, name),
        })
        .to_vec())
}
