//! What lies ahead in a ring whose reader is far behind. Its records are read in the order of their positions, which is nearly
//! that of their times, but only a look at all of them tells how old those are that have yet to be read. Without it everything
//! would be held for its order until the last one is there.

use std::{
    mem::offset_of,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use p2p_trace_common::{Record, slot::committed};

use super::ring::View;

/// Records that are ahead before it is worth a look.
const FAR: u64 = 4096;
/// Positions that share one bound.
const STEP: u64 = 256;
/// Where the time of a record stands in its slot.
const TIME: usize = 1 + offset_of!(Record, time_ns) / 8;

/// Bounds of the ages of what is claimed and not read.
#[derive(Debug)]
pub(super) struct Ahead {
    first: u64,
    target: u64,
    /// For each step of positions: nothing from its first on up to the target is older.
    bounds: Vec<u64>,
}

impl Ahead {
    /// Looks from `next` to `target`, where that is far. What is claimed behind `target` is not older than `bound_ns`.
    pub(super) fn look(view: &View<'_>, next: u64, target: u64, bound_ns: u64) -> Option<Self> {
        let count = target.checked_sub(next).filter(|count| *count >= FAR)?;
        let mut bounds = vec![0; count.div_ceil(STEP) as usize];
        let mut bound = bound_ns;
        for position in (next..target).rev() {
            let step = ((position - next) / STEP) as usize;
            let Some(time_ns) = time(view.slot(position), position) else {
                // Not there yet, or not there any more: when it was begun is not known.
                bounds[step] = 0;
                break;
            };
            bound = bound.min(time_ns);
            bounds[step] = bound;
        }
        Some(Self { first: next, target, bounds })
    }

    /// Everything that was looked at has been read.
    pub(super) const fn is_over(&self, next: u64) -> bool {
        next >= self.target
    }

    /// Nothing from `next` on is older; 0 where that is not known.
    pub(super) fn bound_ns(&self, next: u64) -> u64 {
        let step = next.checked_sub(self.first).map(|behind| (behind / STEP) as usize);
        step.and_then(|step| self.bounds.get(step)).copied().unwrap_or(0)
    }
}

/// The time of the record of this position, if the slot holds that.
fn time(slot: &[AtomicU64], position: u64) -> Option<u64> {
    let is_held = |order| slot[0].load(order) == committed(position);
    if !is_held(Ordering::Acquire) {
        return None;
    }
    let time_ns = slot[TIME].load(Ordering::Relaxed);
    fence(Ordering::Acquire);
    is_held(Ordering::Relaxed).then_some(time_ns)
}
