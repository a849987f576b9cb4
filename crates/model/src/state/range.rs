//! A range of p2p memory: one `dev_pagemap`, from `devm_memremap_pages` to the end of its device's pool.

use std::ops::RangeInclusive;

use super::{failed_mmap::FailedMmaps, reference::At};
use crate::event::{self, Refs};

/// In place of an address: the range is known only from its chunk of the pool, which outlives its
/// `dev_pagemap`.
pub const NO_PGMAP: u64 = 0;

/// Identifies a range of a device. Pointers and addresses are reused; the generation distinguishes their
/// uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RangeId {
    /// Address of the `struct dev_pagemap`, or [`NO_PGMAP`].
    pub pgmap: u64,
    /// Counts the ranges seen of this device.
    pub generation: u32,
}

/// How far the teardown of a range has progressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// In use.
    Live,
    /// `memunmap_pages` was entered, or the reference was found dead: it accepts no new users.
    Killed,
    /// The last reference was dropped.
    Drained,
    /// The struct pages are removed or being removed.
    Removed,
    /// The device's pool, or the range's part in a refused add, is gone: no pointer to it is left.
    Released,
}

/// The observed steps of a range, each at its first time. A step that is `None` was not observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// `devm_memremap_pages` returned.
    pub added: Option<At>,
    /// `pci_p2pdma_unmap_mappings` was entered.
    pub unmap_mappings: Option<At>,
    /// `devm_memremap_pages_release` was entered.
    pub memremap_release: Option<At>,
    /// `memunmap_pages` was entered.
    pub killed: Option<At>,
    /// `dev_pagemap_percpu_release` was entered.
    pub drained: Option<At>,
    /// `arch_remove_memory` was entered.
    pub removed: Option<At>,
    /// `memunmap_pages` returned.
    pub unmapped: Option<At>,
    /// `pci_p2pdma_release` was entered.
    pub release: Option<At>,
    /// `pci_p2pdma_release` returned.
    pub released: Option<At>,
}

/// The kernel's own counts of a range at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The record, of kind `kill` or `range_state`.
    pub at: At,
    /// Bytes allocated from its part of the pool.
    pub bytes: Option<u64>,
    /// The reference count.
    pub refs: Option<Refs>,
    /// Whether the reference was dead. The count of a live one also includes references for the range itself.
    pub dead: bool,
    /// References that the model knew at that moment.
    pub known: u64,
    /// The minimum and maximum number of references of unknown holders at that moment: at least one for each
    /// run of pre-existing memory in the range, at most one for each page, and known references whose
    /// location is unknown.
    pub unknown: (u64, u64),
}

/// The reference count of a killed range compared with the known references at the moment of the kernel's
/// count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounted {
    /// When the kernel's count was read.
    pub at: At,
    /// The number of references that keep the range from draining: the kernel's own exact count.
    pub residual: u64,
    /// Allocations and mmap pages that were observed.
    pub known: u64,
    /// References of unknown holders, and known references that may or may not be to this range.
    pub unknown: RangeInclusive<u64>,
    /// Unexplained references. The lower bound is as certain as `known`.
    pub unexplained: RangeInclusive<u64>,
}

/// A range of p2p memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The id of the range.
    pub id: RangeId,
    /// The first record about it.
    pub seen: At,
    /// Physical addresses.
    pub physical: Option<event::Range>,
    /// Its start in the direct map.
    pub base: Option<u64>,
    /// The BAR that it belongs to.
    pub bar: Option<u16>,
    /// The observed steps of its life cycle.
    pub steps: Steps,
    /// The low half of the address of its reference, from its first kill.
    pub reference: Option<u32>,
    /// The kernel's own counts, from the latest kill or snapshot.
    pub counted: Option<Counted>,
    /// Index of its chunk in the order in which the pool tries them, as of the latest snapshot.
    pub chunk: Option<u8>,
    /// Whether the pool allocates its pages (true) or its driver does (false). `None` if unknown.
    pub pooled: Option<bool>,
    /// Its stage according to a snapshot, which may be later than the observed steps.
    pub snapshot_end: Option<(Stage, At)>,
    /// The snapshot that found that the pool still points to it although it is gone.
    pub dangling: Option<At>,
    /// At its removal, it was among those that the armed hooks compare with.
    pub watched: bool,
    /// User mappings of it that failed in the middle.
    pub failed_mmaps: FailedMmaps,
    /// Number of additional kills.
    pub more_kills: u32,
    /// Its end was not observed. This record shows that it is over.
    pub ended_unseen: Option<At>,
    /// It belonged to a `pci_p2pdma_add_resource` that was refused in the end.
    pub refused: bool,
}

impl Range {
    /// A range of which only the id is known.
    pub(super) fn new(id: RangeId, seen: At) -> Self {
        Self {
            id,
            seen,
            physical: None,
            base: None,
            bar: None,
            steps: Steps::default(),
            reference: None,
            counted: None,
            chunk: None,
            pooled: None,
            snapshot_end: None,
            dangling: None,
            watched: false,
            failed_mmaps: FailedMmaps::default(),
            more_kills: 0,
            ended_unseen: None,
            refused: false,
        }
    }

    /// Whether more is known than that the pool still has a chunk of it, which a snapshot found and which has
    /// neither pgmap nor bounds.
    #[must_use]
    pub const fn is_named(&self) -> bool {
        self.id.pgmap != NO_PGMAP
    }

    /// How far its teardown has progressed.
    #[must_use]
    pub fn stage(&self) -> Stage {
        let Steps { killed, drained, removed, unmapped, released, .. } = self.steps;
        let over = released.is_some() || self.ended_unseen.is_some() || self.refused && unmapped.is_some();
        let seen = if over {
            Stage::Released
        } else if removed.or(unmapped).is_some() {
            Stage::Removed
        } else if drained.is_some() {
            Stage::Drained
        } else if killed.is_some() {
            Stage::Killed
        } else {
            Stage::Live
        };
        self.snapshot_end.map_or(seen, |(snapshot_end, _)| seen.max(snapshot_end))
    }

    /// Whether its driver allocates its pages itself, so that the outstanding memory is not known.
    #[must_use]
    pub const fn is_bypassed(&self) -> bool {
        matches!(self.pooled, Some(false))
    }

    /// Whether it was killed, and has neither drained nor ended as far as observed.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.stage() == Stage::Killed
    }

    /// Since when it is known that the pool points to it although it is gone, until the pool is destroyed.
    #[must_use]
    pub fn dead_chunk_since(&self) -> Option<At> {
        let over = self.steps.release.or(self.steps.released).or(self.ended_unseen);
        let since = self.steps.unmapped.or(self.dangling);
        since.filter(|_| over.is_none() && !self.refused)
    }

    /// Whether it contains the direct-map address `addr`, as far as its location is known.
    #[must_use]
    pub fn contains(&self, addr: u64) -> bool {
        let Some((base, physical)) = self.base.zip(self.physical) else {
            return false;
        };
        addr >= base && addr - base < physical.size()
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.physical.map(event::Range::size)
    }

    /// Compares the kernel's count of a killed range with the known references. `None` without an exact
    /// count.
    #[must_use]
    pub fn accounted(&self) -> Option<Accounted> {
        let counted = self.counted.filter(|counted| counted.dead)?;
        let refs = counted.refs.filter(|refs| !refs.estimate)?;
        let residual = u64::try_from(refs.count).ok()?;
        let (least, most) = counted.unknown;
        let left = residual.saturating_sub(counted.known);
        Some(Accounted {
            at: counted.at,
            residual,
            known: counted.known,
            unknown: least..=most,
            unexplained: left.saturating_sub(most)..=left.saturating_sub(least),
        })
    }
}
