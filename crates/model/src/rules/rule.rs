//! The rules as data: what each is called, how grave a violation is, and what it has to see.

use std::collections::BTreeSet;

use p2p_trace_common::{Hook, Ring};

use crate::event::Companions;

/// How grave a violation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Hygiene: nothing breaks by it alone.
    Medium,
    /// A hang, a leak, or corrupted accounting.
    High,
    /// Memory safety.
    Critical,
}

impl Severity {
    /// Every severity, the least first.
    pub const ALL: [Self; 3] = [Self::Medium, Self::High, Self::Critical];

    /// The name used in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The severity of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.name() == name)
    }
}

/// A rule. The names are stable in every output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleId {
    /// `arch_remove_memory` of a range whose references had not drained: the race of 2018.
    RemovedBeforeDrained,
    /// The last reference was dropped after the removal.
    DrainedAfterRemoval,
    /// Memory of a removed range was used, given out or given back.
    UseAfterRemoval,
    /// An attempt to take memory while the pool points to a range that is gone.
    AllocOnDeadChunk,
    /// Memory of a range that had drained, or was removed, was given out.
    AllocAfterKill,
    /// A reference was killed twice.
    DoubleKill,
    /// The pool was destroyed while memory was out.
    PoolDestroyedInUse,
    /// Memory was given back that nobody had taken.
    UnmatchedFree,
    /// Memory was given back that had been given back.
    DoubleFree,
    /// Another amount was given back than had been taken.
    SizeMismatch,
    /// A killed range does not drain.
    StalledDrain,
    /// An unbind does not come to its end.
    StalledUnbind,
    /// A killed range has references that nothing explains.
    UnexplainedReference,
    /// A user mapping that failed has kept a reference of its range.
    LeakedReference,
    /// Two ranges in use overlap.
    OverlappingRanges,
    /// A range was removed while it was mapped for DMA, or something was unmapped that was not mapped.
    MapImbalance,
}

/// What a rule is and what it depends on.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The rule.
    pub rule: RuleId,
    /// The name used in every output.
    pub name: &'static str,
    /// How grave a violation is, unless the finding says otherwise.
    pub severity: Severity,
    /// What is violated, in half a sentence.
    pub title: &'static str,
    /// What it can never see, whatever is attached.
    pub never: &'static str,
    /// Hooks without any of which it is not checked; of each group one is enough.
    pub needs: &'static [&'static [Hook]],
    /// Hooks without which an apparent violation is not believed, because one of them could have seen what explains it; one of
    /// each group is enough. The same goes for `needs`. What this kernel does not have explains nothing on it.
    pub believes: &'static [&'static [Hook]],
    /// Armed hooks are not enough for its needs: they have to be attached throughout.
    pub throughout: bool,
    /// Hooks of which each shows it more cases.
    pub parts: &'static [Hook],
    /// A loss of records of these rings, whenever it is, can hide a violation. Losses that matter only at times are the
    /// rule's own business.
    pub rings: &'static [Ring],
    /// Hooks of which a skipped run can hide a violation, whenever it is. For which devices and until when says
    /// [`SkipRow`](crate::event::SkipRow).
    pub hidden_by: &'static [Hook],
}

use Hook::{
    Alloc, AllocEnter, BlkDmaMap, DevresRelease, DevresReleased, DmaIovaLink, DmaMapPage, DmaMapPhys,
    DmaMapSg, Drained, DriverRemove, DriverRemoved, Free, InsertPage, Kill, MapSegment, MapSg, MapState,
    Memremap, Mmap, MmapEnter, PageFree, Release, Released, Remove, SglAlloc, SglFree, Snapshot, Unbind,
    Unbound, UnmapSg, Unmapped, VirtToBus,
};
use Severity::{Critical, High};

const fn spec(
    rule: RuleId,
    name: &'static str,
    severity: Severity,
    title: &'static str,
    never: &'static str,
) -> Spec {
    Spec {
        rule,
        name,
        severity,
        title,
        never,
        needs: &[],
        believes: &[],
        throughout: false,
        parts: &[],
        rings: &[],
        hidden_by: &[],
    }
}

/// What takes allocations and gives them back.
const ALLOCATIONS: &[Hook] = &[Alloc, Free, SglAlloc, SglFree];
/// What takes any memory and gives it back.
pub(super) const TAKES: &[Hook] = &[Alloc, Free, SglAlloc, SglFree, MmapEnter, InsertPage, Mmap, PageFree];
/// The removal, and what is a use but takes and gives back nothing: that it is done while a range is removed is looked at by the rule.
const USES: &[Hook] = &[
    Remove,
    MapSg,
    UnmapSg,
    MapSegment,
    MapState,
    VirtToBus,
    DmaMapSg,
    DmaMapPage,
    DmaMapPhys,
    DmaIovaLink,
    BlkDmaMap,
];
/// The steps of an unbind, each of which can be the first or the last that is seen.
const UNBINDS: &[Hook] = &[
    Unbind,
    Unbound,
    DriverRemove,
    DriverRemoved,
    DevresRelease,
    DevresReleased,
    Kill,
    Drained,
    Remove,
    Unmapped,
    Release,
    Released,
];

/// The table, in the order in which verdicts are shown.
#[rustfmt::skip]
pub const TABLE: &[Spec] = &[
    Spec {
        needs: &[&[Kill], &[Drained], &[Remove]],
        parts: &[Alloc, Free, SglFree, Mmap, PageFree],
        rings: &[Ring::Rare],
        hidden_by: &[Kill, Drained, Remove, Release],
        ..spec(RuleId::RemovedBeforeDrained, "removed-before-drained", Critical,
            "struct pages were removed while references to them were out",
            "a page that is used without a reference to its range")
    },
    Spec {
        needs: &[&[Drained], &[Remove]], rings: &[Ring::Rare],
        hidden_by: &[Drained, Remove],
        ..spec(RuleId::DrainedAfterRemoval, "drained-after-removal", Critical,
            "the last reference was dropped after the struct pages had been removed",
            "a reference that is never dropped")
    },
    Spec {
        needs: &[&[Remove]],
        parts: &[
            Free, SglFree, PageFree, Alloc, Mmap,
            VirtToBus, DmaMapSg, DmaMapPage, DmaMapPhys, DmaIovaLink, BlkDmaMap,
        ],
        rings: &[Ring::Rare],
        hidden_by: USES,
        ..spec(RuleId::UseAfterRemoval, "use-after-removal", Critical,
            "memory was used after its struct pages had been removed",
            "what a CPU, or a device that has the bus address already, reads and writes; mappings by functions that have no hook, and of a page of a range whose teardown has ended")
    },
    Spec {
        needs: &[&[Unmapped], &[Release], &[Alloc]], parts: &[Mmap, AllocEnter], rings: &[Ring::Rare],
        hidden_by: &[AllocEnter, Unmapped, Release],
        ..spec(RuleId::AllocOnDeadChunk, "alloc-on-dead-chunk", Critical,
            "memory was asked for while the pool still points to a range that is gone",
            "whether freed memory was read, and what it led to")
    },
    Spec {
        needs: &[&[Kill], &[Drained, Remove], &[Alloc]],
        parts: &[Drained, Mmap],
        rings: &[Ring::Rare],
        hidden_by: &[Kill, Drained, Remove],
        ..spec(RuleId::AllocAfterKill, "alloc-after-kill", Critical,
            "memory was given out of a range that had drained",
            "memory that a driver hands out itself")
    },
    Spec {
        needs: &[&[Kill]], rings: &[Ring::Rare],
        hidden_by: &[Kill],
        ..spec(RuleId::DoubleKill, "double-kill", High,
            "the reference of a range was killed twice",
            "a kill by anything but `memunmap_pages`, and that two ranges share one reference")
    },
    Spec {
        needs: &[&[Release]], parts: &[Alloc, Free, SglFree, Mmap, PageFree], rings: &[Ring::Rare],
        hidden_by: &[Release],
        ..spec(RuleId::PoolDestroyedInUse, "pool-destroyed-in-use", Critical,
            "the pool was destroyed while memory was out",
            "memory that a driver hands out itself")
    },
    Spec {
        needs: &[&[Alloc], &[Free]],
        parts: &[SglAlloc, SglFree, Mmap, PageFree],
        rings: &[Ring::Hot, Ring::Rare],
        hidden_by: TAKES,
        ..spec(RuleId::UnmatchedFree, "unmatched-free", High,
            "memory was given back that nobody had taken",
            "what is given back behind `pci_free_p2pmem` and its siblings")
    },
    Spec {
        needs: &[&[Alloc], &[Free]], parts: &[SglAlloc, SglFree], rings: &[Ring::Hot, Ring::Rare],
        hidden_by: ALLOCATIONS,
        ..spec(RuleId::DoubleFree, "double-free", High,
            "memory was given back twice",
            "what is given back behind `pci_free_p2pmem` and its siblings")
    },
    Spec {
        needs: &[&[Alloc], &[Free]], parts: &[SglAlloc, SglFree], rings: &[Ring::Hot, Ring::Rare],
        hidden_by: ALLOCATIONS,
        ..spec(RuleId::SizeMismatch, "size-mismatch", High,
            "another amount was given back than had been taken",
            "the entries of a scatter list, which is given back as a whole")
    },
    Spec {
        needs: &[&[Kill], &[Drained]], rings: &[Ring::Rare],
        hidden_by: &[Kill, Drained],
        ..spec(RuleId::StalledDrain, "stalled-drain", High,
            "a killed range does not drain",
            "who pins a page now: only who took the memory")
    },
    Spec {
        needs: &[&[Unbind, DriverRemove], &[Unbound, DriverRemoved]],
        believes: &[&[Unbound, DevresReleased]],
        parts: &[Kill, Release],
        rings: &[Ring::Rare],
        hidden_by: UNBINDS,
        ..spec(RuleId::StalledUnbind, "stalled-unbind", High,
            "an unbind does not come to its end",
            "what the task waits for, beyond its stack")
    },
    Spec {
        needs: &[&[Snapshot], &[Alloc], &[Free]],
        believes: &[&[Mmap]],
        parts: &[SglAlloc, SglFree, MmapEnter, InsertPage, Mmap, PageFree],
        rings: &[Ring::Hot, Ring::Rare],
        hidden_by: TAKES,
        ..spec(RuleId::UnexplainedReference, "unexplained-reference", High,
            "a killed range has references that no known allocation explains",
            "who has them")
    },
    Spec {
        needs: &[&[Snapshot], &[Alloc], &[Free], &[MmapEnter], &[InsertPage], &[Mmap]],
        parts: &[SglAlloc, SglFree, PageFree],
        rings: &[Ring::Hot, Ring::Rare],
        hidden_by: TAKES,
        ..spec(RuleId::LeakedReference, "leaked-reference", High,
            "a user mapping that failed has kept a reference of its range",
            "whether the reference that is left is the failed call's, or one that somebody else took unseen")
    },
    Spec {
        needs: &[&[Memremap]], rings: &[Ring::Rare],
        hidden_by: &[Memremap, Remove, Unmapped, Release],
        ..spec(RuleId::OverlappingRanges, "overlapping-ranges", High,
            "two ranges in use overlap",
            "memory that is no p2p memory")
    },
    Spec {
        needs: &[&[MapSg], &[UnmapSg], &[Remove]], throughout: true, rings: &[Ring::Hot, Ring::Rare],
        hidden_by: &[MapSg, UnmapSg, Remove],
        ..spec(RuleId::MapImbalance, "map-imbalance", High,
            "maps and unmaps for DMA do not pair up",
            "mappings that do not go through `pci_p2pdma_map_sg_attrs`, and whether one failed")
    },
];

impl Spec {
    /// Hooks of which a skipped run can hide a violation: [`Spec::hidden_by`], and those without whose run one of them writes
    /// nothing.
    pub(super) fn hiders(&self) -> impl Iterator<Item = Hook> {
        let is_new = |hook: &Hook| !self.hidden_by.contains(hook);
        let noting = self.hidden_by.iter().filter_map(|&hook| Companions::noting(hook)).filter(is_new);
        let noting: BTreeSet<Hook> = noting.collect();
        self.hidden_by.iter().copied().chain(noting)
    }
}

impl RuleId {
    /// Every rule, in the order of [`TABLE`].
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|spec| spec.rule)
    }

    /// What it is and depends on.
    #[must_use]
    pub const fn spec(self) -> &'static Spec {
        &TABLE[self as usize]
    }

    /// The name used in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.spec().name
    }

    /// Those from which a skipped run of this hook can hide a violation.
    pub fn hidden_by(hook: Hook) -> impl Iterator<Item = Self> {
        TABLE.iter().filter(move |spec| spec.hiders().any(|hider| hider == hook)).map(|spec| spec.rule)
    }

    /// The rule of this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|rule| rule.name() == name)
    }
}

const _: () = {
    let mut index = 0;
    while index < TABLE.len() {
        assert!(TABLE[index].rule as usize == index, "the table is in the order of the rules");
        index += 1;
    }
};
