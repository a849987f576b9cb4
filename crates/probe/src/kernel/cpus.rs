//! The CPUs that may ever run: per-CPU memory is indexed by them.

use super::root::{KernelRoot, read_text};

/// Number of possible CPUs, counted as the highest index plus one (indices may have gaps); `None` without sysfs.
pub(crate) fn count_possible(root: &KernelRoot) -> Option<u32> {
    parse_count(&read_text(&root.sys.join("devices/system/cpu/possible"))?)
}

/// Reads a list such as `0-3,8`.
fn parse_count(list: &str) -> Option<u32> {
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
    fn counts_to_the_highest_index() {
        assert_eq!(parse_count("0-1\n"), Some(2));
        assert_eq!(parse_count("0"), Some(1));
        assert_eq!(parse_count("0-3,8,16-19"), Some(20));
        assert_eq!(parse_count("8,0-3"), Some(9));
    }

    #[test]
    fn refuses_what_is_no_list() {
        for list in ["", "x", "3-1", "0-", "0,,2", "4294967295"] {
            assert_eq!(parse_count(list), None, "{list}");
        }
    }
}
