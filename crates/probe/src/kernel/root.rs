//! The paths of the kernel's files. All paths come from here, so that tests can replace them.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// More than any of the kernel's text files that are read completely, including kallsyms.
pub(super) const MAX_FILE_LEN: u64 = 256 << 20;

/// The folders that facts are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelRoot {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/sys`.
    pub sys: PathBuf,
    /// `/boot`.
    pub boot: PathBuf,
    /// `/lib/modules`.
    pub modules: PathBuf,
}

impl Default for KernelRoot {
    fn default() -> Self {
        Self::at(Path::new("/"))
    }
}

impl KernelRoot {
    /// The usual folders, below another root.
    pub fn at(root: &Path) -> Self {
        Self {
            proc: root.join("proc"),
            sys: root.join("sys"),
            boot: root.join("boot"),
            modules: root.join("lib/modules"),
        }
    }

    /// Where the running kernel provides its BTF.
    pub fn btf(&self) -> PathBuf {
        self.sys.join("kernel/btf/vmlinux")
    }
}

/// Reads a complete file of unknown size, as those in `/proc` and `/sys` are.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_FILE_LEN).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a small text file, without surrounding white space; `None` if it cannot be read.
pub(super) fn read_text(path: &Path) -> Option<String> {
    let bytes = read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// Reads a file that contains one number.
pub(super) fn read_number<T: std::str::FromStr>(path: &Path) -> Option<T> {
    read_text(path)?.parse().ok()
}
