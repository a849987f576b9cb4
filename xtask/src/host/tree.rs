//! A tree of Debian packages of another release: unpacked, not installed, and entered with chroot.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::{fs, io};

use anyhow::{Context as _, Result};

use super::apt::Suite;
use super::command;

/// Downloads packages with all of their dependencies, and unpacks them into `tree`, with the mount points
/// `mounts`.
///
/// # Errors
///
/// A package is not available or cannot be unpacked.
pub(crate) fn unpack(
    suite: &Suite,
    packages: &[&str],
    purpose: &str,
    mounts: &[&str],
    tree: &Path,
) -> Result<()> {
    let downloads = tempfile::tempdir()?;
    let files = suite.download_with_dependencies(packages, purpose, downloads.path())?;
    // The packages rely on these links, which base-files creates only when it is installed.
    for name in ["bin", "lib", "lib64", "sbin"] {
        fs::create_dir_all(tree.join("usr").join(name))?;
        symlink(format!("usr/{name}"), tree.join(name))?;
    }
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut unpack = Command::new("dpkg-deb");
        command::run(unpack.arg("-x").arg(file).arg(tree), &format!("unpacking {name}"))?;
    }
    for name in mounts {
        fs::create_dir_all(tree.join(name))?;
    }
    Ok(())
}

/// Creates a link unless it exists.
///
/// # Errors
///
/// It cannot be created.
pub(crate) fn make_link(link: &Path, to: &str) -> Result<()> {
    match symlink(to, link) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot create {}", link.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_an_existing_link() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("awk");
        make_link(&link, "gawk").unwrap();
        make_link(&link, "mawk").unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("gawk"));
        assert!(make_link(&folder.path().join("none/awk"), "mawk").is_err());
    }
}
