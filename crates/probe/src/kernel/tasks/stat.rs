//! `/proc/T/stat`: name, state and start time of a task.

use std::path::Path;

use p2p_trace_model::{event::escape::escape, text::Text};

use crate::kernel::root::read;

/// Nanoseconds per tick of the times in `/proc`: `USER_HZ` is 100 on x86, independent of `CONFIG_HZ`
/// (`include/asm-generic/param.h`).
const TICK_NS: u64 = 10_000_000;

/// The fields of a task's line that are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// Escaped name.
    pub(super) comm: Text,
    /// State letter: `D` is an uninterruptible wait; `Z` and `X` mean exited.
    pub(super) state: char,
    /// Start time, `CLOCK_BOOTTIME` in nanoseconds, rounded down to a tick.
    pub(super) start_ns: u64,
}

impl Stat {
    /// Reads the file of the process or thread with this folder; `None` if it is gone, or hidden.
    pub(super) fn read(folder: &Path) -> Option<Self> {
        Self::parse(&read(&folder.join("stat")).ok()?)
    }

    /// Parses the content of the file. The name is in parentheses and may contain any byte, including parentheses.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let open = bytes.iter().position(|&byte| byte == b'(')?;
        let close = bytes.iter().rposition(|&byte| byte == b')')?;
        let comm = bytes.get(open + 1..close)?;
        let rest = std::str::from_utf8(bytes.get(close + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        // The state is field 3, the start time field 22 (proc_pid_stat(5)).
        let ticks: u64 = fields.nth(18)?.parse().ok()?;
        Some(Self { comm: escape(comm).into(), state, start_ns: ticks.saturating_mul(TICK_NS) })
    }

    /// The task has exited, and its parent has not yet waited for it.
    pub(super) const fn has_exited(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses_a_line() {
        let line = b"735 (sh) D 726 735 726 1025 735 4194304 305 0 0 0 0 3 0 0 20 0 1 0 415 2441216 173 18446744073709551615\n";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.comm.as_str(), stat.state), ("sh", 'D'));
        assert_eq!(stat.start_ns, 4_150_000_000);
        assert!(!stat.has_exited());
    }

    #[test]
    fn parses_a_name_that_imitates_the_other_fields() {
        let line = b"7 (a) Z 1 (\x1b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20\n";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.comm.as_str(), stat.state), ("a) Z 1 (\\x1b", 'S'));
        assert_eq!(stat.start_ns, 19 * TICK_NS);
    }

    proptest! {
        #[test]
        fn accepts_any_bytes(bytes: Vec<u8>) {
            let _stat = Stat::parse(&bytes);
        }
    }
}
