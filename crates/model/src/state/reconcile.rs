//! Reconciles the known references with the bitmap of a snapshot.
//!
//! The bitmap was read between two times, t0 and t1, and every event before t1 has been applied:
//!
//! - A reference that was allocated before t0 and is live now was outstanding during all that time. If none
//!   of its memory is set in the bitmap, the record of its end was lost, and it is closed. If a part is set,
//!   that part stays outstanding.
//! - Memory that is set, and that no reference had at any moment from [`GRACE_NS`] before t0 to t1, has an
//!   unknown holder: it becomes pre-existing memory. If it belongs to an allocation in progress, this is
//!   harmless: the record of that allocation removes it again.

use std::ops::Range as Span;

use rangemap::RangeSet;

use super::{
    change::{self, ChangeKind},
    freeing::gaps,
    history::GRACE_NS,
    ledger::{Context, Ledger},
    limit::Limit,
    pages::page_of,
    ranges::Ranges,
    reference::{Allocated, ClosedBy, HolderKind},
};
use crate::{event::user::SnapshotEnd, stream::CLOCK_SLACK_NS};

impl Ledger {
    /// Applies a bitmap that was read completely.
    pub(super) fn reconcile(
        &mut self,
        snapshot_end: &SnapshotEnd,
        set: &RangeSet<u64>,
        ranges: &Ranges,
        context: &mut Context<'_>,
    ) -> change::SnapshotEnd {
        let before_ns = snapshot_end.from_ns.saturating_sub(CLOCK_SLACK_NS);
        let lives = self.len();
        for gap in set.gaps(&(0..u64::MAX)) {
            for key in self.owners(&gap) {
                if self.is_older(key, before_ns) {
                    self.cut(key, &gap, ClosedBy::Snapshot, context);
                }
            }
        }
        self.settle_claims(context);
        for span in ranges.not_over().filter_map(super::range::Range::span) {
            for gap in set.gaps(&span) {
                self.close_pages(&gap, before_ns, context);
            }
        }
        let mut unexplained = self.unexplained(set, context);
        let all = bytes_of(&unexplained);
        let since_ns = snapshot_end.from_ns.saturating_sub(GRACE_NS);
        for span in self.history.recently_freed(since_ns) {
            unexplained.remove(span.clone());
        }
        let bytes = bytes_of(&unexplained);
        self.close_unplaced(bytes, before_ns, context);
        self.mmaps.forget_expected(before_ns);
        let known: u64 = unexplained.iter().map(|span| self.preexisting.overlap(span)).sum();
        self.preexisting.clear();
        for span in unexplained {
            let pgmap = ranges.at(span.start).map(|range| range.id.pgmap);
            self.preexisting.insert(span, pgmap);
        }
        if bytes > known && self.history.has_forgotten(since_ns) {
            context.report(ChangeKind::Reached(Limit::RecentlyFreed));
        }
        change::SnapshotEnd {
            reconciled: true,
            closed: lives.saturating_sub(self.len()) as u32,
            found: bytes.saturating_sub(known),
            in_flight: all - bytes,
        }
    }

    fn is_older(&self, key: u32, time_ns: u64) -> bool {
        self.get(key).is_some_and(|reference| reference.at.time_ns < time_ns)
    }

    /// Memory that belongs to both an allocation and an mmap belongs to the later one: the location of the
    /// pages was unknown at that time.
    fn settle_claims(&mut self, context: &mut Context<'_>) {
        let placed: Vec<_> = self
            .mmaps
            .iter()
            .filter_map(|(indices, key)| Some((context.geometry.span(indices)?, key)))
            .collect();
        for (span, mmap) in placed {
            for key in self.owners(&span) {
                let Some(both) = self.get(key).and_then(super::Reference::span) else {
                    continue;
                };
                let both = both.start.max(span.start)..both.end.min(span.end);
                let later = |key: u32| self.get(key).map(|reference| reference.at.time_ns);
                if later(key) <= later(mmap) {
                    self.cut(key, &both, ClosedBy::Reused, context);
                } else if let Some(indices) = context.geometry.indices(&both) {
                    for (part, key) in self.mmaps.outstanding(&indices) {
                        self.cut_pages(part, key, ClosedBy::Reused, context);
                    }
                }
            }
        }
    }

    /// Removes pages of mmaps whose memory is free.
    fn close_pages(&mut self, gap: &Span<u64>, before_ns: u64, context: &mut Context<'_>) {
        let Some(indices) = context.geometry.indices(gap) else {
            return;
        };
        for (part, key) in self.mmaps.outstanding(&indices) {
            if self.is_older(key, before_ns) {
                self.cut_pages(part, key, ClosedBy::Snapshot, context);
            }
        }
    }

    /// Memory that is set and belongs to no known reference.
    fn unexplained(&self, set: &RangeSet<u64>, context: &Context<'_>) -> RangeSet<u64> {
        let mut left = RangeSet::new();
        for run in set.iter() {
            let last = page_of(run.end.saturating_sub(1));
            let first = self
                .allocations
                .floor(page_of(run.start))
                .map_or_else(|| page_of(run.start), |(page, _)| page);
            let allocated: Vec<_> = self
                .allocations
                .range(first, last)
                .filter_map(|(_, key)| self.get(key)?.span())
                .map(|span| span.start.max(run.start)..span.end.min(run.end))
                .filter(|span| !span.is_empty())
                .collect();
            left.extend(gaps(run, &allocated));
        }
        for (indices, _) in self.mmaps.iter() {
            if let Some(span) = context.geometry.span(indices).filter(|span| !span.is_empty()) {
                left.remove(span);
            }
        }
        left
    }

    /// References at unknown locations: they are over if that much memory cannot be outstanding. While there
    /// is enough unexplained memory, they may be its explanation.
    fn close_unplaced(&mut self, unexplained: u64, before_ns: u64, context: &mut Context<'_>) {
        let is_over = |key: u32| {
            let found = self.get(key).filter(|reference| reference.at.time_ns < before_ns);
            found.is_some_and(|reference| match reference.allocated {
                Allocated::ScatterList { addr: None, .. } => reference.bytes() > unexplained,
                _ => false,
            })
        };
        let over: Vec<_> = self.lists.values().copied().filter(|&key| is_over(key)).collect();
        for key in over {
            self.close(key, ClosedBy::Snapshot, context);
        }
        let unplaced = self.mmaps.iter().find(|(indices, _)| context.geometry.span(indices).is_none());
        if unexplained > 0 || unplaced.is_none() {
            return;
        }
        let older: Vec<_> = self
            .mmaps
            .iter()
            .map(|(indices, key)| (indices.clone(), key))
            .filter(|&(_, key)| self.is_older(key, before_ns))
            .collect();
        for (indices, key) in older {
            self.cut_pages(indices, key, ClosedBy::Snapshot, context);
        }
    }

    /// Bytes of mmaps at unknown locations: that much of the pre-existing memory may belong to them.
    pub(super) fn unplaced_mmap_bytes(&self, geometry: &super::Geometry) -> u64 {
        let pages = if geometry.places_pages() {
            let unplaced = self.mmaps.iter().filter(|(indices, _)| geometry.span(indices).is_none());
            unplaced.map(|(indices, _)| indices.end - indices.start).sum()
        } else {
            self.held_in_all().mmap_pages
        };
        pages.saturating_mul(crate::event::decode::PAGE_SIZE)
    }

    /// Ends the references of a range that is over.
    pub(super) fn close_range(&mut self, generation: u32, context: &mut Context<'_>) {
        let keys = self.keys_of(generation);
        let is_mmap =
            |key: &u32| self.get(*key).is_some_and(|found| found.allocated.kind() == HolderKind::Mmap);
        let pages: Vec<_> = if keys.iter().any(is_mmap) {
            let is_its = |key: u32| self.get(key).is_some_and(|found| found.generation == generation);
            let its = self.mmaps.iter().filter(|&(_, key)| is_its(key));
            its.map(|(indices, key)| (indices.clone(), key)).collect()
        } else {
            Vec::new()
        };
        for (indices, key) in pages {
            self.cut_pages(indices, key, ClosedBy::Snapshot, context);
        }
        for key in keys {
            self.close(key, ClosedBy::Snapshot, context);
        }
    }
}

fn bytes_of(spans: &RangeSet<u64>) -> u64 {
    spans.iter().map(|span| span.end - span.start).sum()
}
