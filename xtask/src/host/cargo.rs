//! Cargo as the tasks call it, so that nothing is compiled twice: one choice of packages for what runs here, and one profile for the
//! programs of a guest.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::host::inputs;

/// The only target there is for now. It is named, so that the flags below are not for build scripts and macros.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// There is no libc in a guest.
const FLAGS: &str = "-C target-feature=+crt-static";
/// Packages whose programs go into a guest.
const PACKAGES: [&str; 4] = ["--package", "p2p-trace", "--package", "p2p-trace-guest"];

/// How programs for a guest are compiled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Profile {
    /// Almost as fast, and compiled in a fraction of the time.
    Guest,
    /// As users have them.
    Release,
}

impl Profile {
    /// As Cargo.toml calls it, and the folder of what is compiled so.
    const fn name(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Release => "release",
        }
    }
}

/// The cargo that runs us.
pub(crate) fn own() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// Cargo in a folder, nothing chosen.
pub(crate) fn plain(folder: &Path) -> Command {
    let mut cargo = Command::new(own());
    cargo.current_dir(folder);
    cargo
}

/// A task of cargo such as `test` on the whole workspace but the kernel side, which does not compile for this machine. Each has this
/// choice of packages: with another one, other features would be chosen for what they depend on, and all of it compiled again.
pub(crate) fn user_space(root: &Path, task: &str) -> Command {
    let mut cargo = plain(root);
    cargo.args([task, "--locked", "--workspace", "--exclude", inputs::CRATE]);
    cargo
}

/// The build of all programs of a guest.
pub(crate) fn programs(root: &Path, profile: Profile) -> Command {
    let mut cargo = plain(root);
    cargo
        .args(["build", "--locked", "--profile", profile.name(), "--target", TARGET])
        .arg("--target-dir")
        .arg(target_folder(root))
        .args(PACKAGES)
        .env("RUSTFLAGS", FLAGS)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        // A guest unpacks all of it at boot: what is not needed to run stays out.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    cargo
}

/// Where a program of a guest lies once it is compiled.
pub(crate) fn program(root: &Path, profile: Profile, name: &str) -> PathBuf {
    target_folder(root).join(TARGET).join(profile.name()).join(name)
}

/// Its own, so that what users build is not thrown away.
fn target_folder(root: &Path) -> PathBuf {
    root.join("target/guest-programs")
}
