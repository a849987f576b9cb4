//! A device that has p2p memory, or had.

use std::collections::VecDeque;

use p2p_trace_common::Hook;

use super::{
    attempt::Attempt,
    hooks::Hooks,
    ledger::{Held, Ledger},
    mappings::Mappings,
    preexisting,
    range::{Range, RangeId, Stage},
    ranges::Ranges,
    reference::{AllocatedBy, At, Key, Reference},
    snapshot::{LastSnapshot, Lock, Snapshot},
    teardown::Teardown,
    uncertainty::Uncertainties,
};
use crate::event::DeviceAddress;

/// Ended teardowns that are kept per device.
pub const MAX_TEARDOWNS: usize = 8;
/// Ranges of refused adds that are followed at a time.
pub(super) const MAX_REFUSED: usize = 8;

/// From when on all that is taken is known: as a reference, or as memory of unknown takers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// Memory can be taken of which nothing is known.
    Unknown,
    /// A pull read showed what was taken.
    SnapshotEnd(At),
    /// The pool was seen to be destroyed: the next one is empty.
    PoolGone(At),
}

/// A range that `pci_p2pdma_add_resource` is just making: its memory is mapped, and the rest can still fail.
#[derive(Clone, Copy, Debug)]
pub(super) struct Adding {
    pub(super) pid: Option<u32>,
    pub(super) generation: u32,
    /// That it has come to its end can have been lost.
    pub(super) may_be_over: bool,
}

/// See the module. What a field holds is as of the latest record that told it.
#[derive(Clone, Debug)]
pub struct Device {
    pub(super) address: DeviceAddress,
    pub(super) ranges: Ranges,
    pub(super) ledger: Ledger,
    pub(super) teardown: Option<Teardown>,
    pub(super) teardowns: VecDeque<Teardown>,
    /// When the latest of those ended that are not kept and were not complete.
    pub(super) forgotten_ns: Option<u64>,
    pub(super) published: Option<(bool, At)>,
    pub(super) adding: Option<Adding>,
    /// The pgmaps of refused adds that are being cleaned up.
    pub(super) cleaning: VecDeque<u64>,
    pub(super) lock: Option<Lock>,
    /// As of the latest pull read: see [`Device::is_without_pool`].
    pub(super) without_pool: bool,
    /// By what opened the latest teardown, which does not say of which range: see [`Device::is_bypassed`].
    pub(super) bypassed: bool,
    pub(super) mappings: Mappings,
    pub(super) snapshot: Snapshot,
    pub(super) last_snapshot: Option<LastSnapshot>,
    pub(super) baseline: Baseline,
    pub(super) uncertainties: Uncertainties,
    /// The last time at which a hot record can have been lost, whatever has made up for it since.
    pub(super) lost_until_ns: Option<u64>,
    pub(super) unplaced_mmap_bytes: u64,
    pub(super) attempts: Vec<Attempt>,
    /// When its memory was last mapped into user space.
    pub(super) mapped_ns: Option<u64>,
}

impl Device {
    pub(super) fn new(address: DeviceAddress) -> Self {
        Self {
            address,
            ranges: Ranges::default(),
            ledger: Ledger::default(),
            teardown: None,
            teardowns: VecDeque::new(),
            forgotten_ns: None,
            published: None,
            adding: None,
            cleaning: VecDeque::new(),
            lock: None,
            without_pool: false,
            bypassed: false,
            mappings: Mappings::default(),
            snapshot: Snapshot::default(),
            last_snapshot: None,
            baseline: Baseline::Unknown,
            uncertainties: Uncertainties::default(),
            lost_until_ns: None,
            unplaced_mmap_bytes: 0,
            attempts: Vec::new(),
            mapped_ns: None,
        }
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> DeviceAddress {
        self.address
    }

    /// Its ranges, in the order in which they were seen: those in use, and the latest ended ones.
    pub fn ranges(&self) -> impl DoubleEndedIterator<Item = &Range> {
        self.ranges.iter()
    }

    /// How much there is to look at for who looks at all of it.
    pub(crate) fn weight(&self) -> usize {
        1 + self.ranges.len()
    }

    /// A range, for as long as it is among [`Device::ranges`].
    #[must_use]
    pub fn range(&self, id: RangeId) -> Option<&Range> {
        self.ranges.get(id.generation)
    }

    /// The range that a reference is to, where its address or page told it.
    #[must_use]
    pub fn range_of(&self, reference: &Reference) -> Option<&Range> {
        self.ranges.get(reference.generation)
    }

    /// The range, not over, in which this direct-map address lies.
    pub(crate) fn range_at(&self, addr: u64) -> Option<&Range> {
        self.ranges.at(addr)
    }

    /// What is known to be out, in no order.
    pub fn references(&self) -> impl Iterator<Item = (Key, &Reference)> {
        self.ledger.references()
    }

    /// What is known to be out of a range, in no order.
    pub(crate) fn references_of(&self, range: RangeId) -> impl Iterator<Item = &Reference> {
        let keys = self.ledger.keys_of(range.generation);
        keys.into_iter().filter_map(|key| self.ledger.get(key))
    }

    /// The pages of user mappings that are out, numbered as [`super::Geometry::index`] does, in runs that belong to one
    /// reference each.
    pub fn mmap_pages(&self) -> impl Iterator<Item = (std::ops::Range<u64>, &Reference)> {
        let mmaps = &self.ledger.mmaps;
        mmaps.iter().filter_map(|(pages, key)| Some((pages.clone(), self.ledger.get(key)?)))
    }

    /// How many references these are; an mmap counts as one.
    #[must_use]
    pub fn reference_count(&self) -> usize {
        self.ledger.len()
    }

    /// The reference of this name.
    #[must_use]
    pub fn reference(&self, key: Key) -> Option<&Reference> {
        self.ledger.get(key.0)
    }

    /// The allocation that has the memory at this direct-map address.
    #[cfg(test)]
    pub(crate) fn reference_at(&self, addr: u64) -> Option<(Key, &Reference)> {
        let key = self.ledger.owner(addr)?;
        Some((Key(key), self.ledger.get(key)?))
    }

    /// Who took a reference. An ended one's is known while it is among the latest that have ended.
    #[must_use]
    pub fn allocated_by(&self, reference: &Reference) -> AllocatedBy<'_> {
        self.ledger.allocated_by(reference)
    }

    /// No record was lost since it was taken. Else its memory can have been given back and taken by another, both
    /// unseen: no pull read can tell.
    #[must_use]
    pub fn is_sure(&self, reference: &Reference) -> bool {
        self.lost_until_ns.is_none_or(|lost_ns| reference.at.time_ns > lost_ns)
    }

    /// The latest references that have ended ([`super::MAX_CLOSED`]), oldest first.
    #[cfg(test)]
    pub(crate) fn closed(&self) -> impl DoubleEndedIterator<Item = &super::Closed> {
        self.ledger.history.closed()
    }

    /// What is known to be out of a range.
    #[must_use]
    pub fn held(&self, range: &Range) -> Held {
        self.ledger.held(range.id.generation)
    }

    /// What is known to be out in all, also where it is not known of which range.
    #[must_use]
    pub fn held_in_all(&self) -> Held {
        self.ledger.held_in_all()
    }

    /// Memory that is taken, and nobody saw by whom, in order of its addresses. Who took it is not known.
    pub fn preexisting(&self) -> impl Iterator<Item = preexisting::Run> + '_ {
        self.ledger.preexisting.runs()
    }

    /// Bytes of [`Device::preexisting`].
    #[must_use]
    pub fn preexisting_bytes(&self) -> u64 {
        self.ledger.preexisting.bytes()
    }

    /// How many bytes of the pre-existing memory can be those of known mmaps, since it is not known where these lie:
    /// 0 once the kernel's geometry is known.
    #[must_use]
    pub const fn unplaced_mmap_bytes(&self) -> u64 {
        self.unplaced_mmap_bytes
    }

    /// From when on all that is taken is known.
    #[must_use]
    pub const fn baseline(&self) -> Baseline {
        self.baseline
    }

    /// Attempts to take memory that have not come back, oldest first, where their beginnings are seen: while the pool points to a range
    /// that is gone.
    pub fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter()
    }

    /// The teardown that has begun and not ended.
    #[must_use]
    pub const fn pending_teardown(&self) -> Option<&Teardown> {
        self.teardown.as_ref()
    }

    /// The unbind that has begun and not ended: the pending teardown, or one whose p2p memory is released while the driver core
    /// still lets go of the device.
    #[must_use]
    pub fn unbinding(&self) -> Option<&Teardown> {
        let behind_release = || self.teardowns.back().filter(|last| last.outlasts_release());
        self.teardown.as_ref().or_else(behind_release)
    }

    pub(super) fn unbinding_mut(&mut self) -> Option<&mut Teardown> {
        let behind_release = self.teardowns.back_mut().filter(|last| last.outlasts_release());
        self.teardown.as_mut().or(behind_release)
    }

    /// The teardowns, oldest first: the latest ended ones ([`MAX_TEARDOWNS`]), then the pending one.
    pub fn teardowns(&self) -> impl DoubleEndedIterator<Item = &Teardown> {
        self.teardowns.iter().chain(&self.teardown)
    }

    /// Since then no teardown has come to its end in part that is not kept any more ([`MAX_TEARDOWNS`]).
    #[must_use]
    pub fn knows_teardowns_since(&self, since_ns: u64) -> bool {
        self.forgotten_ns.is_none_or(|forgotten_ns| forgotten_ns < since_ns)
    }

    /// The memory is offered to other drivers (`pci_p2pmem_publish`).
    #[must_use]
    pub fn published(&self) -> Option<bool> {
        self.published.map(|(published, _)| published)
    }

    /// The same with the record that told it last.
    #[must_use]
    pub const fn publication(&self) -> Option<(bool, At)> {
        self.published
    }

    /// Who held the device's lock at the latest pull read.
    #[must_use]
    pub const fn lock(&self) -> Option<Lock> {
        self.lock
    }

    /// Its driver hands out pages of a range in use itself: what is out is not known, whatever the pool counts.
    #[must_use]
    pub fn is_bypassed(&self) -> bool {
        let bypassed = |range: &Range| range.is_bypassed() && range.stage() < Stage::Released;
        self.bypassed || self.ranges.iter().any(bypassed)
    }

    /// It provides memory, and has no pool for it: memory without pages (Linux 6.19 and later), which is not traced.
    #[must_use]
    pub const fn is_without_pool(&self) -> bool {
        self.without_pool
    }

    /// DMA mappings of its memory; `None` where not both maps and unmaps are seen.
    #[must_use]
    pub fn mappings(&self, hooks: &Hooks) -> Option<&Mappings> {
        let both = [Hook::MapSg, Hook::UnmapSg].into_iter().all(|hook| hooks.is_throughout(hook));
        both.then_some(&self.mappings)
    }

    /// The latest pull read.
    #[must_use]
    pub const fn last_snapshot(&self) -> Option<LastSnapshot> {
        self.last_snapshot
    }

    /// When its memory was last mapped into user space.
    #[must_use]
    pub const fn mapped_ns(&self) -> Option<u64> {
        self.mapped_ns
    }

    /// What is uncertain, since when and why: records lost or not understood, and not made up for since.
    #[must_use]
    pub const fn uncertain(&self) -> Uncertainties {
        self.uncertainties
    }
}
