//! The sources of Rust's own library, which `core` for the BPF target is compiled from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::RUST_VERSION;
use crate::host::apt::Suite;
use crate::host::command;
use crate::host::inputs;

/// The Debian suite and package of the sources, if rustup cannot download them.
const DEBIAN: (&str, &str) = ("trixie-backports", "rust-src");

/// The folder in which the compiler looks for the sources.
pub(super) fn library(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib/src/rust/library")
}

/// Makes sure that the sources exist, from rustup or else from Debian's package of the same version.
pub(super) fn ensure(sysroot: &Path) -> Result<PathBuf> {
    let library = library(sysroot);
    if is_complete(&library) {
        return Ok(library);
    }
    println!(
        "The sources of Rust {RUST_VERSION}'s library are missing; trying `rustup component add rust-src`."
    );
    let by_rustup = match toolchain_name(sysroot) {
        Some(name) => command::run(
            Command::new("rustup").args(["component", "add", "rust-src", "--toolchain", &name]),
            "rustup component add rust-src",
        ),
        None => Err(anyhow::anyhow!("{} is not a toolchain of rustup", sysroot.display())),
    };
    if let Err(reason) = by_rustup {
        println!("  failed: {}", reason.to_string().lines().next().unwrap_or_default());
        from_debian(&library).with_context(|| {
            format!(
                "rust-src {RUST_VERSION} is not available: install it with `rustup component add rust-src`"
            )
        })?;
    }
    if !is_complete(&library) {
        bail!("{} is still incomplete: install the component rust-src", library.display());
    }
    Ok(library)
}

/// The SHA-256 of all files that `core` for the BPF target is compiled from.
pub(super) fn fingerprint(library: &Path) -> Result<String> {
    let mut sums = String::new();
    for part in ["core", "compiler-builtins/compiler-builtins"] {
        for (name, sum) in inputs::folder_fingerprints(library, &library.join(part).join("src"))? {
            sums.extend([&sum, " ", &name, "\n"]);
        }
    }
    Ok(inputs::sha256(sums.as_bytes()))
}

fn is_complete(library: &Path) -> bool {
    library.join("core/src/lib.rs").is_file() && library.join("Cargo.lock").is_file()
}

/// rustup's name of the toolchain, if the sysroot belongs to rustup.
fn toolchain_name(sysroot: &Path) -> Option<String> {
    let toolchains = sysroot.parent()?;
    (toolchains.file_name()? == "toolchains" && command::exists("rustup"))
        .then(|| sysroot.file_name().map(|name| name.to_string_lossy().into_owned()))?
}

fn from_debian(library: &Path) -> Result<()> {
    let (suite, package) = DEBIAN;
    let suite = Suite::open(suite)?;
    let version = suite
        .versions(package)?
        .into_iter()
        .find(|version| version.starts_with(&format!("{RUST_VERSION}+")))
        .with_context(|| format!("no {package} {RUST_VERSION} in {}", suite.name()))?;
    let folder = tempfile::tempdir()?;
    println!("Downloading {package} {version} from Debian's {} (about 45 MB).", suite.name());
    let file = suite.download(package, &version, folder.path())?;
    let tree = folder.path().join("tree");
    command::run(Command::new("dpkg-deb").arg("-x").arg(file).arg(&tree), "unpacking rust-src")?;
    println!("Copying the sources to {}.", library.display());
    let parent = library.parent().context("the sysroot has no parent")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot write to {}", parent.display()))?;
    let unpacked = tree.join(format!("usr/src/rustc-{RUST_VERSION}/library"));
    // Renamed when complete, so that an interrupted copy is not used.
    let partial = tempfile::tempdir_in(parent)?;
    let copy = partial.path().join("library");
    command::run(Command::new("cp").arg("-rT").arg(unpacked).arg(&copy), "copying rust-src")?;
    if library.exists() {
        fs::remove_dir_all(library)?;
    }
    fs::rename(&copy, library).with_context(|| format!("cannot create {}", library.display()))
}
