//! What the kernel has not run, as losses: a program is skipped while another one is running on its CPU. Pure.

use p2p_trace_common::{Hook, Ring};

use crate::source::Loss;

/// What was told so far.
#[derive(Debug)]
pub(super) struct Skipped {
    told: [u64; 2],
    told_ns: u64,
}

impl Skipped {
    /// Nothing has been skipped before this time.
    pub(super) const fn new(now_ns: u64) -> Self {
        Self {
            told: [0; 2],
            told_ns: now_ns,
        }
    }

    /// What is new, by ring, since the last time: of the runs that were missed per hook, as far as the kernel counts them,
    /// and of records that were dropped, which can be of any ring.
    pub(super) fn since(
        &mut self,
        now_ns: u64,
        missed: impl IntoIterator<Item = (Hook, Option<u64>)>,
        dropped: u64,
    ) -> Vec<Loss> {
        let mut sums = [dropped; 2];
        for (hook, runs) in missed {
            sums[ring(hook) as usize] += runs.unwrap_or_default();
        }
        let (told, from_ns) = (self.told, self.told_ns);
        // A hook that is detached can take its count with it.
        self.told = [told[0].max(sums[0]), told[1].max(sums[1])];
        self.told_ns = now_ns;
        let new = |ring: Ring| {
            let new = sums[ring as usize].saturating_sub(told[ring as usize]);
            (new > 0).then(|| Loss::skipped(ring, new, from_ns, now_ns))
        };
        Ring::ALL.into_iter().filter_map(new).collect()
    }
}

/// The ring that a hook writes to.
const fn ring(hook: Hook) -> Ring {
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
        | Hook::MapState => Ring::Hot,
        _ => Ring::Rare,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_told_once_and_by_ring() {
        let mut skipped = Skipped::new(5);
        let mut since = |now_ns, hot, rare, dropped| {
            let missed = [
                (Hook::Mmap, Some(hot)),
                (Hook::Kill, Some(rare)),
                (Hook::Pull, None),
            ];
            skipped.since(now_ns, missed, dropped)
        };
        assert_eq!(since(10, 0, 0, 0), []);
        assert_eq!(since(20, 3, 0, 0), [Loss::skipped(Ring::Hot, 3, 10, 20)]);
        assert_eq!(since(30, 3, 0, 0), []);
        let both = [
            Loss::skipped(Ring::Hot, 1, 30, 40),
            Loss::skipped(Ring::Rare, 2, 30, 40),
        ];
        assert_eq!(since(40, 4, 2, 0), both);
        assert_eq!(since(50, 0, 0, 0), []);
        assert_eq!(since(60, 4, 2, 5).len(), 2);
        assert_eq!(Loss::skipped(Ring::Hot, 3, 10, 20).count(), 3);
    }
}
