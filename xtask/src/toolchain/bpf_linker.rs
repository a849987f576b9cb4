//! bpf-linker, which turns LLVM bitcode into a BPF object with BTF.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::LLVM_MAJOR;
use crate::host::crates::Release;
use crate::host::{command, packages};

/// The release of bpf-linker that builds the committed objects.
pub(super) const RELEASE: Release = Release { name: "bpf-linker", version: "0.13.0", build_time: "a minute" };

/// The linker and its LLVM.
pub(super) struct BpfLinker {
    /// The linker itself.
    pub(super) program: PathBuf,
    /// `llvm-objcopy` of the same LLVM.
    pub(super) objcopy: PathBuf,
    /// The version of that LLVM, as `22.1.8`.
    pub(super) llvm: String,
}

/// Uses a matching bpf-linker from `PATH`, else builds one.
pub(super) fn ensure() -> Result<BpfLinker> {
    packages::ensure(&packages::BPF)?;
    let llvm = Path::new("/usr/lib").join(format!("llvm-{LLVM_MAJOR}"));
    let version =
        command::read(Command::new(llvm.join("bin/llvm-config")).arg("--version"), "querying LLVM")?;
    let program = match RELEASE.find().filter(|program| uses_system_llvm(program)) {
        Some(program) => program,
        None => RELEASE.build(&format!("bpf-linker-{}-llvm{LLVM_MAJOR}", RELEASE.version), |install| {
            install
                .args(["--no-default-features", "--features"])
                .arg(format!("llvm-{LLVM_MAJOR}"))
                .env("LLVM_PREFIX", &llvm);
        })?,
    };
    Ok(BpfLinker { program, objcopy: llvm.join("bin/llvm-objcopy"), llvm: version.trim().to_owned() })
}

/// Whether a linker uses the system's LLVM: a bundled one results in other bytes.
fn uses_system_llvm(program: &Path) -> bool {
    let libraries = command::probe(Command::new("ldd").arg(program)).unwrap_or_default();
    libraries.contains(&format!("libLLVM.so.{LLVM_MAJOR}"))
}
