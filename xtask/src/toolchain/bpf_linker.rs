//! bpf-linker, which turns LLVM bitcode into a BPF object with BTF.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::LLVM_MAJOR;
use crate::host::{cache, command, packages};

/// The release of bpf-linker the committed objects are built with.
pub(super) const VERSION: &str = "0.13.0";

/// The linker and what belongs to it.
pub(super) struct BpfLinker {
    /// The linker itself.
    pub(super) program: PathBuf,
    /// `llvm-objcopy` of the same LLVM.
    pub(super) objcopy: PathBuf,
    /// The version of that LLVM, as `22.1.8`.
    pub(super) llvm: String,
}

/// Takes a matching bpf-linker from `PATH`, else builds one into the cache; the user's own `~/.cargo/bin` stays as it is.
pub(super) fn ensure() -> Result<BpfLinker> {
    packages::ensure(&packages::BPF)?;
    let llvm = Path::new("/usr/lib").join(format!("llvm-{LLVM_MAJOR}"));
    let version = command::read(
        Command::new(llvm.join("bin/llvm-config")).arg("--version"),
        "asking LLVM",
    )?;
    let program = match command::find("bpf-linker").filter(|program| matches(program)) {
        Some(program) => program,
        None => build(&llvm)?,
    };
    Ok(BpfLinker {
        program,
        objcopy: llvm.join("bin/llvm-objcopy"),
        llvm: version.trim().to_owned(),
    })
}

/// Whether this is our release and runs on the LLVM installed here: a linker with an LLVM of its own gives other bytes.
fn matches(program: &Path) -> bool {
    let version = command::probe(Command::new(program).arg("--version")).unwrap_or_default();
    let libraries = command::probe(Command::new("ldd").arg(program)).unwrap_or_default();
    version.trim() == format!("bpf-linker {VERSION}")
        && libraries.contains(&format!("libLLVM.so.{LLVM_MAJOR}"))
}

fn build(llvm: &Path) -> Result<PathBuf> {
    let folder = cache::entry(&format!("bpf-linker-{VERSION}-llvm{LLVM_MAJOR}"), |work| {
        println!("Building bpf-linker {VERSION} into the cache folder (about a minute).");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut install = Command::new(cargo);
        install
            .args([
                "install",
                "bpf-linker",
                "--locked",
                "--version",
                VERSION,
                "--no-default-features",
                "--features",
            ])
            .arg(format!("llvm-{LLVM_MAJOR}"))
            .arg("--root")
            .arg(work)
            .env("LLVM_PREFIX", llvm)
            // It links two small objects: that it is there soon matters more than how fast it is. What it makes is the same.
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS");
        command::run(&mut install, "building bpf-linker")
    })?;
    let program = folder.join("bin/bpf-linker");
    program
        .is_file()
        .then_some(program)
        .context("bpf-linker was built but has no program: remove it from the cache")
}
