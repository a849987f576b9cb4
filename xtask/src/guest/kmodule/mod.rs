//! Builds the test module (`xtask/guest/module`) for a guest's kernel.
//!
//! Uses the host's own compiler where the kernel's headers are available; for a stock kernel of Debian's, it
//! uses an unpacked tree of the Debian release that built it, because both the compiler and the C library of
//! its tools must match.

mod sources;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::host::{cache, command, packages};
use crate::kernels::{GuestKernel, Headers};
use sources::Sources;

/// The module's name.
pub(crate) const NAME: &str = "p2ptest";
/// Its sources, in the workspace.
const FOLDER: &str = "xtask/guest/module";

/// The module for `kernel`, built if it is not in the cache; `None` if no headers are known.
///
/// # Errors
///
/// A prerequisite of the build is not available, or the build fails.
pub(crate) fn build(root: &Path, kernel: &GuestKernel) -> Result<Option<PathBuf>> {
    let sources = Sources::read(&root.join(FOLDER))?;
    let release = &kernel.release;
    let purpose = format!("building {NAME} for Linux {release}");
    let (origin, builder) = match &kernel.headers {
        Headers::None => return Ok(None),
        Headers::Folder(folder) => (folder.display().to_string(), Builder::Host(folder.clone())),
        Headers::Archive { file, sha256 } => {
            packages::ensure(&packages::MODULE)?;
            let folder = unpack(kernel, file, sha256)?;
            (sha256.clone(), Builder::Host(folder))
        }
        Headers::Debian { suites } => (suites.join(" "), Builder::Tree(tree::open(suites, release)?)),
    };
    let key = format!("{NAME}-{release}-{}", sources.fingerprint(&origin));
    let entry = cache::entry(&key, |work| {
        let folder = work.join("build");
        sources.write(&folder)?;
        builder.build(release, &folder, &purpose)?;
        fs::rename(folder.join(file_name()), work.join(file_name()))
            .with_context(|| format!("{purpose}: there is no {}", file_name()))?;
        Ok(fs::remove_dir_all(folder)?)
    })?;
    Ok(Some(entry.join(file_name())))
}

/// The name of the module's file.
pub(crate) fn file_name() -> String {
    format!("{NAME}.ko")
}

/// The compiler to use.
enum Builder {
    /// The host's own, for headers in this folder.
    Host(PathBuf),
    /// The one in a tree, with the headers.
    Tree(tree::Tree),
}

impl Builder {
    /// Builds the sources in `folder`, and strips the debug information from the module.
    fn build(&self, release: &str, folder: &Path, purpose: &str) -> Result<()> {
        let (mut make, mut strip) = match self {
            Self::Host(headers) => {
                packages::ensure(&packages::MODULE)?;
                let mut make = Command::new("make");
                make.arg("-C").arg(headers).arg(format!("M={}", folder.display()));
                let mut strip = Command::new("strip");
                strip.arg("--strip-debug").arg(folder.join(file_name()));
                (make, strip)
            }
            Self::Tree(tree) => {
                let mut make = tree.enter(folder, "make");
                make.args(["-C", &tree::headers(release), "M=/mnt"]);
                let mut strip = tree.enter(folder, "strip");
                strip.arg("--strip-debug").arg(format!("/mnt/{}", file_name()));
                (make, strip)
            }
        };
        // Flags that cargo's own make passes to its children do not apply to this build.
        make.arg("modules").env_remove("MAKEFLAGS").env_remove("MFLAGS");
        command::run(&mut make, purpose)?;
        command::run(&mut strip, &format!("stripping {NAME}"))
    }
}

/// The folder of a verified archive of headers, unpacked into the cache.
fn unpack(kernel: &GuestKernel, file: &Path, sha256: &str) -> Result<PathBuf> {
    let key = format!("headers-{}-{}", kernel.release, &sha256[..16.min(sha256.len())]);
    let folder = cache::entry(&key, |work| {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        ensure!(
            crate::host::inputs::sha256(&bytes) == sha256,
            "{} does not have its listed checksum",
            file.display()
        );
        let mut tar = Command::new("tar");
        tar.arg("-xJf").arg(file).arg("--strip-components=1");
        command::run(tar.arg("-C").arg(work), &format!("unpacking the headers of {}", kernel.release))
    })?;
    Ok(folder)
}
