//! The tools that compile the kernel side: one exact Rust compiler with its library sources, bpf-linker, and LLVM.

mod bpf_linker;
mod rust_src;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::host::{cargo, command};

/// The compiler that builds the committed objects; another one results in other bytes.
pub(crate) const RUST_VERSION: &str = "1.95.0";
/// The LLVM that bpf-linker uses: the major version of the compiler's own.
pub(crate) const LLVM_MAJOR: &str = "22";

/// The tools, found or installed.
#[derive(Debug)]
pub(crate) struct Toolchain {
    /// The folder above the compiler's libraries.
    pub(crate) sysroot: PathBuf,
    pub(crate) bpf_linker: PathBuf,
    /// Strips the objects.
    pub(crate) objcopy: PathBuf,
    /// The versions of the tools.
    pub(crate) versions: Versions,
}

/// Everything except for the sources that determines the bytes of an object.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Versions {
    /// The compiler, as `1.95.0 (59807616e 2026-04-14)`.
    pub(crate) rustc: String,
    /// The compiler's LLVM.
    pub(crate) rustc_llvm: String,
    /// The SHA-256 of the sources of `core` and its dependencies.
    pub(crate) rust_src: String,
    pub(crate) bpf_linker: String,
    pub(crate) linker_llvm: String,
}

impl Versions {
    /// The tools that differ, each with both versions.
    pub(crate) fn differences(&self, current: &Self) -> Vec<String> {
        [
            ("rustc", &self.rustc, &current.rustc),
            ("rustc's LLVM", &self.rustc_llvm, &current.rustc_llvm),
            ("rust-src", &self.rust_src, &current.rust_src),
            ("bpf-linker", &self.bpf_linker, &current.bpf_linker),
            ("bpf-linker's LLVM", &self.linker_llvm, &current.linker_llvm),
        ]
        .into_iter()
        .filter(|(_, then, now)| then != now)
        .map(|(tool, then, now)| format!("{tool}: built with {then}, found {now}"))
        .collect()
    }
}

impl Toolchain {
    /// Finds the tools and installs missing ones, after printing their names.
    ///
    /// # Errors
    /// A tool is missing and cannot be installed; the error says how to install it manually.
    pub(crate) fn ensure() -> Result<Self> {
        let sysroot = find_sysroot()?;
        let library = rust_src::ensure(&sysroot)?;
        let linker = bpf_linker::ensure()?;
        let verbose = command::read(Command::new(sysroot.join("bin/rustc")).arg("-vV"), "querying rustc")?;
        let versions = Versions {
            rustc: verbose.lines().next().unwrap_or_default().trim_start_matches("rustc ").to_owned(),
            rustc_llvm: field(&verbose, "LLVM version").to_owned(),
            rust_src: rust_src::fingerprint(&library)?,
            bpf_linker: bpf_linker::RELEASE.version.to_owned(),
            linker_llvm: linker.llvm,
        };
        Ok(Self { sysroot, bpf_linker: linker.program, objcopy: linker.objcopy, versions })
    }

    /// The compiler.
    pub(crate) fn rustc(&self) -> PathBuf {
        self.sysroot.join("bin/rustc")
    }

    /// The compiler's own cargo, else the one that runs this task.
    pub(crate) fn cargo(&self) -> PathBuf {
        let own = self.sysroot.join("bin/cargo");
        if own.is_file() { own } else { cargo::own() }
    }

    /// The folder of the compiler's library sources.
    pub(crate) fn library(&self) -> PathBuf {
        rust_src::library(&self.sysroot)
    }
}

/// The sysroot of the compiler [`RUST_VERSION`]: the default one, else rustup's toolchain of that name.
fn find_sysroot() -> Result<PathBuf> {
    let mut found = Vec::new();
    let candidates: [&[&str]; 2] = [&["rustc"], &["rustup", "run", RUST_VERSION, "rustc"]];
    for candidate in candidates {
        let query =
            |option: &[&str]| command::probe(Command::new(candidate[0]).args(&candidate[1..]).args(option));
        let (Some(version), Some(sysroot)) = (query(&["-vV"]), query(&["--print", "sysroot"])) else {
            continue;
        };
        let release = field(&version, "release").to_owned();
        if release == RUST_VERSION {
            return Ok(PathBuf::from(sysroot.trim()));
        }
        found.push(release);
    }
    if command::exists("rustup") {
        println!(
            "Installing Rust {RUST_VERSION} in addition to your own toolchain (rustup, minimal profile, about 80 MB)."
        );
        let install = ["toolchain", "install", RUST_VERSION, "--profile", "minimal", "--no-self-update"];
        command::run(Command::new("rustup").args(install), "installing Rust")?;
        let query = ["run", RUST_VERSION, "rustc", "--print", "sysroot"];
        return Ok(PathBuf::from(
            command::read(Command::new("rustup").args(query), "querying rustc")?.trim(),
        ));
    }
    bail!("the kernel side needs Rust {RUST_VERSION}, found {}: install that version", found.join(", "))
}

/// The value of the line `name: value`, empty if there is none.
fn field<'text>(text: &'text str, name: &str) -> &'text str {
    text.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(key, _)| *key == name)
        .map_or("", |(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_a_field_of_the_version() {
        let version = "rustc 1.95.0 (59807616e 2026-04-14)\nrelease: 1.95.0\nLLVM version: 22.1.2\n";
        assert_eq!(field(version, "release"), "1.95.0");
        assert_eq!(field(version, "LLVM version"), "22.1.2");
        assert_eq!(field(version, "host"), "");
    }
}
