//! The rules as data: name, severity, and the hooks that each needs.

use std::collections::BTreeSet;

use p2p_trace_common::{Hook, Ring};

use crate::event::Companions;

/// The severity of a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Hygiene: nothing breaks because of it alone.
    Medium,
    /// A hang, a leak, or corrupted accounting.
    High,
    /// Memory safety.
    Critical,
}

impl Severity {
    /// Every severity, lowest first.
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

    /// The severity with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.name() == name)
    }
}

/// The identifier of a rule. Names are stable in every output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleId {
    /// `arch_remove_memory` ran on a range whose references had not drained: the race of 2018.
    RemovedBeforeDrained,
    /// The last reference was dropped after the removal.
    DrainedAfterRemoval,
    /// Memory of a removed range was used, allocated or freed.
    UseAfterRemoval,
    /// An allocation was attempted while the pool referred to a range that had ended.
    AllocOnDeadChunk,
    /// Memory of a range that had drained, or had been removed, was allocated.
    AllocAfterKill,
    /// A reference was killed twice.
    DoubleKill,
    /// The pool was destroyed while memory was outstanding.
    PoolDestroyedInUse,
    /// Memory that was not allocated was freed.
    UnmatchedFree,
    /// Memory that had been freed was freed again.
    DoubleFree,
    /// The size of a free differed from the size of the allocation.
    SizeMismatch,
    /// A killed range does not drain.
    StalledDrain,
    /// An unbind does not end.
    StalledUnbind,
    /// A killed range has references without a known allocation.
    UnexplainedReference,
    /// A failed user mapping kept a reference to its range.
    LeakedReference,
    /// Two ranges in use overlap.
    OverlappingRanges,
    /// A range was removed while it was mapped for DMA, or memory that was not mapped was unmapped.
    MapImbalance,
}

/// The specification of a rule.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The rule.
    pub rule: RuleId,
    /// The name used in every output.
    pub name: &'static str,
    /// The severity of a violation, unless the finding overrides it.
    pub severity: Severity,
    /// The violation, in half a sentence.
    pub title: &'static str,
    /// A limitation: events that the rule never sees, whatever is attached.
    pub never: &'static str,
    /// Hooks that the rule requires. One hook of each group is enough; if a group has none, the rule is not checked.
    pub needs: &'static [&'static [Hook]],
    /// Hooks that are required to confirm an apparent violation, because one of them could show an explanation. One hook of
    /// each group is enough. The same applies to `needs`. A hook whose function this kernel lacks is not required.
    pub confirmed_by: &'static [&'static [Hook]],
    /// Armed hooks do not satisfy `needs`: the hooks must be attached throughout the run.
    pub throughout: bool,
    /// Optional hooks, each of which shows the rule more cases.
    pub parts: &'static [Hook],
    /// Rings whose lost records may hide a violation at any time. The rule itself handles losses that matter only at
    /// certain times.
    pub rings: &'static [Ring],
    /// Hooks whose skipped runs may hide a violation at any time. [`SkipRow`](crate::event::SkipRow) defines for which
    /// devices and until when.
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
        confirmed_by: &[],
        throughout: false,
        parts: &[],
        rings: &[],
        hidden_by: &[],
    }
}

/// Hooks on allocations and scatter lists, and on their frees.
const ALLOCATIONS: &[Hook] = &[Alloc, Free, SglAlloc, SglFree];
/// Hooks on all allocations and frees, including user mappings.
pub(super) const ALLOCATES: &[Hook] =
    &[Alloc, Free, SglAlloc, SglFree, MmapEnter, InsertPage, Mmap, PageFree];
/// The removal, and hooks on uses that neither allocate nor free. The rule itself handles allocations and frees while a range
/// is removed.
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
/// The steps of an unbind, each of which may be the first or the last one seen.
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

/// All rules, in the order in which verdicts are shown.
#[rustfmt::skip]
pub const TABLE: &[Spec] = &[
    Spec {
        needs: &[&[Kill], &[Drained], &[Remove]],
        parts: &[Alloc, Free, SglFree, Mmap, PageFree],
        rings: &[Ring::Rare],
        hidden_by: &[Kill, Drained, Remove, Release],
        ..spec(RuleId::RemovedBeforeDrained, "removed-before-drained", Critical,
            "struct pages were removed while references to them were outstanding",
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
            "accesses by a CPU, or by a device that already has the bus address; mappings by functions without a hook, or of a page of a range whose teardown has ended")
    },
    Spec {
        needs: &[&[Unmapped], &[Release], &[Alloc]], parts: &[Mmap, AllocEnter], rings: &[Ring::Rare],
        hidden_by: &[AllocEnter, Unmapped, Release],
        ..spec(RuleId::AllocOnDeadChunk, "alloc-on-dead-chunk", Critical,
            "an allocation was attempted while the pool still referred to a range that had ended",
            "whether freed memory was read, and with what effect")
    },
    Spec {
        needs: &[&[Kill], &[Drained, Remove], &[Alloc]],
        parts: &[Drained, Mmap],
        rings: &[Ring::Rare],
        hidden_by: &[Kill, Drained, Remove],
        ..spec(RuleId::AllocAfterKill, "alloc-after-kill", Critical,
            "memory of a range that had drained was allocated",
            "memory that a driver allocates itself")
    },
    Spec {
        needs: &[&[Kill]], rings: &[Ring::Rare],
        hidden_by: &[Kill],
        ..spec(RuleId::DoubleKill, "double-kill", High,
            "the reference of a range was killed twice",
            "a kill by anything but `memunmap_pages`, or whether two ranges share one reference")
    },
    Spec {
        needs: &[&[Release]], parts: &[Alloc, Free, SglFree, Mmap, PageFree], rings: &[Ring::Rare],
        hidden_by: &[Release],
        ..spec(RuleId::PoolDestroyedInUse, "pool-destroyed-in-use", Critical,
            "the pool was destroyed while memory was outstanding",
            "memory that a driver allocates itself")
    },
    Spec {
        needs: &[&[Alloc], &[Free]],
        parts: &[SglAlloc, SglFree, Mmap, PageFree],
        rings: &[Ring::Hot, Ring::Rare],
        hidden_by: ALLOCATES,
        ..spec(RuleId::UnmatchedFree, "unmatched-free", High,
            "memory that was not allocated was freed",
            "frees that bypass `pci_free_p2pmem` and its siblings")
    },
    Spec {
        needs: &[&[Alloc], &[Free]], parts: &[SglAlloc, SglFree], rings: &[Ring::Hot, Ring::Rare],
        hidden_by: ALLOCATIONS,
        ..spec(RuleId::DoubleFree, "double-free", High,
            "memory was freed twice",
            "frees that bypass `pci_free_p2pmem` and its siblings")
    },
    Spec {
        needs: &[&[Alloc], &[Free]], parts: &[SglAlloc, SglFree], rings: &[Ring::Hot, Ring::Rare],
        hidden_by: ALLOCATIONS,
        ..spec(RuleId::SizeMismatch, "size-mismatch", High,
            "the size of a free differed from the size of the allocation",
            "the entries of a scatter list, which is freed as a unit")
    },
    Spec {
        needs: &[&[Kill], &[Drained]], rings: &[Ring::Rare],
        hidden_by: &[Kill, Drained],
        ..spec(RuleId::StalledDrain, "stalled-drain", High,
            "a killed range does not drain",
            "who pins a page now, only who allocated the memory")
    },
    Spec {
        needs: &[&[Unbind, DriverRemove], &[Unbound, DriverRemoved]],
        confirmed_by: &[&[Unbound, DevresReleased]],
        parts: &[Kill, Release],
        rings: &[Ring::Rare],
        hidden_by: UNBINDS,
        ..spec(RuleId::StalledUnbind, "stalled-unbind", High,
            "an unbind does not end",
            "the reason why the task waits, beyond its stack")
    },
    Spec {
        needs: &[&[Snapshot], &[Alloc], &[Free]],
        confirmed_by: &[&[Mmap]],
        parts: &[SglAlloc, SglFree, MmapEnter, InsertPage, Mmap, PageFree],
        rings: &[Ring::Hot, Ring::Rare],
        hidden_by: ALLOCATES,
        ..spec(RuleId::UnexplainedReference, "unexplained-reference", High,
            "a killed range has references that no known allocation explains",
            "who holds them")
    },
    Spec {
        needs: &[&[Snapshot], &[Alloc], &[Free], &[MmapEnter], &[InsertPage], &[Mmap]],
        parts: &[SglAlloc, SglFree, PageFree],
        rings: &[Ring::Hot, Ring::Rare],
        hidden_by: ALLOCATES,
        ..spec(RuleId::LeakedReference, "leaked-reference", High,
            "a failed user mapping kept a reference to its range",
            "whether the remaining reference is the failed call's, or was acquired unseen by another task")
    },
    Spec {
        needs: &[&[Memremap]], rings: &[Ring::Rare],
        hidden_by: &[Memremap, Remove, Unmapped, Release],
        ..spec(RuleId::OverlappingRanges, "overlapping-ranges", High,
            "two ranges in use overlap",
            "memory that is not p2p memory")
    },
    Spec {
        needs: &[&[MapSg], &[UnmapSg], &[Remove]], throughout: true, rings: &[Ring::Hot, Ring::Rare],
        hidden_by: &[MapSg, UnmapSg, Remove],
        ..spec(RuleId::MapImbalance, "map-imbalance", High,
            "maps and unmaps for DMA do not pair up",
            "mappings that bypass `pci_p2pdma_map_sg_attrs`, and whether a mapping failed")
    },
];

impl Spec {
    /// Hooks whose skipped runs may hide a violation: [`Spec::hidden_by`], and the hooks that must run before these write
    /// a record.
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

    /// The rule's specification.
    #[must_use]
    pub const fn spec(self) -> &'static Spec {
        &TABLE[self as usize]
    }

    /// The name used in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.spec().name
    }

    /// The rules from which a skipped run of this hook may hide a violation.
    pub fn hidden_by(hook: Hook) -> impl Iterator<Item = Self> {
        TABLE.iter().filter(move |spec| spec.hiders().any(|hider| hider == hook)).map(|spec| spec.rule)
    }

    /// The rule with this name.
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
