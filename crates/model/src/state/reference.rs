//! One thing that was taken out of a device's pool and is not known to be back.

use std::{fmt, ops::Range as Span};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::{Id, Task, decode::PAGE_SIZE};

/// A record, and when it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct At {
    /// `CLOCK_BOOTTIME` in nanoseconds.
    pub time_ns: u64,
    /// The record.
    pub id: Id,
}

/// Names a live [`Reference`] of a device. It may be given to another one when that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub(super) u32);

/// What sort of memory was taken.
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

/// What was taken, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Allocated {
    /// `pci_alloc_p2pmem`: one reference, whatever its size.
    Allocation {
        /// Direct-map address.
        addr: u64,
        /// Bytes asked for. The pool gives out whole pages.
        size: u64,
    },
    /// `pci_p2pmem_alloc_sgl`, and the `pci_alloc_p2pmem` within it: one reference.
    ScatterList {
        /// Address of the list.
        sgl: u64,
        /// Direct-map address of the memory; `None`: that allocation was not seen.
        addr: Option<u64>,
        /// Bytes asked for.
        size: u64,
        /// Entries of the list.
        entries: Option<u32>,
    },
    /// `p2pmem_alloc_mmap`: one reference per page, each given back on its own.
    Mmap {
        /// The first `struct page`.
        page: u64,
        /// First user virtual address.
        user_addr: Option<u64>,
        /// Pages that were inserted.
        pages: u32,
        /// Those that are still out.
        outstanding: u32,
    },
}

// There can be a million of them: their index takes some 10 bytes more.
const _: () = assert!(size_of::<Reference>() <= 104);

impl Allocated {
    /// In which way.
    #[must_use]
    pub const fn kind(&self) -> HolderKind {
        match self {
            Self::Allocation { .. } => HolderKind::Allocation,
            Self::ScatterList { .. } => HolderKind::ScatterList,
            Self::Mmap { .. } => HolderKind::Mmap,
        }
    }
}

/// A size as the pool counts it: `gen_pool` gives out whole pages (`p2pdma.c` makes it with `PAGE_SHIFT`).
#[must_use]
pub const fn whole_pages(size: u64) -> u64 {
    match size.checked_next_multiple_of(PAGE_SIZE) {
        Some(size) => size,
        None => u64::MAX - (PAGE_SIZE - 1),
    }
}

/// The pages in which memory lies; empty where no memory can be.
pub(super) const fn span_of(addr: u64, size: u64) -> Span<u64> {
    let start = addr - addr % PAGE_SIZE;
    let size = if size == 0 { 1 } else { size };
    start..whole_pages(addr.saturating_add(size))
}

/// A live reference. Who took it is observed; who pins the memory now is not.
///
/// There can be a million of them: what many share lies in the device ([`super::Device::allocated_by`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// What was taken.
    pub allocated: Allocated,
    /// The record that says so. Pieces of memory that was given back in part have the same one.
    pub at: At,
    /// Memory of it was given back while the rest stayed. The kernel drops its one reference at the first free, so
    /// that what is left holds bytes and no reference. Never so for an mmap.
    pub partial: bool,
    /// [`super::RangeId::generation`], or [`NO_RANGE`].
    pub(super) generation: u32,
    pub(super) pid: u32,
    pub(super) origin: u32,
}

/// In place of a generation: not known.
pub(super) const NO_RANGE: u32 = u32::MAX;

impl Reference {
    /// Equal for references of a device whose taker is the same ([`super::Device::allocated_by`]), at one time: for grouping many.
    pub(crate) const fn holder(&self) -> (u32, u32) {
        (self.origin, self.pid)
    }

    /// Bytes that are out, as the pool counts them.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        match self.allocated {
            Allocated::Allocation { size, .. } | Allocated::ScatterList { size, .. } => whole_pages(size),
            Allocated::Mmap { outstanding, .. } => outstanding as u64 * PAGE_SIZE,
        }
    }

    /// References of the range that it stands for.
    #[must_use]
    pub const fn count(&self) -> u64 {
        match self.allocated {
            Allocated::Mmap { outstanding, .. } => outstanding as u64,
            Allocated::Allocation { .. } | Allocated::ScatterList { .. } => !self.partial as u64,
        }
    }

    /// The pages of its memory, where the kernel told its address.
    pub(super) fn span(&self) -> Option<Span<u64>> {
        match self.allocated {
            Allocated::Allocation { addr, size } => Some(span_of(addr, size)),
            Allocated::ScatterList { addr, size, .. } => addr.map(|addr| span_of(addr, size)),
            Allocated::Mmap { .. } => None,
        }
    }

    /// Direct-map address of the memory, where the kernel told it: never for an mmap.
    #[must_use]
    pub const fn addr(&self) -> Option<u64> {
        match self.allocated {
            Allocated::Allocation { addr, .. } => Some(addr),
            Allocated::ScatterList { addr, .. } => addr,
            Allocated::Mmap { .. } => None,
        }
    }
}

/// Who took a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocatedBy<'a> {
    /// The task.
    pub task: Option<Task>,
    /// Its cgroup's id.
    pub cgroup: Option<u64>,
    /// Return address of the function that took it.
    pub caller: Option<u64>,
    /// Return addresses, innermost first; empty where stacks were not captured.
    pub stack: &'a [u64],
    /// The process was found to have exited, by this time at the latest. `None`: not found so.
    pub exited_since_ns: Option<u64>,
    /// Then another process was started that has its number.
    pub replaced_ns: Option<u64>,
}

/// A reference that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// As it was.
    pub reference: Reference,
    /// The record that ended it.
    pub at: At,
    /// How.
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
    /// Its end was not seen: the pool gave its memory out again.
    Reused,
    /// Its end was not seen: a pull read found its memory free.
    Snapshot,
    /// Its end was not seen: the pool was destroyed and had nothing out (`gen_pool_destroy` is a `BUG` otherwise).
    PoolGone,
}

impl ClosedBy {
    /// The end itself was observed.
    pub(crate) const fn is_seen(self) -> bool {
        matches!(self, Self::Free | Self::SglFree | Self::PageFree)
    }
}
