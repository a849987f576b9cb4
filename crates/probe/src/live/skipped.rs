//! What the kernel has not run, as losses: a program is skipped while another one is running on its CPU. Pure.

use p2p_trace_common::{Hook, Ring, hook::HOOK_SLOTS};
use p2p_trace_model::event::Loss;

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

    /// What is new, by ring, since the last time: of the runs that were missed per hook, as far as the kernel counts them,
    /// and of records that were dropped, which can be of any ring.
    pub(super) fn since(
        &mut self,
        now_ns: u64,
        missed: impl IntoIterator<Item = (Hook, Option<u64>)>,
        dropped: u64,
    ) -> Vec<Loss> {
        let mut new = [raise(&mut self.dropped, dropped); 2];
        for (hook, runs) in missed {
            if let Some((ring, runs)) = cost(hook).zip(runs) {
                new[ring as usize] += raise(&mut self.runs[hook as usize], runs);
            }
        }
        let from_ns = std::mem::replace(&mut self.told_ns, now_ns);
        let loss = |ring: Ring| {
            let count = new[ring as usize];
            (count > 0).then(|| Loss::skipped(ring, count, from_ns, now_ns))
        };
        Ring::ALL.into_iter().filter_map(loss).collect()
    }
}

/// Raises what was told of a count; returns by how much. A hook that is detached can take its count with it.
fn raise(told: &mut u64, count: u64) -> u64 {
    let before = std::mem::replace(told, count.max(*told));
    *told - before
}

/// The ring that a skipped run of a hook can have cost a record of. `None`: it costs nothing.
pub(super) const fn cost(hook: Hook) -> Option<Ring> {
    match hook {
        Hook::Alloc
        | Hook::Free
        | Hook::SglAlloc
        | Hook::SglFree
        | Hook::MmapEnter
        | Hook::InsertPage
        | Hook::Mmap
        | Hook::PageFree
        | Hook::MapSg
        | Hook::UnmapSg
        | Hook::MapSegment
        | Hook::MapState => Some(Ring::Hot),
        // Nearly all its runs are for other people's reads of sysfs, which it has nothing to write about. Whether one of the
        // tracer's own reads was skipped shows in the answer to that read, and then it is read again: see `pull`.
        Hook::Pull => None,
        _ => Some(Ring::Rare),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_told_once_and_by_ring() {
        let mut skipped = Skipped::new(5);
        let mut since = |now_ns, hot, rare, dropped| {
            let missed = [(Hook::Mmap, Some(hot)), (Hook::Kill, Some(rare)), (Hook::Drained, None)];
            skipped.since(now_ns, missed, dropped)
        };
        assert_eq!(since(10, 0, 0, 0), []);
        assert_eq!(since(20, 3, 0, 0), [Loss::skipped(Ring::Hot, 3, 10, 20)]);
        assert_eq!(since(30, 3, 0, 0), []);
        let both = [Loss::skipped(Ring::Hot, 1, 30, 40), Loss::skipped(Ring::Rare, 2, 30, 40)];
        assert_eq!(since(40, 4, 2, 0), both);
        assert_eq!(since(50, 0, 0, 0), []);
        assert_eq!(since(60, 4, 2, 5).len(), 2);
        assert_eq!(Loss::skipped(Ring::Hot, 3, 10, 20).count(), 3);
    }

    #[test]
    fn a_skipped_read_of_sysfs_costs_nothing() {
        let mut skipped = Skipped::new(5);
        let missed = |pull, kill| [(Hook::Pull, Some(pull)), (Hook::Kill, Some(kill))];
        assert_eq!(skipped.since(10, missed(1000, 0), 0), []);
        let only_the_kill = [Loss::skipped(Ring::Rare, 1, 10, 20)];
        assert_eq!(skipped.since(20, missed(2000, 1), 0), only_the_kill);
    }

    #[test]
    fn a_hook_that_takes_its_count_with_it_hides_nothing_of_the_others() {
        let mut skipped = Skipped::new(5);
        let missed = |armed, kill| [(Hook::DmaMapSg, Some(armed)), (Hook::Kill, Some(kill))];
        assert_eq!(skipped.since(10, missed(5, 0), 0).len(), 1);
        let new = skipped.since(20, missed(0, 2), 0);
        assert_eq!(new, [Loss::skipped(Ring::Rare, 2, 10, 20)]);
    }
}
