//! When the disk is waited for though nothing urgent was written.
//!
//! Without it, a loss of power takes what the kernel has not written by itself, half a minute or more, and an error of the disk is
//! not heard of before the next teardown: the kernel tells of it only to those who wait.

use std::time::{Duration, Instant};

/// What is not urgent is on the disk after so long at the latest, and the second in which it is gathered.
const EVERY: Duration = Duration::from_secs(5);

/// What was on the disk when it was waited for the last time.
#[derive(Debug, Default)]
pub(super) struct Syncs {
    /// When, and how many bytes of the file.
    last: Option<(Instant, u64)>,
}

impl Syncs {
    /// The disk is waited for now, with so many bytes in the file.
    pub(super) const fn note(&mut self, now: Instant, bytes: u64) {
        self.last = Some((now, bytes));
    }

    /// It is time for it: something was written since, and not just before.
    pub(super) fn is_due(&self, now: Instant, bytes: u64) -> bool {
        self.last.is_none_or(|(at, synced)| bytes != synced && now.saturating_duration_since(at) >= EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_waited_for_at_once_and_then_now_and_again_while_something_is_written() {
        let begin = Instant::now();
        let mut syncs = Syncs::default();
        assert!(syncs.is_due(begin, 0));
        syncs.note(begin, 4096);
        assert!(!syncs.is_due(begin + EVERY / 2, 5000));
        assert!(syncs.is_due(begin + EVERY, 5000));
        assert!(!syncs.is_due(begin + EVERY * 9, 4096));
        // Another file, or one that was cut.
        assert!(syncs.is_due(begin + EVERY, 4000));
    }
}
