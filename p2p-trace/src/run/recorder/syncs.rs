//! When to wait for the disk without urgent records.
//!
//! Without this, a loss of power would lose everything that the kernel has not written by itself, half a minute or more. An
//! error of the disk would go unnoticed until the next teardown, because the kernel reports it only to a process that waits.

use std::time::{Duration, Instant};

/// Records that are not urgent are on the disk after this time, plus the second until they are written.
const EVERY: Duration = Duration::from_secs(5);

/// The state of the file at the last wait.
#[derive(Debug, Default)]
pub(super) struct Syncs {
    /// The time, and the size of the file in bytes.
    last: Option<(Instant, u64)>,
}

impl Syncs {
    /// Notes a wait for the disk, with this size of the file.
    pub(super) const fn note(&mut self, now: Instant, bytes: u64) {
        self.last = Some((now, bytes));
    }

    /// Whether to wait: the file has changed since the last wait, which was some time ago.
    pub(super) fn is_due(&self, now: Instant, bytes: u64) -> bool {
        self.last.is_none_or(|(at, synced)| bytes != synced && now.saturating_duration_since(at) >= EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_due_at_once_and_then_at_intervals_while_the_file_changes() {
        let begin = Instant::now();
        let mut syncs = Syncs::default();
        assert!(syncs.is_due(begin, 0));
        syncs.note(begin, 4096);
        assert!(!syncs.is_due(begin + EVERY / 2, 5000));
        assert!(syncs.is_due(begin + EVERY, 5000));
        assert!(!syncs.is_due(begin + EVERY * 9, 4096));
        // Another file, or a truncated one.
        assert!(syncs.is_due(begin + EVERY, 4000));
    }
}
