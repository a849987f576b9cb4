//! Counters that the kernel side keeps per pair of rings and user space reads through a mapping.

use crate::{crash_image::Tag, hook::HOOK_SLOTS, slot::RINGS};

/// One element per pair of rings ([`crate::slot::Sharing`]) of the mmapable array `COUNTERS`. All grow only, by atomic adds.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct Counters {
    /// What a memory dump knows them by; written by user space before anything is attached.
    pub tag: Tag,
    /// Next position of each ring: how many records were ever begun in it.
    pub heads: [u64; RINGS],
    /// Page frees that could be added neither to a burst nor as a record of their own: 0 unless the
    /// flushing of bursts was contended; such frees were written as single records.
    pub burst_contended: u64,
    /// Events for which the per-task notes were full, so that their exit told less or nothing.
    pub notes_full: u64,
    /// Exits without a matching entry note (kretprobes, or entries before the attach).
    pub notes_missing: u64,
    /// Records dropped per ring: their slot was still being written by a producer that had been suspended for
    /// a whole lap, or (kernels before 5.12) they interrupted another producer on their CPU.
    pub dropped: [u64; RINGS],
    /// Kernels before 5.12: 1 while a producer of this CPU is at work.
    pub busy: u64,
    /// Events per [`crate::Hook`] that passed the filters, in units of what the hook counts (pages for
    /// page frees, else records): what should be delivered.
    pub hits: [u64; HOOK_SLOTS],
}

/// A burst of page frees that is being accumulated on one CPU: one element per CPU of the array `BURSTS`.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Burst {
    /// 1 while a producer or a flush is at it.
    pub lock: u64,
    /// Pages so far; 0: no burst.
    pub count: u64,
    /// Address of the first `struct page`.
    pub first_page: u64,
    /// Address that the next page must have to belong to the burst.
    pub next_page: u64,
    /// Range that the pages belong to.
    pub pgmap: u64,
    /// PCI address as in the record: domain in the low half, bus, devfn in the high one.
    pub device: u64,
    /// Time of the first page.
    pub first_ns: u64,
    /// Time of the last page.
    pub last_ns: u64,
    /// Who freed: pid in the low half, tgid in the high one.
    pub task: u64,
    /// Its name.
    pub comm: [u64; 2],
    /// Validity bits of what was read.
    pub valid: u64,
    /// 1: the page frees were reached through a kprobe.
    pub is_kprobe: u64,
    /// Reserved.
    pub reserved: [u64; 2],
}

/// Element size of the counters' array.
pub const COUNTERS_SIZE: usize = size_of::<Counters>();

const _: () = {
    // None straddles a page.
    assert!(COUNTERS_SIZE == 512);
    assert!(size_of::<Burst>() == 128);
};
