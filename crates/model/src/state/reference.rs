//! One allocation from a device's pool that is not known to be freed.

use std::{fmt, ops::Range as Span};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Id, Task, decode::PAGE_SIZE};

/// A record and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct At {
    /// `CLOCK_BOOTTIME` in nanoseconds.
    pub time_ns: u64,
    /// The record.
    pub id: Id,
}

/// Identifies a live [`Reference`] of a device. A key may be reused after its reference has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub(super) u32);

/// The kind of allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HolderKind {
    /// `pci_alloc_p2pmem`.
    Allocation,
    /// `pci_p2pmem_alloc_sgl`.
    ScatterList,
    /// An mmap of `p2pmem/allocate`.
    Mmap,
}

impl HolderKind {
    /// The name used in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allocation => "allocation",
            Self::ScatterList => "scatter list",
            Self::Mmap => "mmap",
        }
    }
}

impl fmt::Display for HolderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The allocated memory, by kind of allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Allocated {
    /// `pci_alloc_p2pmem`: one reference, whatever its size.
    Allocation {
        /// Direct-map address.
        addr: u64,
        /// Requested size in bytes. The pool allocates whole pages.
        size: u64,
    },
    /// `pci_p2pmem_alloc_sgl`, and the `pci_alloc_p2pmem` within it: one reference.
    ScatterList {
        /// Address of the list.
        sgl: u64,
        /// Direct-map address of the memory. `None` if that allocation was not observed.
        addr: Option<u64>,
        /// Requested size in bytes.
        size: u64,
        /// Entries of the list.
        entries: Option<u32>,
    },
    /// `p2pmem_alloc_mmap`: one reference per page, each freed separately.
    Mmap {
        /// The first `struct page`.
        page: u64,
        /// First user virtual address.
        user_addr: Option<u64>,
        /// Pages that were inserted.
        pages: u32,
        /// Pages that are still outstanding.
        outstanding: u32,
    },
}

// There can be a million of them, and each needs about 10 more bytes in the indexes.
const _: () = assert!(size_of::<Reference>() <= 104);

impl Allocated {
    /// The kind of allocation.
    #[must_use]
    pub const fn kind(&self) -> HolderKind {
        match self {
            Self::Allocation { .. } => HolderKind::Allocation,
            Self::ScatterList { .. } => HolderKind::ScatterList,
            Self::Mmap { .. } => HolderKind::Mmap,
        }
    }
}

/// A size as the pool counts it: `gen_pool` allocates whole pages (`p2pdma.c` creates it with `PAGE_SHIFT`).
#[must_use]
pub const fn whole_pages(size: u64) -> u64 {
    match size.checked_next_multiple_of(PAGE_SIZE) {
        Some(size) => size,
        None => u64::MAX - (PAGE_SIZE - 1),
    }
}

/// The pages that contain the memory. Empty for an address that no memory can have.
pub(super) const fn span_of(addr: u64, size: u64) -> Span<u64> {
    let start = addr - addr % PAGE_SIZE;
    let size = if size == 0 { 1 } else { size };
    start..whole_pages(addr.saturating_add(size))
}

/// A live reference. Who allocated it is observed; who pins the memory now is not.
///
/// There can be a million of them, so what many share is stored in the device
/// ([`super::Device::allocated_by`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The allocated memory.
    pub allocated: Allocated,
    /// The record of the allocation. The parts of a partially freed allocation share it.
    pub at: At,
    /// A part of its memory was freed. The kernel drops its only reference at the first free, so the rest has
    /// bytes but no reference. Never true for an mmap.
    pub partial: bool,
    /// [`super::RangeId::generation`], or [`NO_RANGE`].
    pub(super) generation: u32,
    pub(super) pid: u32,
    pub(super) origin: u32,
}

/// In place of a generation: the range is unknown.
pub(super) const NO_RANGE: u32 = u32::MAX;

impl Reference {
    /// A key for grouping references of one device: equal for those with the same holder
    /// ([`super::Device::allocated_by`]) at one time.
    pub(crate) const fn holder(&self) -> (u32, u32) {
        (self.origin, self.pid)
    }

    /// Outstanding bytes, as the pool counts them.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        match self.allocated {
            Allocated::Allocation { size, .. } | Allocated::ScatterList { size, .. } => whole_pages(size),
            Allocated::Mmap { outstanding, .. } => outstanding as u64 * PAGE_SIZE,
        }
    }

    /// The number of references to the range that it stands for.
    #[must_use]
    pub const fn count(&self) -> u64 {
        match self.allocated {
            Allocated::Mmap { outstanding, .. } => outstanding as u64,
            Allocated::Allocation { .. } | Allocated::ScatterList { .. } => !self.partial as u64,
        }
    }

    /// The pages of its memory, if the kernel reported its address.
    pub(super) fn span(&self) -> Option<Span<u64>> {
        match self.allocated {
            Allocated::Allocation { addr, size } => Some(span_of(addr, size)),
            Allocated::ScatterList { addr, size, .. } => addr.map(|addr| span_of(addr, size)),
            Allocated::Mmap { .. } => None,
        }
    }

    /// Direct-map address of the memory, if the kernel reported it. Never known for an mmap.
    #[must_use]
    pub const fn addr(&self) -> Option<u64> {
        match self.allocated {
            Allocated::Allocation { addr, .. } => Some(addr),
            Allocated::ScatterList { addr, .. } => addr,
            Allocated::Mmap { .. } => None,
        }
    }
}

/// The origin of a reference: the task that allocated it, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocatedBy<'a> {
    /// The task.
    pub task: Option<Task>,
    /// Its cgroup's id.
    pub cgroup: Option<u64>,
    /// Return address in the function that allocated it.
    pub caller: Option<u64>,
    /// Return addresses, innermost first. Empty if stacks were not captured.
    pub stack: &'a [u64],
    /// The process has exited, by this time at the latest. `None` if it is not known to have exited.
    pub exited_since_ns: Option<u64>,
    /// When another process with the same number was started after that.
    pub replaced_ns: Option<u64>,
}

/// A reference that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The reference before its end.
    pub reference: Reference,
    /// The record that ended it.
    pub at: At,
    /// How it ended.
    pub by: ClosedBy,
}

/// How a reference ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClosedBy {
    /// `pci_free_p2pmem`.
    Free,
    /// `pci_p2pmem_free_sgl`.
    SglFree,
    /// Its last page was freed.
    PageFree,
    /// Not observed: the pool allocated its memory again.
    Reused,
    /// Not observed: a snapshot found its memory free.
    Snapshot,
    /// Not observed: the pool was destroyed without outstanding memory (`gen_pool_destroy` is a `BUG`
    /// otherwise).
    PoolGone,
}

impl ClosedBy {
    /// Whether the end itself was observed.
    pub(crate) const fn is_seen(self) -> bool {
        matches!(self, Self::Free | Self::SglFree | Self::PageFree)
    }
}
