//! Applies the contents of a snapshot to a device: its ranges, its lock, and its allocated memory.

use p2p_trace_common::{Kind, Ring};

use super::{
    change::{self, ChangeKind},
    device::{Baseline, Device},
    history::GRACE_NS,
    ledger::Context,
    limit::Limit,
    range::{Counted, NO_PGMAP, Stage, Steps},
    reference::Allocated,
    snapshot::{LastSnapshot, Lock},
    teardown::{Ended, Teardown},
};
use crate::{
    event::{Event, State, decode::PAGE_SIZE, user::SnapshotEnd},
    stream::CLOCK_SLACK_NS,
};

impl Device {
    /// Processes the state of a chunk of the pool and its range.
    pub(super) fn range_state(&mut self, event: &Event, context: &mut Context<'_>) {
        let Some(state) = event.state else { return };
        let Some(pgmap) = event.pgmap.filter(|_| !state.freed) else {
            let generation = self.dangling_chunk(event, context);
            self.snapshot.state(context.at.time_ns, generation);
            return;
        };
        let generation = self.snapshot_range(pgmap, state, context);
        self.place(generation, event.range, event.addr, context);
        self.snapshot.state(context.at.time_ns, Some(generation));
        let held = self.ledger.held(generation);
        // Known outstanding memory has a reference, which the pool's own bytes confirm, so the range cannot
        // have drained.
        let is_outstanding =
            held.references > 0 && event.allocated.is_some_and(|allocated| allocated >= held.bytes);
        let Some(range) = self.ranges.get_mut(generation) else {
            return;
        };
        let unknown = self.ledger.unknown(range.span());
        range.chunk = Some(state.chunk);
        range.pooled = event.pooled.or(range.pooled);
        range.counted = Some(Counted {
            at: context.at,
            bytes: event.allocated,
            refs: event.refs,
            dead: state.dead && state.atomic,
            known: held.references,
            unknown,
        });
        let stage = if state.exited && !is_outstanding {
            // `percpu_ref_exit` comes after the drain and, depending on the kernel, before or after the
            // removal.
            Stage::Drained
        } else if state.dead || state.exited {
            Stage::Killed
        } else {
            return;
        };
        if range.snapshot_end.is_none_or(|(before, _)| before < stage) {
            range.snapshot_end = Some((stage, context.at));
        }
    }

    /// The range of a chunk. If it is in use, it is not the range of the same pgmap that was torn down.
    fn snapshot_range(&mut self, pgmap: u64, state: State, context: &mut Context<'_>) -> u32 {
        let in_use = !state.dead && !state.exited;
        let killed_before = |at: super::At| context.at.time_ns.saturating_sub(at.time_ns) > GRACE_NS;
        let other = self.ranges.current(pgmap).filter(|range| {
            let Steps { killed, drained, removed, unmapped, .. } = range.steps;
            let killed = killed.or(drained).or(removed).or(unmapped);
            in_use && (range.snapshot_end.is_some() || killed.is_some_and(killed_before))
        });
        let Some(before) = other.map(|range| range.id.generation) else {
            return self.current_or_new(pgmap, context);
        };
        self.end_unseen(before, context);
        let generation = self.new_range(pgmap, context);
        // Memory allocated meanwhile was attributed to the old range. The bitmap shows what is still
        // outstanding.
        self.ledger.inherit(before, generation);
        generation
    }

    /// The pool still has the chunk of a range that is gone.
    fn dangling_chunk(&mut self, event: &Event, context: &mut Context<'_>) -> Option<u32> {
        let (base, pages) = event.addr.zip(event.count)?;
        let known = self.ranges.not_over().find(|range| range.base == Some(base));
        let generation = match known {
            Some(range) => range.id.generation,
            // Its entire life was before the trace.
            None => self.new_range(NO_PGMAP, context),
        };
        let physical = context.geometry.range_of(base, u64::from(pages).saturating_mul(PAGE_SIZE));
        let range = self.ranges.get_mut(generation)?;
        let was_placed = range.span().is_some();
        range.physical = range.physical.or(physical);
        range.base = range.base.or(Some(base));
        let span = range.span().filter(|_| !was_placed);
        range.dangling = range.dangling.or(Some(context.at));
        if range.stage() < Stage::Removed {
            range.snapshot_end = Some((Stage::Removed, context.at));
        }
        if let Some(span) = span {
            self.ledger.place(&span, &self.ranges);
        }
        Some(generation)
    }

    /// Processes the state of the device.
    pub(super) const fn device_state(&mut self, event: &Event, context: &Context<'_>) {
        let at = context.at;
        self.lock = Some(Lock { holder: event.task, waiting_ns: event.waiting_ns, at });
        if let Some(published) = event.flag {
            self.published = Some((published, at));
        }
        // The record of a device that provides no memory has no bytes either.
        self.without_pool = matches!((event.count, event.allocated), (Some(0), Some(_)));
        self.snapshot.chunks(at.time_ns, event.count);
    }

    /// Processes the end of a snapshot.
    pub(super) fn snapshot_end(&mut self, snapshot_end: &SnapshotEnd, context: &mut Context<'_>) {
        let found = self.snapshot.finish(snapshot_end);
        if found.overflowed {
            context.report(ChangeKind::Reached(Limit::SnapshotRecords));
        }
        let since_ns = snapshot_end.from_ns.saturating_sub(CLOCK_SLACK_NS);
        // A pool that is being destroyed can no longer be reached from the device.
        let releasing = self.teardown.as_ref().is_some_and(Teardown::is_releasing);
        let reconciled = found.complete && !releasing;
        let change = if reconciled {
            self.learn_pages(context);
            let change = self.ledger.reconcile(snapshot_end, &found.set, &self.ranges, context);
            if let Some(seen) = &found.ranges {
                self.end_missing(seen, since_ns, context);
            }
            self.baseline = Baseline::SnapshotEnd(context.at);
            self.uncertainties.settle_ring(Ring::Rare, snapshot_end.from_ns);
            if change.in_flight == 0 {
                self.uncertainties.settle_ring(Ring::Hot, snapshot_end.from_ns);
            }
            change
        } else {
            change::SnapshotEnd::default()
        };
        self.end_bracket(since_ns, context);
        self.unplaced_mmap_bytes = self.ledger.unplaced_mmap_bytes(context.geometry);
        for range in self.ranges.iter_mut() {
            let span = range.span();
            if let Some(counted) = range.counted.as_mut().filter(|counted| counted.at.time_ns >= since_ns) {
                counted.unknown = self.ledger.unknown(span);
            }
        }
        self.last_snapshot = Some(LastSnapshot {
            from_ns: snapshot_end.from_ns,
            to_ns: snapshot_end.to_ns,
            complete: snapshot_end.complete,
            reconciled,
        });
        context.report(ChangeKind::SnapshotEnd(change));
    }

    /// Locates the pages of mmaps, for which it may have been too early when they were created.
    fn learn_pages(&self, context: &mut Context<'_>) {
        if context.geometry.vmemmap_base().is_some() {
            return;
        }
        let known = self.ledger.references().find_map(|(_, reference)| match reference.allocated {
            Allocated::Mmap { page, .. } => Some((page, self.range_of(reference)?.physical?)),
            Allocated::Allocation { .. } | Allocated::ScatterList { .. } => None,
        });
        if let Some((page, physical)) = known {
            context.geometry.learn_page(page, physical);
        }
    }

    /// Decides whether a bracket whose end may have been missed is still open, since the device's lock is held
    /// while it is. If the lock is free, a bracket that has not reached p2p memory is over.
    fn end_bracket(&mut self, since_ns: u64, context: &mut Context<'_>) {
        let Some(lock) = self.lock.filter(|lock| lock.at.time_ns >= since_ns) else {
            return;
        };
        let may_be_over = |teardown: &&mut Teardown| teardown.lost_brackets || teardown.outlasts_release();
        let Some(teardown) = self.unbinding_mut().filter(may_be_over) else {
            return;
        };
        if lock.holder.is_some() {
            teardown.lost_brackets = false;
        } else if teardown.outlasts_release() {
            if teardown.lost_steps || teardown.lost_brackets {
                self.close_bracket_unseen();
            }
        } else if !teardown.touches_memory() {
            self.end_teardown(Ended::Unseen, context);
        }
    }

    /// Ends ranges that have no chunk, unless a pending teardown has yet to report their end.
    fn end_missing(&mut self, seen: &[u32], since_ns: u64, context: &mut Context<'_>) {
        if self.teardown.as_ref().is_some_and(|teardown| !teardown.lost_steps) {
            return;
        }
        let adding = self.adding.filter(|adding| !adding.may_be_over).map(|adding| adding.generation);
        let is_missing = |range: &super::Range| {
            let generation = range.id.generation;
            let older = range.seen.time_ns < since_ns;
            older && adding != Some(generation) && !seen.contains(&generation)
        };
        let missing: Vec<_> = self.ranges.not_over().filter(|range| is_missing(range)).collect();
        let missing: Vec<_> = missing.iter().map(|range| range.id.generation).collect();
        for generation in missing {
            self.end_unseen(generation, context);
            self.ledger.close_range(generation, context);
        }
        if seen.is_empty() {
            self.end_teardown(Ended::Unseen, context);
        }
    }
}

impl Teardown {
    /// Whether `pci_p2pdma_release` was entered and has not returned.
    fn is_releasing(&self) -> bool {
        !self.lost_steps && self.step(Kind::Release).is_some() && self.step(Kind::Released).is_none()
    }
}
