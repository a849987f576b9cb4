//! A range of p2p memory: one `dev_pagemap`, from `devm_memremap_pages` to the end of its device's pool.

use std::ops::RangeInclusive;

use super::{failed_mmap::FailedMmaps, reference::At};
use crate::event::{self, Refs};

/// In place of an address: the range was known from its chunk of the pool alone, which outlives its `dev_pagemap`.
pub const NO_PGMAP: u64 = 0;

/// Names a range of a device. Pointers and addresses come back: the generation tells their uses apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RangeId {
    /// Address of the `struct dev_pagemap`, or [`NO_PGMAP`].
    pub pgmap: u64,
    /// Counts the ranges that were seen of this device.
    pub generation: u32,
}

/// How far a range's teardown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// In use.
    Live,
    /// `memunmap_pages` was entered, or the reference was found dead: it takes no new references.
    Killed,
    /// The last reference is gone.
    Drained,
    /// The struct pages are gone, or going.
    Removed,
    /// The device's pool, or the range's part in a refused add, is gone: nothing leads to it any more.
    Released,
}

/// What was observed of a range's life, each thing at its first time. What is absent was not observed.
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

/// What the kernel itself counted of a range at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The record, of kind `kill` or `range_state`.
    pub at: At,
    /// Bytes taken from its part of the pool.
    pub bytes: Option<u64>,
    /// References.
    pub refs: Option<Refs>,
    /// The reference was dead: the count of a live one also holds references for the range itself.
    pub dead: bool,
    /// References that the model knew at that moment.
    pub known: u64,
    /// The least and the most references of unknown takers at that moment: at least one for each run of pre-existing
    /// memory in it, at most one for each page, and those that are known but not where they lie.
    pub unknown: (u64, u64),
}

/// References of a killed range against those that are known, at the moment of the kernel's count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounted {
    /// When the kernel was asked.
    pub at: At,
    /// What keeps the range from draining, by the kernel's own exact count.
    pub residual: u64,
    /// Allocations and pages of mmaps that were seen to be taken.
    pub known: u64,
    /// References of unknown takers, and those of which it is not known whether they are to this range.
    pub unknown: RangeInclusive<u64>,
    /// References that nothing explains. The lower end is certain as far as `known` is.
    pub unexplained: RangeInclusive<u64>,
}

/// A range of p2p memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Its name.
    pub id: RangeId,
    /// The first record that told of it.
    pub seen: At,
    /// Physical addresses.
    pub physical: Option<event::Range>,
    /// Where it begins in the direct map.
    pub base: Option<u64>,
    /// The BAR that it is of.
    pub bar: Option<u16>,
    /// What was observed of its life.
    pub steps: Steps,
    /// The low half of the address of its reference, as its first kill has it.
    pub reference: Option<u32>,
    /// The kernel's own count, as of the latest kill or pull read.
    pub counted: Option<Counted>,
    /// Place of its chunk in the order in which the pool tries them, as of the latest pull read.
    pub chunk: Option<u8>,
    /// Whether the pool hands out its pages, or its driver does so itself; `None`: not known.
    pub pooled: Option<bool>,
    /// How far it has come by what a pull read found, which can be further than the steps that were seen.
    pub snapshot_end: Option<(Stage, At)>,
    /// A pull read found that the pool still points to it although it is gone.
    pub dangling: Option<At>,
    /// As it was removed it was among those that the armed hooks compare with.
    pub watched: bool,
    /// User mappings of it that failed in the middle.
    pub failed_mmaps: FailedMmaps,
    /// Further kills of it.
    pub more_kills: u32,
    /// Its end was not seen: this record shows that it is over.
    pub ended_unseen: Option<At>,
    /// It was the range of a `pci_p2pdma_add_resource` that was refused in the end.
    pub refused: bool,
}

impl Range {
    /// Known by name only.
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

    /// More is known of it than that the pool still has a chunk of it, which a pull read found: that has neither pgmap nor bounds.
    #[must_use]
    pub const fn is_named(&self) -> bool {
        self.id.pgmap != NO_PGMAP
    }

    /// How far its teardown has come.
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

    /// Its driver hands out its pages itself: what is out of it is not known, whatever the pool counts.
    #[must_use]
    pub const fn is_bypassed(&self) -> bool {
        matches!(self.pooled, Some(false))
    }

    /// Killed, and neither seen to have drained nor gone.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.stage() == Stage::Killed
    }

    /// From when on it is known that the pool points to it although it is gone, until the pool is destroyed.
    #[must_use]
    pub fn dead_chunk_since(&self) -> Option<At> {
        let over = self.steps.release.or(self.steps.released).or(self.ended_unseen);
        let since = self.steps.unmapped.or(self.dangling);
        since.filter(|_| over.is_none() && !self.refused)
    }

    /// The direct-map address `addr` lies in it, as far as it is known where it lies.
    #[must_use]
    pub fn contains(&self, addr: u64) -> bool {
        let Some((base, physical)) = self.base.zip(self.physical) else {
            return false;
        };
        addr >= base && addr - base < physical.size()
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.physical.map(event::Range::size)
    }

    /// The kernel's count of a killed range against what is known; `None` where there is no exact count of one.
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
