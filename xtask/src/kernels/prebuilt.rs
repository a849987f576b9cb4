//! Kernels kept as test data outside of the checkout: older ones, which no distribution builds with P2PDMA.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{GuestKernel, Headers, only_release};
use crate::host::inputs;
use crate::host::{cache, command, packages};

/// Names another folder of these kernels.
const FOLDER_VARIABLE: &str = "P2P_TRACE_KERNELS";
/// The list of checksums in that folder.
const SUMS: &str = "SHA256SUMS";
/// The headers for a kernel's modules; not every kernel has them.
const HEADERS: &str = "headers.tar.xz";
/// The files of one kernel.
const FILES: [&str; 3] = ["vmlinuz", "modules.tar.xz", "config"];

/// Gets the kernel from the folder named `label`, verified and unpacked into the cache.
pub(super) fn find(root: &Path, label: &str) -> Result<GuestKernel> {
    let kernels = folder(root);
    if !kernels.join(label).join(FILES[0]).is_file() {
        bail!(
            "cannot find {}: set {FOLDER_VARIABLE} to the folder of the kernels",
            kernels.join(label).display()
        );
    }
    let list = kernels.join(SUMS);
    let list = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let sums: Vec<&str> = FILES
        .iter()
        .map(|file| {
            sum_of(&list, &format!("{label}/{file}")).with_context(|| format!("{SUMS} has no {label}/{file}"))
        })
        .collect::<Result<_>>()?;

    // The name depends on the content, so that a replaced kernel is unpacked again.
    let key = format!("kernel-{label}-{}", &inputs::sha256(sums.concat().as_bytes())[..16]);
    let tree = cache::entry(&key, |work| {
        for (file, sum) in FILES.iter().zip(&sums) {
            copy_verified(&kernels.join(label).join(file), sum, &work.join(file))?;
        }
        packages::ensure(&packages::KERNELS)?;
        let mut tar = Command::new("tar");
        tar.arg("-xJf").arg(work.join(FILES[1])).arg("-C").arg(work);
        command::run(&mut tar, &format!("unpacking the modules of {label}"))?;
        Ok(fs::remove_file(work.join(FILES[1]))?)
    })?;
    let release = only_release(&tree)?;
    let headers = sum_of(&list, &format!("{label}/{HEADERS}")).map_or(Headers::None, |sum| {
        Headers::Archive { file: kernels.join(label).join(HEADERS), sha256: sum.to_owned() }
    });
    let image = tree.join(FILES[0]);
    let config = tree.join(FILES[2]);
    let kernel = GuestKernel::new(label, &release, image, tree, Some(config))?;
    Ok(kernel.with_headers(headers))
}

fn folder(root: &Path) -> PathBuf {
    std::env::var_os(FOLDER_VARIABLE)
        .map_or_else(|| root.parent().unwrap_or(root).join("shared/kernels"), PathBuf::from)
}

/// Copies a file and verifies its checksum.
fn copy_verified(from: &Path, sum: &str, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if inputs::sha256(&bytes) != sum {
        bail!("{} does not have its checksum in {SUMS}", from.display());
    }
    fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))
}

/// The checksum of `file` in the output of sha256sum.
fn sum_of<'list>(list: &'list str, file: &str) -> Option<&'list str> {
    list.lines().filter_map(|line| line.split_once("  ")).find(|(_, name)| *name == file).map(|(sum, _)| sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_sum_of_a_file() {
        assert_eq!(sum_of("aa  6.1/config\nbb  6.1/vmlinuz\n", "6.1/vmlinuz"), Some("bb"));
        assert_eq!(sum_of("aa  6.1/config\n", "6.1/vmlinuz"), None);
    }

    #[test]
    fn rejects_a_damaged_file() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::write(&from, "content").unwrap();
        assert!(copy_verified(&from, &inputs::sha256(b"other"), &to).is_err());
        assert!(!to.exists());
        copy_verified(&from, &inputs::sha256(b"content"), &to).unwrap();
        assert!(to.exists());
    }
}
