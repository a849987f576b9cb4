//! The outstanding memory of a device: all live references, indexed by address, scatter list, or page.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Range as Span;

use slab::Slab;

use super::{
    change::{Change, ChangeKind},
    geometry::Geometry,
    history::History,
    keys::Keys,
    mmaps::Mmaps,
    origins::Origins,
    pages::{Pages, page_of},
    preexisting::Preexisting,
    range_index::RangeIndex,
    ranges::Ranges,
    reference::{Allocated, AllocatedBy, At, Closed, ClosedBy, Key, NO_RANGE, Reference},
};
use crate::event::{DeviceAddress, Task};

/// The context in which an element of the stream is applied.
pub(super) struct Context<'a> {
    pub(super) device: DeviceAddress,
    pub(super) at: At,
    pub(super) geometry: &'a mut Geometry,
    pub(super) range_index: &'a mut RangeIndex,
    pub(super) changes: &'a mut Vec<Change>,
}

impl Context<'_> {
    pub(super) fn report(&mut self, kind: ChangeKind) {
        let device = self.device;
        self.changes.push(Change { device, kind });
    }
}

/// Outstanding memory of one range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Allocations, including those of scatter lists.
    pub allocations: u64,
    /// Pages of mmaps.
    pub mmap_pages: u64,
    /// References to the range.
    pub references: u64,
    /// Bytes, in whole pages.
    pub bytes: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    references: Slab<Reference>,
    /// By the first page of the memory in the direct map.
    pub(super) allocations: Pages<u32>,
    /// By the address of the scatter list.
    pub(super) lists: HashMap<u64, u32>,
    pub(super) mmaps: Mmaps,
    /// The latest allocations and their threads: one of them may turn out to belong to a scatter list.
    pub(super) recent: VecDeque<(u32, u32)>,
    pub(super) history: History,
    pub(super) preexisting: Preexisting,
    pub(super) origins: Origins,
    /// When memory of unknown holders, at an unknown location, was last allocated again.
    pub(super) reused_unplaced_ns: Option<u64>,
    by_range: BTreeMap<u32, OfRange>,
    /// References whose range is unknown, by address.
    unplaced: BTreeSet<(u64, u32)>,
}

/// Outstanding memory of one range, and its references.
#[derive(Clone, Debug, Default)]
struct OfRange {
    held: Held,
    keys: Keys,
}

impl Ledger {
    pub(super) fn references(&self) -> impl Iterator<Item = (Key, &Reference)> {
        self.references.iter().map(|(key, reference)| (Key(key as u32), reference))
    }

    pub(super) fn len(&self) -> usize {
        self.references.len()
    }

    pub(super) fn get(&self, key: u32) -> Option<&Reference> {
        self.references.get(key as usize)
    }

    pub(super) fn allocated_by(&self, reference: &Reference) -> AllocatedBy<'_> {
        self.origins.allocated_by(reference.origin, reference.pid)
    }

    /// Outstanding memory of the range of this generation.
    pub(super) fn held(&self, generation: u32) -> Held {
        self.by_range.get(&generation).map(|of| of.held).unwrap_or_default()
    }

    /// The references to the range of this generation.
    pub(super) fn keys_of(&self, generation: u32) -> Vec<u32> {
        let is_its = |key: u32| self.get(key).is_some_and(|found| found.generation == generation);
        self.by_range.get(&generation).map_or_else(Vec::new, |of| of.keys.live(is_its))
    }

    /// Outstanding memory of all ranges.
    pub(super) fn held_in_all(&self) -> Held {
        self.by_range.values().map(|of| of.held).fold(Held::default(), |all, held| Held {
            allocations: all.allocations + held.allocations,
            mmap_pages: all.mmap_pages + held.mmap_pages,
            references: all.references + held.references,
            bytes: all.bytes.saturating_add(held.bytes),
        })
    }

    /// The minimum and maximum number of references of unknown holders to a range with this span.
    pub(super) fn unknown(&self, span: Option<Span<u64>>) -> (u64, u64) {
        let (least, most) = span.map_or((0, 0), |span| self.preexisting.references(&span));
        (least, most.saturating_add(self.held(NO_RANGE).references))
    }

    /// The allocation whose memory includes this direct-map address.
    pub(super) fn owner(&self, addr: u64) -> Option<u32> {
        let page = page_of(addr);
        let begins = self.allocations.get(page);
        let key = begins.or_else(|| self.allocations.floor(page).map(|(_, key)| key))?;
        self.get(key)?.span()?.contains(&addr).then_some(key)
    }

    /// The allocations that have memory in `span`, in order of their addresses.
    pub(super) fn owners(&self, span: &Span<u64>) -> Vec<u32> {
        let Some(last) = span.end.checked_sub(1).filter(|_| !span.is_empty()) else {
            return Vec::new();
        };
        let reaches =
            |key: u32| self.get(key).and_then(Reference::span).is_some_and(|found| found.end > span.start);
        match self.allocations.floor(page_of(last)) {
            Some((_, key)) if reaches(key) => {}
            _ => return Vec::new(),
        }
        let before = self.allocations.floor(page_of(span.start));
        let first =
            before.filter(|&(_, key)| reaches(key)).map_or_else(|| page_of(span.start), |(page, _)| page);
        self.allocations.range(first, page_of(last)).map(|(_, key)| key).collect()
    }

    /// Adds a reference, whose memory must not belong to another reference.
    pub(super) fn insert(&mut self, reference: Reference) -> u32 {
        let key = self.references.insert(reference) as u32;
        self.note(reference.origin, key);
        self.count(&reference, true);
        self.index(&reference, key);
        self.note_range(reference.generation, key);
        key
    }

    /// Records that the reference belongs to the range of this generation.
    fn note_range(&mut self, generation: u32, key: u32) {
        let references = &self.references;
        let is_its =
            |key: u32| references.get(key as usize).is_some_and(|found| found.generation == generation);
        self.by_range.entry(generation).or_default().keys.note(key, is_its);
    }

    /// Records that the reference has this origin.
    pub(super) fn note(&mut self, origin: u32, key: u32) {
        let references = &self.references;
        let is_its = |key: u32| references.get(key as usize).is_some_and(|found| found.origin == origin);
        self.origins.note(origin, key, is_its);
    }

    fn index(&mut self, reference: &Reference, key: u32) {
        if let Some(span) = reference.span() {
            self.allocations.insert(page_of(span.start), key);
        }
        if let Allocated::ScatterList { sgl, .. } = reference.allocated {
            self.lists.insert(sgl, key);
        }
        if let Some(addr) = reference.addr().filter(|_| reference.generation == NO_RANGE) {
            self.unplaced.insert((addr, key));
        }
    }

    fn unindex(&mut self, reference: &Reference, key: u32) {
        if let Some(span) = reference.span() {
            self.allocations.remove_if(page_of(span.start), key);
        }
        if let Allocated::ScatterList { sgl, .. } = reference.allocated
            && self.lists.get(&sgl) == Some(&key)
        {
            self.lists.remove(&sgl);
        }
        if let Some(addr) = reference.addr().filter(|_| reference.generation == NO_RANGE) {
            self.unplaced.remove(&(addr, key));
        }
    }

    fn count(&mut self, reference: &Reference, allocated: bool) {
        let held = &mut self.by_range.entry(reference.generation).or_default().held;
        let (allocations, mmap_pages) = match reference.allocated {
            Allocated::Mmap { outstanding, .. } => (0, u64::from(outstanding)),
            Allocated::Allocation { .. } | Allocated::ScatterList { .. } => (1, 0),
        };
        let change = |value: &mut u64, by: u64| {
            *value = if allocated { value.wrapping_add(by) } else { value.wrapping_sub(by) };
        };
        change(&mut held.allocations, allocations);
        change(&mut held.mmap_pages, mmap_pages);
        change(&mut held.references, reference.count());
        change(&mut held.bytes, reference.bytes());
        if *held == Held::default() {
            self.by_range.remove(&reference.generation);
        }
    }

    /// Changes a reference, and updates all indexes.
    pub(super) fn change(&mut self, key: u32, change: impl FnOnce(&mut Reference)) {
        let Some(mut reference) = self.get(key).copied() else {
            return;
        };
        let before = reference;
        self.unindex(&before, key);
        change(&mut reference);
        if let Some(place) = self.references.get_mut(key as usize) {
            *place = reference;
        }
        // This order keeps the entry of its range from being dropped in between.
        self.count(&reference, true);
        self.count(&before, false);
        self.index(&reference, key);
        if reference.generation != before.generation {
            self.note_range(reference.generation, key);
        }
    }

    /// Ends a reference.
    pub(super) fn close(&mut self, key: u32, by: ClosedBy, context: &mut Context<'_>) -> Option<Closed> {
        let reference = self.references.try_remove(key as usize)?;
        self.unindex(&reference, key);
        self.count(&reference, false);
        if let Some(span) = reference.span().filter(|_| by.is_seen()) {
            self.history.note_freed(context.at.time_ns, span);
        }
        let closed = Closed { reference, at: context.at, by };
        if let Some(forgotten) = self.history.push(closed) {
            self.origins.leave(forgotten.reference.origin);
        }
        context.report(ChangeKind::Closed(closed));
        Some(closed)
    }

    /// Removes memory in `span` from an allocation.
    pub(super) fn cut(&mut self, key: u32, span: &Span<u64>, by: ClosedBy, context: &mut Context<'_>) {
        let Some((reference, whole)) = self.get(key).and_then(|found| Some((*found, found.span()?))) else {
            return;
        };
        if span.is_empty() || span.end <= whole.start || span.start >= whole.end {
            return;
        }
        let (front, back) = (whole.start..span.start, span.end..whole.end);
        let piece = |piece: &Span<u64>, allocated: Allocated| match allocated {
            Allocated::ScatterList { sgl, entries, .. } => Allocated::ScatterList {
                sgl,
                entries,
                addr: Some(piece.start),
                size: piece.end - piece.start,
            },
            Allocated::Allocation { .. } | Allocated::Mmap { .. } => {
                Allocated::Allocation { addr: piece.start, size: piece.end - piece.start }
            }
        };
        let kept = if front.is_empty() { &back } else { &front };
        if kept.is_empty() {
            self.close(key, by, context);
            return;
        }
        self.change(key, |reference| {
            reference.allocated = piece(kept, reference.allocated);
            reference.partial = true;
        });
        context.report(ChangeKind::Shrunk(Key(key)));
        if !front.is_empty() && !back.is_empty() {
            let (addr, size) = (back.start, back.end - back.start);
            self.origins.share(reference.origin);
            let rest = self.insert(Reference {
                allocated: Allocated::Allocation { addr, size },
                partial: true,
                ..reference
            });
            context.report(ChangeKind::Shrunk(Key(rest)));
        }
        if by.is_seen() {
            let gone = span.start.max(whole.start)..span.end.min(whole.end);
            self.history.note_freed(context.at.time_ns, gone);
        }
    }

    /// Removes pages from an mmap.
    pub(super) fn cut_pages(&mut self, part: Span<u64>, key: u32, by: ClosedBy, context: &mut Context<'_>) {
        let pages = (part.end - part.start) as u32;
        self.mmaps.remove(part);
        let mut left = 0;
        self.change(key, |reference| {
            if let Allocated::Mmap { outstanding, .. } = &mut reference.allocated {
                *outstanding = outstanding.saturating_sub(pages);
                left = *outstanding;
            }
        });
        if left == 0 {
            self.close(key, by, context);
        } else {
            context.report(ChangeKind::Shrunk(Key(key)));
        }
    }

    /// Ends all references: the pool is gone and had no outstanding memory.
    pub(super) fn close_all(&mut self, context: &mut Context<'_>) {
        let keys: Vec<_> = self.references.iter().map(|(key, _)| key as u32).collect();
        for key in keys {
            self.close(key, ClosedBy::PoolGone, context);
        }
        self.mmaps.clear();
        self.preexisting.clear();
        self.recent.clear();
    }

    /// Moves the references of a range to another range of the same memory.
    pub(super) fn inherit(&mut self, from: u32, to: u32) {
        for key in self.keys_of(from) {
            self.change(key, |reference| reference.generation = to);
        }
    }

    /// The location of a range has become known: finds the references that belong to it.
    pub(super) fn place(&mut self, span: &Span<u64>, ranges: &Ranges) {
        if span.is_empty() {
            return;
        }
        let placed: Vec<_> = self
            .unplaced
            .range((span.start, 0)..(span.end, 0))
            .filter_map(|&(addr, key)| Some((key, ranges.at(addr)?.id.generation)))
            .collect();
        for (key, generation) in placed {
            self.change(key, |reference| reference.generation = generation);
        }
    }

    /// A process has exited. Memory allocated since `replaced_ns` is held by another process with the same
    /// number.
    pub(super) fn exited(&mut self, task: &Task, replaced_ns: Option<u64>, time_ns: u64) {
        let its = self.origins.exited(task, replaced_ns, time_ns);
        let Some(replaced_ns) = replaced_ns else { return };
        for number in its {
            let is_of_other = |key: u32| {
                let of = self.get(key).filter(|reference| reference.origin == number);
                of.is_some_and(|reference| reference.at.time_ns >= replaced_ns)
            };
            let keys = self.origins.keys(number, is_of_other);
            if keys.is_empty() {
                continue;
            }
            let Some(other) = self.origins.split(number, keys.len() as u32) else { continue };
            for key in keys {
                if let Some(reference) = self.references.get_mut(key as usize) {
                    reference.origin = other;
                }
                self.note(other, key);
            }
        }
    }
}
