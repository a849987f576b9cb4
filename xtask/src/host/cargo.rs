//! Cargo commands of the tasks, so that nothing is compiled twice: one set of packages for host code, and one
//! profile for the programs of a guest.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::host::inputs;

/// The only supported target. It is named, so that the flags below do not apply to build scripts and macros.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// A guest has no libc.
const FLAGS: &str = "-C target-feature=+crt-static";
/// Packages whose programs run in a guest.
const PACKAGES: [&str; 4] = ["--package", "p2p-trace", "--package", "p2p-trace-guest"];

/// The profile of programs for a guest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Profile {
    /// Almost as fast as a release, but compiled in a fraction of the time.
    Guest,
    /// The release profile.
    Release,
}

impl Profile {
    /// The name in Cargo.toml, and the folder of the build.
    const fn name(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Release => "release",
        }
    }
}

/// The cargo that runs this task.
pub(crate) fn own() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| "cargo".into(), PathBuf::from)
}

/// Cargo in a folder, without arguments.
pub(crate) fn plain(folder: &Path) -> Command {
    let mut cargo = Command::new(own());
    cargo.current_dir(folder);
    cargo
}

/// A task of cargo such as `test` on all packages except for the kernel side, which does not compile for the
/// host. Each task uses this set of packages: another set would enable other features of the dependencies,
/// and compile everything again.
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
        // A guest unpacks the programs at boot, so that they have no debug information.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    cargo
}

/// Path of a compiled program of a guest.
pub(crate) fn program(root: &Path, profile: Profile, name: &str) -> PathBuf {
    target_folder(root).join(TARGET).join(profile.name()).join(name)
}

/// A separate folder, so that this build does not discard the user's.
fn target_folder(root: &Path) -> PathBuf {
    root.join("target/guest-programs")
}
