//! The backlog of a ring whose reader is far behind. Records are read in the order of their positions, which is nearly that of
//! their times, but only a scan of the complete backlog shows how old the unread records are. Without it, the sorter would have
//! to hold back all records until the last one of the backlog has been read.

use std::{
    mem::offset_of,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use p2p_trace_common::{Record, slot::committed};

use super::ring::View;

/// Minimum number of records in a backlog that is worth a scan.
const FAR: u64 = 4096;
/// Number of positions that share one bound.
const STEP: u64 = 256;
/// Index of the word in a slot that contains the record's time.
const TIME: usize = 1 + offset_of!(Record, time_ns) / 8;

/// Lower bounds of the times of claimed, unread records.
#[derive(Debug)]
pub(super) struct Backlog {
    first: u64,
    target: u64,
    /// For each step of positions: no record from its first position up to the target is older.
    bounds: Vec<u64>,
}

impl Backlog {
    /// Scans from `next` to `target`, if that is far enough. Positions after `target` are not older than `bound_ns`.
    pub(super) fn scan(view: &View<'_>, next: u64, target: u64, bound_ns: u64) -> Option<Self> {
        let count = target.checked_sub(next).filter(|count| *count >= FAR)?;
        let mut bounds = vec![0; count.div_ceil(STEP) as usize];
        let mut bound = bound_ns;
        for position in (next..target).rev() {
            let step = ((position - next) / STEP) as usize;
            let Some(time_ns) = time(view.slot(position), position) else {
                // Not written yet, or already overwritten: the time of its claim is unknown.
                bounds[step] = 0;
                break;
            };
            bound = bound.min(time_ns);
            bounds[step] = bound;
        }
        Some(Self { first: next, target, bounds })
    }

    /// Whether the complete backlog has been read.
    pub(super) const fn is_over(&self, next: u64) -> bool {
        next >= self.target
    }

    /// A time that no record from `next` on is older than; 0 if unknown.
    pub(super) fn bound_ns(&self, next: u64) -> u64 {
        let step = next.checked_sub(self.first).map(|behind| (behind / STEP) as usize);
        step.and_then(|step| self.bounds.get(step)).copied().unwrap_or(0)
    }
}

/// The time of the record at this position, if the slot contains that record.
fn time(slot: &[AtomicU64], position: u64) -> Option<u64> {
    let is_held = |order| slot[0].load(order) == committed(position);
    if !is_held(Ordering::Acquire) {
        return None;
    }
    let time_ns = slot[TIME].load(Ordering::Relaxed);
    fence(Ordering::Acquire);
    is_held(Ordering::Relaxed).then_some(time_ns)
}
