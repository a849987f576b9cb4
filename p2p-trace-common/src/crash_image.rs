//! Data next to the rings that a memory dump of the kernel must contain to be read: the counters'
//! tags, and the copies that user space keeps there.
//!
//! Three arrays hold it: `COUNTERS`, each element with a [`Tag`]; `USER`, a ring of [`USER_SLOTS`]
//! slots with the records that user space added to the stream (CPU `0xffffffff`, sequence number =
//! position); and `CRASH_IMAGE`, with [`IMAGES`] images of [`IMAGE_PAGES`] pages. Each image is the
//! beginning of an event dump: header, names and a checkpoint. Programs never touch the last two
//! arrays.

use crate::record::{MAGIC, SCHEMA};

/// Slots of the ring with user space's records.
pub const USER_SLOTS: u32 = 4096;

/// Size of a page of an image.
pub const PAGE_SIZE: usize = 4096;
/// Number of images: the one being written is never one that a reader needs.
pub const IMAGES: u32 = 3;
/// Pages of an image: 2 MiB.
pub const IMAGE_PAGES: u32 = 512;
/// Bytes of an image in one page, behind its head.
pub const PAGE_PAYLOAD: usize = PAGE_SIZE - size_of::<PageHead>();

/// Used as a kind: an element of the counters.
pub const COUNTERS_MARK: u8 = 0xf0;
/// Used as a kind: a page of an image.
pub const PAGE_MARK: u8 = 0xf1;

/// The second word of counters and image pages, which a search finds in the same way as slots.
#[must_use]
pub const fn mark(kind: u8) -> u64 {
    MAGIC as u64 | (SCHEMA as u64) << 32 | (kind as u64) << 40
}

/// Head of the counters of a CPU, or of the CPUs that share rings.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Reserved, 0.
    pub zero: u64,
    /// [`mark`] of [`COUNTERS_MARK`].
    pub mark: u64,
    /// Random number of the run.
    pub run: u64,
    /// The CPU; the lowest one if CPUs share the rings.
    pub cpu: u64,
    /// [`Tag::check`].
    pub check: u64,
    /// Number of pairs of rings if CPUs share them; 0: each CPU has its own.
    pub rings: u64,
    /// Reserved, 0.
    pub reserved: [u64; 2],
}

impl Tag {
    /// The tag of a run and CPU; `rings` as in the field.
    #[must_use]
    pub const fn new(run: u64, cpu: u32, rings: u32) -> Self {
        let (mark, cpu, rings) = (mark(COUNTERS_MARK), cpu as u64, rings as u64);
        Self { zero: 0, mark, run, cpu, check: Self::check(run, cpu), rings, reserved: [0; 2] }
    }

    /// Check word of a run and CPU.
    #[must_use]
    pub const fn check(run: u64, cpu: u64) -> u64 {
        run.rotate_left(32) ^ !cpu
    }
}

/// Head of a page of an image.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageHead {
    /// Generation of the image that the page belongs to, from 1; 0: never written.
    pub generation: u64,
    /// [`mark`] of [`PAGE_MARK`].
    pub mark: u64,
    /// Random number of the run.
    pub run: u64,
    /// Index of the page in the image.
    pub index: u32,
    /// Number of pages in the image.
    pub pages: u32,
    /// Bytes of the image in this page.
    pub length: u32,
    /// CRC-32C of the head, with 0 in this field, and of the `length` bytes behind it.
    pub crc: u32,
    /// Reserved, 0.
    pub reserved: [u64; 3],
}

/// A page of an image.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The page's head.
    pub head: PageHead,
    /// The page's part of the image.
    pub payload: [u8; PAGE_PAYLOAD],
}

const _: () = {
    assert!(size_of::<Tag>() == 64);
    assert!(size_of::<PageHead>() == 64);
    assert!(size_of::<Page>() == PAGE_SIZE);
};
