//! Memory of the kernel in which a memory dump finds what is not in the rings: the counters' tags, and what user space
//! mirrors there.
//!
//! Three arrays hold more than the rings' records: `COUNTERS`, each element with a [`Tag`]; `USER`, a ring of
//! [`USER_SLOTS`] slots with the records that user space has added to the stream (CPU `0xffffffff`, sequence number =
//! position); and `CRASH_IMAGE`, [`IMAGES`] images of [`IMAGE_PAGES`] pages, of which each is the beginning of an event dump:
//! header, names, and what was true then. Programs never touch the last two.

use crate::record::{MAGIC, SCHEMA};

/// Slots of the ring of what user space added.
pub const USER_SLOTS: u32 = 4096;

/// Size of a page of an image.
pub const PAGE_SIZE: usize = 4096;
/// Images, so that one that is being written spoils none that is needed.
pub const IMAGES: u32 = 3;
/// Pages of an image: 2 MiB.
pub const IMAGE_PAGES: u32 = 512;
/// Bytes of an image that one page holds, behind its head.
pub const PAGE_PAYLOAD: usize = PAGE_SIZE - size_of::<PageHead>();

/// In place of a kind: an element of the counters.
pub const COUNTERS_MARK: u8 = 0xf0;
/// In place of a kind: a page of an image.
pub const PAGE_MARK: u8 = 0xf1;

/// The second word of what is no slot, by which it is found as slots are.
#[must_use]
pub const fn mark(kind: u8) -> u64 {
    MAGIC as u64 | (SCHEMA as u64) << 32 | (kind as u64) << 40
}

/// What the counters of a CPU, or of those that share rings, begin with.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Reserved, 0.
    pub zero: u64,
    /// [`mark`] of [`COUNTERS_MARK`].
    pub mark: u64,
    /// Random number of the run.
    pub run: u64,
    /// The CPU, or the lowest of those that share the rings.
    pub cpu: u64,
    /// [`Tag::check`].
    pub check: u64,
    /// How many pairs of rings there are, where CPUs share them; 0: each CPU has its own.
    pub rings: u64,
    /// Reserved, 0.
    pub reserved: [u64; 2],
}

impl Tag {
    /// Of a run and CPU; `rings` as in the field.
    #[must_use]
    pub const fn new(run: u64, cpu: u32, rings: u32) -> Self {
        let (mark, cpu, rings) = (mark(COUNTERS_MARK), cpu as u64, rings as u64);
        Self { zero: 0, mark, run, cpu, check: Self::check(run, cpu), rings, reserved: [0; 2] }
    }

    /// What a tag of this run and CPU repeats them by.
    #[must_use]
    pub const fn check(run: u64, cpu: u64) -> u64 {
        run.rotate_left(32) ^ !cpu
    }
}

/// What a page of an image begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageHead {
    /// Which image of the run it belongs to, from 1 on; 0: never written.
    pub generation: u64,
    /// [`mark`] of [`PAGE_MARK`].
    pub mark: u64,
    /// Random number of the run.
    pub run: u64,
    /// Which page of the image it is.
    pub index: u32,
    /// Pages of the image.
    pub pages: u32,
    /// Bytes of the image in this page.
    pub length: u32,
    /// CRC-32C of the page, up to `length` bytes behind this head, with 0 in this place.
    pub crc: u32,
    /// Reserved, 0.
    pub reserved: [u64; 3],
}

/// A page of an image.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// What it begins with.
    pub head: PageHead,
    /// Its part of the image.
    pub payload: [u8; PAGE_PAYLOAD],
}

const _: () = {
    assert!(size_of::<Tag>() == 64);
    assert!(size_of::<PageHead>() == 64);
    assert!(size_of::<Page>() == PAGE_SIZE);
};
