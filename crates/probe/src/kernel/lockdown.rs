//! Kernel lockdown: restrictions that apply even to root.

#![forbid(unsafe_code)]

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::root::{KernelRoot, read_text};

/// The lockdown level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Lockdown {
    /// Not locked down, or the kernel does not support lockdown.
    None,
    /// User space cannot change the kernel. Tracing works.
    Integrity,
    /// Kernel memory cannot be read either: BPF programs that read it are rejected.
    Confidentiality,
    /// Unknown, because securityfs is not mounted.
    Unknown,
}

impl Lockdown {
    /// Reads `/sys/kernel/security/lockdown`.
    pub(crate) fn read(root: &KernelRoot) -> Self {
        let security = root.sys.join("kernel/security");
        match read_text(&security.join("lockdown")) {
            Some(text) => Self::parse(&text),
            // Every mounted securityfs has `lsm`; if it has no `lockdown`, the kernel does not support lockdown.
            None if security.join("lsm").exists() => Self::None,
            None => Self::Unknown,
        }
    }

    /// Parses `none [integrity] confidentiality`: brackets mark the level.
    pub(super) fn parse(text: &str) -> Self {
        let level = text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
        match level {
            Some("none") => Self::None,
            Some("integrity") => Self::Integrity,
            Some("confidentiality") => Self::Confidentiality,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Lockdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Integrity => "integrity",
            Self::Confidentiality => "confidentiality",
            Self::Unknown => "unknown",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn brackets_mark_the_level() {
        assert_eq!(Lockdown::parse("[none] integrity confidentiality"), Lockdown::None);
        assert_eq!(Lockdown::parse("none [integrity] confidentiality\n"), Lockdown::Integrity);
        assert_eq!(Lockdown::parse("none integrity [confidentiality]"), Lockdown::Confidentiality);
        assert_eq!(Lockdown::parse("none integrity"), Lockdown::Unknown);
    }

    #[test]
    fn missing_file_means_none_only_if_securityfs_is_mounted() {
        let dir = tempfile::tempdir().unwrap();
        let root = KernelRoot::at(dir.path());
        assert_eq!(Lockdown::read(&root), Lockdown::Unknown);
        let security = root.sys.join("kernel/security");
        fs::create_dir_all(&security).unwrap();
        fs::write(security.join("lsm"), "capability,yama").unwrap();
        assert_eq!(Lockdown::read(&root), Lockdown::None);
        fs::write(security.join("lockdown"), "none [integrity] confidentiality\n").unwrap();
        assert_eq!(Lockdown::read(&root), Lockdown::Integrity);
    }
}
