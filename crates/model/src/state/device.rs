//! A device that has or had p2p memory.

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

/// Limit on the ended teardowns kept per device.
pub const MAX_TEARDOWNS: usize = 8;
/// Limit on the ranges of refused adds tracked at one time.
pub(super) const MAX_REFUSED: usize = 8;

/// From when on all outstanding memory is known: as references, or as memory whose holder is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// Memory that is not known at all may be outstanding.
    Unknown,
    /// A snapshot showed what is allocated.
    SnapshotEnd(At),
    /// The pool was destroyed: the next one starts empty.
    PoolGone(At),
}

/// A range that `pci_p2pdma_add_resource` is adding: its memory is mapped, and the remaining steps may still
/// fail.
#[derive(Clone, Copy, Debug)]
pub(super) struct Adding {
    pub(super) pid: Option<u32>,
    pub(super) generation: u32,
    /// The record of its return may have been lost.
    pub(super) may_be_over: bool,
}

/// See the module documentation. Each field is as of the latest record that has it.
#[derive(Clone, Debug)]
pub struct Device {
    pub(super) address: DeviceAddress,
    pub(super) ranges: Ranges,
    pub(super) ledger: Ledger,
    pub(super) teardown: Option<Teardown>,
    pub(super) teardowns: VecDeque<Teardown>,
    /// When the latest ended teardown that is no longer kept and was incomplete ended.
    pub(super) forgotten_ns: Option<u64>,
    pub(super) published: Option<(bool, At)>,
    pub(super) adding: Option<Adding>,
    /// The pgmaps of refused adds that are being cleaned up.
    pub(super) cleaning: VecDeque<u64>,
    pub(super) lock: Option<Lock>,
    /// As of the latest snapshot: see [`Device::is_without_pool`].
    pub(super) without_pool: bool,
    /// From the step that opened the latest teardown, which does not name the range: see
    /// [`Device::is_bypassed`].
    pub(super) bypassed: bool,
    pub(super) mappings: Mappings,
    pub(super) snapshot: Snapshot,
    pub(super) last_snapshot: Option<LastSnapshot>,
    pub(super) baseline: Baseline,
    pub(super) uncertainties: Uncertainties,
    /// The latest time at which a hot record may have been lost, even if the loss has been settled since.
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

    /// The address of the device.
    #[must_use]
    pub const fn address(&self) -> DeviceAddress {
        self.address
    }

    /// The ranges, in the order in which they were seen: those in use, and the latest ended ones.
    pub fn ranges(&self) -> impl DoubleEndedIterator<Item = &Range> {
        self.ranges.iter()
    }

    /// The cost of iterating over all of the device's state.
    pub(crate) fn weight(&self) -> usize {
        1 + self.ranges.len()
    }

    /// Returns a range while it is among [`Device::ranges`].
    #[must_use]
    pub fn range(&self, id: RangeId) -> Option<&Range> {
        self.ranges.get(id.generation)
    }

    /// The range that a reference belongs to, if its address or page identified it.
    #[must_use]
    pub fn range_of(&self, reference: &Reference) -> Option<&Range> {
        self.ranges.get(reference.generation)
    }

    /// The range in use that contains this direct-map address.
    pub(crate) fn range_at(&self, addr: u64) -> Option<&Range> {
        self.ranges.at(addr)
    }

    /// All known outstanding references, in no particular order.
    pub fn references(&self) -> impl Iterator<Item = (Key, &Reference)> {
        self.ledger.references()
    }

    /// The known outstanding references of a range, in no particular order.
    pub(crate) fn references_of(&self, range: RangeId) -> impl Iterator<Item = &Reference> {
        let keys = self.ledger.keys_of(range.generation);
        keys.into_iter().filter_map(|key| self.ledger.get(key))
    }

    /// The outstanding pages of user mappings, numbered as in [`super::Geometry::index`], in runs that belong
    /// to one reference each.
    pub fn mmap_pages(&self) -> impl Iterator<Item = (std::ops::Range<u64>, &Reference)> {
        let mmaps = &self.ledger.mmaps;
        mmaps.iter().filter_map(|(pages, key)| Some((pages.clone(), self.ledger.get(key)?)))
    }

    /// The number of outstanding references; an mmap counts as one.
    #[must_use]
    pub fn reference_count(&self) -> usize {
        self.ledger.len()
    }

    /// Returns the reference with this key.
    #[must_use]
    pub fn reference(&self, key: Key) -> Option<&Reference> {
        self.ledger.get(key.0)
    }

    /// The allocation whose memory includes this direct-map address.
    #[cfg(test)]
    pub(crate) fn reference_at(&self, addr: u64) -> Option<(Key, &Reference)> {
        let key = self.ledger.owner(addr)?;
        Some((Key(key), self.ledger.get(key)?))
    }

    /// The task that allocated a reference, and where. For an ended one, this is known while it is among the latest ended ones.
    #[must_use]
    pub fn allocated_by(&self, reference: &Reference) -> AllocatedBy<'_> {
        self.ledger.allocated_by(reference)
    }

    /// Whether no record was lost since the reference was allocated. Otherwise its memory may have been freed
    /// and allocated by another task, both without a record, which no snapshot can detect.
    #[must_use]
    pub fn is_sure(&self, reference: &Reference) -> bool {
        self.lost_until_ns.is_none_or(|lost_ns| reference.at.time_ns > lost_ns)
    }

    /// The latest ended references ([`super::MAX_CLOSED`]), oldest first.
    #[cfg(test)]
    pub(crate) fn closed(&self) -> impl DoubleEndedIterator<Item = &super::Closed> {
        self.ledger.history.closed()
    }

    /// Memory known to be outstanding in a range.
    #[must_use]
    pub fn held(&self, range: &Range) -> Held {
        self.ledger.held(range.id.generation)
    }

    /// Memory known to be outstanding in total, including memory whose range is unknown.
    #[must_use]
    pub fn held_in_all(&self) -> Held {
        self.ledger.held_in_all()
    }

    /// Memory that is allocated and whose holder is unknown, because no record of its allocation was seen, in
    /// order of addresses.
    pub fn preexisting(&self) -> impl Iterator<Item = preexisting::Run> + '_ {
        self.ledger.preexisting.runs()
    }

    /// Bytes of [`Device::preexisting`].
    #[must_use]
    pub fn preexisting_bytes(&self) -> u64 {
        self.ledger.preexisting.bytes()
    }

    /// How many bytes of the pre-existing memory may belong to known mmaps whose location is unknown. 0 once
    /// the kernel's geometry is known.
    #[must_use]
    pub const fn unplaced_mmap_bytes(&self) -> u64 {
        self.unplaced_mmap_bytes
    }

    /// From when on all outstanding memory is known.
    #[must_use]
    pub const fn baseline(&self) -> Baseline {
        self.baseline
    }

    /// Allocation attempts that have not returned, oldest first. Their starts are observed only while the
    /// pool points to a range that is gone.
    pub fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter()
    }

    /// The teardown in progress.
    #[must_use]
    pub const fn pending_teardown(&self) -> Option<&Teardown> {
        self.teardown.as_ref()
    }

    /// The unbind in progress: the pending teardown, or one whose p2p memory is released while the driver
    /// core is still letting go of the device.
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

    /// Whether no incomplete teardown that ended since then has been dropped ([`MAX_TEARDOWNS`]).
    #[must_use]
    pub fn knows_teardowns_since(&self, since_ns: u64) -> bool {
        self.forgotten_ns.is_none_or(|forgotten_ns| forgotten_ns < since_ns)
    }

    /// Whether the memory is offered to other drivers (`pci_p2pmem_publish`).
    #[must_use]
    pub fn published(&self) -> Option<bool> {
        self.published.map(|(published, _)| published)
    }

    /// Like [`Device::published`], with the latest record that has it.
    #[must_use]
    pub const fn publication(&self) -> Option<(bool, At)> {
        self.published
    }

    /// The holder of the device's lock at the latest snapshot.
    #[must_use]
    pub const fn lock(&self) -> Option<Lock> {
        self.lock
    }

    /// Whether the driver allocates pages of a range in use itself, so that the pool's count does not show
    /// what is outstanding.
    #[must_use]
    pub fn is_bypassed(&self) -> bool {
        let bypassed = |range: &Range| range.is_bypassed() && range.stage() < Stage::Released;
        self.bypassed || self.ranges.iter().any(bypassed)
    }

    /// Whether the device provides memory without a pool: memory without struct pages (Linux 6.19 and later),
    /// which is not traced.
    #[must_use]
    pub const fn is_without_pool(&self) -> bool {
        self.without_pool
    }

    /// DMA mappings of the device's memory. `None` unless both maps and unmaps are observed.
    #[must_use]
    pub fn mappings(&self, hooks: &Hooks) -> Option<&Mappings> {
        let both = [Hook::MapSg, Hook::UnmapSg].into_iter().all(|hook| hooks.is_throughout(hook));
        both.then_some(&self.mappings)
    }

    /// The latest snapshot.
    #[must_use]
    pub const fn last_snapshot(&self) -> Option<LastSnapshot> {
        self.last_snapshot
    }

    /// When its memory was last mapped into user space.
    #[must_use]
    pub const fn mapped_ns(&self) -> Option<u64> {
        self.mapped_ns
    }

    /// The uncertain state, since when, and why: lost or unreadable records that nothing has settled since.
    #[must_use]
    pub const fn uncertain(&self) -> Uncertainties {
        self.uncertainties
    }
}
