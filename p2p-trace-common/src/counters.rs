//! Counters that the kernel side keeps per pair of rings and that user space reads through a
//! mapping.

use crate::{crash_image::Tag, hook::HOOK_SLOTS, slot::RINGS};

/// One element per pair of rings ([`crate::slot::Sharing`]) of the mmapable array `COUNTERS`. All
/// counters only increase, by atomic adds.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct Counters {
    /// Identifies the counters in a memory dump; user space writes it before it attaches anything.
    pub tag: Tag,
    /// Next position of each ring: the number of records ever begun in it.
    pub heads: [u64; RINGS],
    /// Page frees that did not go into a burst because the flush of bursts was contended: 0 unless
    /// that happened. Such frees are written as single records.
    pub burst_contended: u64,
    /// Events for which the per-task notes were full, so that the record of their exit is
    /// incomplete or missing.
    pub notes_full: u64,
    /// Exits without a matching entry note (kretprobes, or calls entered before the attach).
    pub notes_missing: u64,
    /// Records dropped per ring: either the slot was still being written by a producer that had
    /// been suspended for a complete lap, or (kernels before 5.12) the record interrupted another
    /// producer on its CPU.
    pub dropped: [u64; RINGS],
    /// Kernels before 5.12: 1 while a producer on this CPU is writing.
    pub busy: u64,
    /// Events per [`crate::Hook`] that passed the filters, in the unit that the hook counts: pages
    /// for page frees, records otherwise. This is the number that should be delivered.
    pub hits: [u64; HOOK_SLOTS],
}

/// A burst of page frees that is being accumulated on one CPU: one element per CPU of the array
/// `BURSTS`.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Burst {
    /// 1 while a producer or a flush holds the burst.
    pub lock: u64,
    /// Pages so far; 0: no burst.
    pub count: u64,
    /// Address of the first `struct page`.
    pub first_page: u64,
    /// Address that the next page must have to extend the burst.
    pub next_page: u64,
    /// The pages' range, by its pgmap.
    pub pgmap: u64,
    /// PCI address as in a record: domain in the low half, bus and devfn in the high half.
    pub device: u64,
    /// Time of the first page.
    pub first_ns: u64,
    /// Time of the last page.
    pub last_ns: u64,
    /// The freeing task: pid in the low half, tgid in the high half.
    pub task: u64,
    /// The task's name.
    pub comm: [u64; 2],
    /// Validity bits of the fields that were read.
    pub valid: u64,
    /// 1: the page frees were traced through a kprobe.
    pub is_kprobe: u64,
    /// Reserved.
    pub reserved: [u64; 2],
}

/// Element size of the counters' array.
pub const COUNTERS_SIZE: usize = size_of::<Counters>();

const _: () = {
    // No element straddles a page.
    assert!(COUNTERS_SIZE == 512);
    assert!(size_of::<Burst>() == 128);
};
