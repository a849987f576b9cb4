//! Reports skipped runs as losses: the kernel skips a program while another one is running on its CPU. Pure.

use p2p_trace_common::{Hook, Ring, hook::HOOK_SLOTS};
use p2p_trace_model::event::{Affected, Loss, SkipRow};

/// The counts reported so far.
#[derive(Debug)]
pub(super) struct Skipped {
    /// Skipped runs, by hook.
    runs: [u64; HOOK_SLOTS],
    dropped: u64,
    reported_ns: u64,
}

impl Skipped {
    /// Nothing was skipped before this time.
    pub(super) const fn new(now_ns: u64) -> Self {
        Self { runs: [0; HOOK_SLOTS], dropped: 0, reported_ns: now_ns }
    }

    /// The new losses since the last call: missed runs per hook, if the kernel counts them and they can have cost something, and
    /// dropped records, which may belong to any ring.
    pub(super) fn since(
        &mut self,
        now_ns: u64,
        missed: impl IntoIterator<Item = (Hook, Option<u64>)>,
        dropped: u64,
    ) -> Vec<Loss> {
        let from_ns = self.reported_ns;
        let mut losses = self.of_hooks(now_ns, missed);
        self.reported_ns = now_ns;
        let dropped = raise(&mut self.dropped, dropped);
        if dropped > 0 {
            losses.extend(Ring::ALL.map(|ring| Loss::skipped(ring, dropped, from_ns, now_ns)));
        }
        losses
    }

    /// As [`Skipped::since`], for teardown steps only, before rules evaluate a teardown by what was not observed.
    pub(super) fn steps(
        &mut self,
        now_ns: u64,
        missed: impl IntoIterator<Item = (Hook, Option<u64>)>,
    ) -> Vec<Loss> {
        let is_step = |&(hook, _): &(Hook, _)| SkipRow::of(hook).affected == Affected::Teardown;
        self.of_hooks(now_ns, missed.into_iter().filter(is_step))
    }

    fn of_hooks(&mut self, now_ns: u64, missed: impl IntoIterator<Item = (Hook, Option<u64>)>) -> Vec<Loss> {
        let mut losses = Vec::new();
        for (hook, runs) in missed {
            let Some(runs) = runs.filter(|_| !SkipRow::of(hook).costs_nothing()) else {
                continue;
            };
            let new = raise(&mut self.runs[hook as usize], runs);
            if new > 0 {
                losses.push(Loss::of_hook(hook, new, self.reported_ns, now_ns));
            }
        }
        losses
    }
}

/// Raises a reported count; returns the increase. The count of a hook may drop when it is detached.
fn raise(reported: &mut u64, count: u64) -> u64 {
    let before = std::mem::replace(reported, count.max(*reported));
    *reported - before
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hook_table::TABLE;

    #[test]
    fn since_reports_new_runs_once_by_hook() {
        let mut skipped = Skipped::new(5);
        let mut since = |now_ns, mmap, kill, dropped| {
            let missed = [(Hook::Mmap, Some(mmap)), (Hook::Kill, Some(kill)), (Hook::Drained, None)];
            skipped.since(now_ns, missed, dropped)
        };
        assert_eq!(since(10, 0, 0, 0), []);
        assert_eq!(since(20, 3, 0, 0), [Loss::of_hook(Hook::Mmap, 3, 10, 20)]);
        assert_eq!(since(30, 3, 0, 0), []);
        let both = [Loss::of_hook(Hook::Mmap, 1, 30, 40), Loss::of_hook(Hook::Kill, 2, 30, 40)];
        assert_eq!(since(40, 4, 2, 0), both);
        assert_eq!(since(50, 0, 0, 0), []);
        let of_any = Ring::ALL.map(|ring| Loss::skipped(ring, 5, 50, 60));
        assert_eq!(since(60, 4, 2, 5), of_any);
        assert_eq!(Loss::of_hook(Hook::Mmap, 3, 10, 20).count(), 3);
    }

    #[test]
    fn a_skipped_run_of_any_hook_is_a_loss_except_for_snapshots() {
        for row in TABLE {
            let mut skipped = Skipped::new(5);
            let losses = skipped.since(10, [(row.hook, Some(1))], 0);
            // If one of the tracer's own snapshots was skipped, its answer shows that.
            let expected = usize::from(row.hook != Hook::Snapshot);
            assert_eq!(losses.len(), expected, "{}", row.hook.name());
            assert!(losses.iter().all(|loss| loss.hook == Some(row.hook)));
        }
    }

    #[test]
    fn steps_are_reported_before_other_hooks() {
        let mut skipped = Skipped::new(5);
        let missed = [(Hook::Drained, Some(1)), (Hook::DmaMapSg, Some(7))];
        assert_eq!(skipped.steps(10, missed), [Loss::of_hook(Hook::Drained, 1, 5, 10)]);
        assert_eq!(skipped.since(20, missed, 0), [Loss::of_hook(Hook::DmaMapSg, 7, 5, 20)]);
    }

    #[test]
    fn a_count_that_drops_does_not_affect_other_hooks() {
        let mut skipped = Skipped::new(5);
        let missed = |armed, kill| [(Hook::DmaMapSg, Some(armed)), (Hook::Kill, Some(kill))];
        assert_eq!(skipped.since(10, missed(5, 0), 0).len(), 1);
        let new = skipped.since(20, missed(0, 2), 0);
        assert_eq!(new, [Loss::of_hook(Hook::Kill, 2, 10, 20)]);
    }
}
