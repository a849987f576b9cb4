//! What the kernel has not run, as losses: a program is skipped while another one is running on its CPU. Pure.

use p2p_trace_common::{Hook, Ring, hook::HOOK_SLOTS};
use p2p_trace_model::event::{Affected, Loss, SkipRow};

/// What was told so far.
#[derive(Debug)]
pub(super) struct Skipped {
    /// Runs, by hook.
    runs: [u64; HOOK_SLOTS],
    dropped: u64,
    told_ns: u64,
}

impl Skipped {
    /// Nothing has been skipped before this time.
    pub(super) const fn new(now_ns: u64) -> Self {
        Self { runs: [0; HOOK_SLOTS], dropped: 0, told_ns: now_ns }
    }

    /// What is new since the last time: of the runs that were missed per hook, as far as the kernel counts them and they can
    /// have cost something, and of records that were dropped, which can be of any ring.
    pub(super) fn since(
        &mut self,
        now_ns: u64,
        missed: impl IntoIterator<Item = (Hook, Option<u64>)>,
        dropped: u64,
    ) -> Vec<Loss> {
        let from_ns = self.told_ns;
        let mut losses = self.of_hooks(now_ns, missed);
        self.told_ns = now_ns;
        let dropped = raise(&mut self.dropped, dropped);
        if dropped > 0 {
            losses.extend(Ring::ALL.map(|ring| Loss::skipped(ring, dropped, from_ns, now_ns)));
        }
        losses
    }

    /// The same of steps of a teardown only, before one is judged by what was not seen.
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
                losses.push(Loss::of_hook(hook, new, self.told_ns, now_ns));
            }
        }
        losses
    }
}

/// Raises what was told of a count; returns by how much. A hook that is detached can take its count with it.
fn raise(told: &mut u64, count: u64) -> u64 {
    let before = std::mem::replace(told, count.max(*told));
    *told - before
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hook_table::TABLE;

    #[test]
    fn what_is_new_is_told_once_and_by_hook() {
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
    fn every_hook_of_the_hook_table_says_what_a_skipped_run_costs() {
        for row in TABLE {
            let mut skipped = Skipped::new(5);
            let told = skipped.since(10, [(row.hook, Some(1))], 0);
            // Whether one of the tracer's own reads was skipped shows in its answer.
            let expected = usize::from(row.hook != Hook::Snapshot);
            assert_eq!(told.len(), expected, "{}", row.hook.name());
            assert!(told.iter().all(|loss| loss.hook == Some(row.hook)));
        }
    }

    #[test]
    fn steps_are_told_before_the_rest() {
        let mut skipped = Skipped::new(5);
        let missed = [(Hook::Drained, Some(1)), (Hook::DmaMapSg, Some(7))];
        assert_eq!(skipped.steps(10, missed), [Loss::of_hook(Hook::Drained, 1, 5, 10)]);
        assert_eq!(skipped.since(20, missed, 0), [Loss::of_hook(Hook::DmaMapSg, 7, 5, 20)]);
    }

    #[test]
    fn a_hook_that_takes_its_count_with_it_hides_nothing_of_the_others() {
        let mut skipped = Skipped::new(5);
        let missed = |armed, kill| [(Hook::DmaMapSg, Some(armed)), (Hook::Kill, Some(kill))];
        assert_eq!(skipped.since(10, missed(5, 0), 0).len(), 1);
        let new = skipped.since(20, missed(0, 2), 0);
        assert_eq!(new, [Loss::of_hook(Hook::Kill, 2, 10, 20)]);
    }
}
