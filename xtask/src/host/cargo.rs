//! Cargo as the tasks call it: one profile, one target and one choice of packages, so that nothing is compiled twice.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ebpf::inputs;

/// The only target there is for now. It is named, so that the flags below are not for build scripts and macros.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// There is no libc in a guest.
const FLAGS: &str = "-C target-feature=+crt-static";

/// How programs are compiled, and with what.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Build {
    /// Quickly, with all checks, together with the tests: they then have what they depend on in common.
    WithTests,
    /// As quickly, for whoever needs the programs of a guest only.
    Programs,
    /// As users have them.
    Release,
}

impl Build {
    /// As Cargo.toml calls its profile, and the folder of what is compiled so.
    const fn profile(self) -> &'static str {
        match self {
            Self::WithTests | Self::Programs => "ci",
            Self::Release => "release",
        }
    }
}

/// The whole workspace but the kernel side, which does not compile for this machine. Where it is tested, everything has this choice:
/// with another one, other features would be chosen for the dependencies too.
pub(crate) const USER_SPACE: [&str; 3] = ["--workspace", "--exclude", inputs::CRATE];

/// Packages whose programs go into a guest.
const PACKAGES: [&str; 4] = ["--package", "p2p-trace", "--package", "p2p-trace-guest"];

/// Cargo in the workspace, nothing chosen.
pub(crate) fn plain(root: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root);
    cargo
}

/// A task of cargo such as `test`, for this machine and for guests alike.
pub(crate) fn compiling(root: &Path, task: &str, build: Build) -> Command {
    let mut cargo = plain(root);
    cargo
        .args([task, "--locked", "--profile", build.profile(), "--target", TARGET])
        .arg("--target-dir")
        .arg(target_folder(root))
        .env("RUSTFLAGS", FLAGS)
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo
}

/// The build of all programs.
pub(crate) fn programs(root: &Path, build: Build) -> Command {
    let mut cargo = compiling(root, "build", build);
    match build {
        Build::WithTests => cargo.args(USER_SPACE).args(["--bins", "--tests"]),
        Build::Programs | Build::Release => cargo.args(PACKAGES),
    };
    // A guest unpacks all of it at boot: what is not needed to run stays out.
    cargo
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    cargo
}

/// Where a program lies once it is compiled.
pub(crate) fn program(root: &Path, build: Build, name: &str) -> PathBuf {
    target_folder(root).join(TARGET).join(build.profile()).join(name)
}

fn target_folder(root: &Path) -> PathBuf {
    root.join("target")
}
