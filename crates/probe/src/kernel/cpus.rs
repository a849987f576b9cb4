//! The possible CPUs, which index per-CPU memory.

#![forbid(unsafe_code)]

use std::{io, path::PathBuf};

use p2p_trace_model::text::Text;
use thiserror::Error;

use super::root::{KernelRoot, read};

/// The number of possible CPUs is unknown. Tracing with a guess would miss the events of the other CPUs.
#[derive(Debug, Error)]
#[error("cannot determine the number of possible CPUs from {}", Text::from(path.as_path()))]
pub struct CpusError {
    path: PathBuf,
    source: io::Error,
}

/// Number of possible CPUs, counted as the highest index plus one (indices may have gaps).
///
/// # Errors
///
/// If the kernel's list of CPUs cannot be read or parsed.
pub(crate) fn count_possible(root: &KernelRoot) -> Result<u32, CpusError> {
    let path = root.sys.join("devices/system/cpu/possible");
    let count = read(&path).and_then(|list| {
        let list = String::from_utf8_lossy(&list);
        let wrong =
            || io::Error::new(io::ErrorKind::InvalidData, format!("{:?} is not a CPU list", list.trim()));
        parse_count(&list).ok_or_else(wrong)
    });
    count.map_err(|source| CpusError { path, source })
}

/// Parses a list such as `0-3,8`.
pub(super) fn parse_count(list: &str) -> Option<u32> {
    let mut highest = None;
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last {
            return None;
        }
        highest = highest.max(Some(last));
    }
    highest?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_up_to_the_highest_index() {
        assert_eq!(parse_count("0-1\n"), Some(2));
        assert_eq!(parse_count("0"), Some(1));
        assert_eq!(parse_count("0-3,8,16-19"), Some(20));
        assert_eq!(parse_count("8,0-3"), Some(9));
    }

    #[test]
    fn reports_a_missing_or_invalid_list() {
        let sysfs = tempfile::tempdir().unwrap();
        let root = KernelRoot { sys: sysfs.path().to_owned(), ..KernelRoot::default() };
        let cause = |root: &KernelRoot| {
            let error = count_possible(root).unwrap_err();
            let path = sysfs.path().join("devices/system/cpu/possible");
            assert_eq!(
                error.to_string(),
                format!("cannot determine the number of possible CPUs from {}", Text::from(path.as_path()))
            );
            std::error::Error::source(&error).unwrap().to_string()
        };
        assert_eq!(cause(&root), "No such file or directory (os error 2)");
        let folder = sysfs.path().join("devices/system/cpu");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("possible"), "many\n").unwrap();
        assert_eq!(cause(&root), "\"many\" is not a CPU list");
        std::fs::write(folder.join("possible"), "0-5\n").unwrap();
        assert_eq!(count_possible(&root).unwrap(), 6);
    }

    #[test]
    fn rejects_invalid_lists() {
        for list in ["", "x", "3-1", "0-", "0,,2", "4294967295"] {
            assert_eq!(parse_count(list), None, "{list}");
        }
    }
}
