//! The BPF arrays of the transport, mapped into this process.

use std::{
    io,
    os::fd::AsFd,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use p2p_trace_common::{
    Ring,
    config::MAX_CPUS,
    counters::{COUNTERS_SIZE, Counters},
    hook::HOOK_SLOTS,
    slot::SLOT_SIZE,
};
use p2p_trace_model::accounting::Shortfalls;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::{
    rings::RingPlan,
    transport::{Memory, ring::View},
};

/// A shared mapping of an mmapable array.
#[derive(Debug)]
pub(super) struct Mapping {
    address: NonNull<AtomicU64>,
    bytes: usize,
}

// SAFETY: the memory is shared with the kernel and accessed only as atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(map: impl AsFd, bytes: usize, protection: ProtFlags) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let bytes = bytes.next_multiple_of(page);
        // SAFETY: creates a new mapping at an address that the kernel chooses.
        let address = unsafe { mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, map, 0) }?;
        let address = NonNull::new(address.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { address, bytes })
    }

    /// Maps the first `bytes` of a map that only the kernel side writes.
    ///
    /// # Errors
    ///
    /// If the map cannot be mapped.
    pub(super) fn readable(map: impl AsFd, bytes: usize) -> io::Result<Self> {
        Self::new(map, bytes, ProtFlags::READ)
    }

    /// Maps the first `bytes` of a map that both sides write.
    ///
    /// # Errors
    ///
    /// If the map cannot be mapped.
    pub(super) fn writable(map: impl AsFd, bytes: usize) -> io::Result<Self> {
        Self::new(map, bytes, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// Reads word `index`; 0 past the end.
    pub(super) fn load(&self, index: usize) -> u64 {
        self.words().get(index).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Writes word `index`, ordered after earlier writes; only for writable mappings.
    pub(super) fn store(&self, index: usize, value: u64) {
        if let Some(word) = self.words().get(index) {
            word.store(value, Ordering::Release);
        }
    }

    /// As [`Mapping::store`], unless the word has a greater value already.
    pub(super) fn raise(&self, index: usize, value: u64) {
        if let Some(word) = self.words().get(index) {
            word.fetch_max(value, Ordering::AcqRel);
        }
    }

    const fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping has that length, is page-aligned, lives as long as self, and is zeroed or written in complete words.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.bytes / 8) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: no borrow of the mapping outlives it. If the call fails, the mapping stays until the process ends.
        unsafe { munmap(self.address.as_ptr().cast(), self.bytes) }.unwrap_or_default();
    }
}

/// Words of the counters of a pair of rings.
const COUNTER_WORDS: usize = COUNTERS_SIZE / 8;
/// Words of the bitmap of CPUs that have an open burst of page frees.
const OPEN_WORDS: usize = MAX_CPUS as usize / 64;

/// The transport's arrays.
#[derive(Debug)]
pub(super) struct Arrays {
    rings: [Mapping; 2],
    counters: Mapping,
    open: Mapping,
    slots: [u32; 2],
    count: u32,
}

/// The file descriptors of the transport's maps.
#[derive(Clone, Copy, Debug)]
pub(super) struct MapFds<'a, T> {
    /// `HOT` and `RARE`.
    pub(super) rings: [&'a T; 2],
    /// `COUNTERS`.
    pub(super) counters: &'a T,
    /// `OPEN`.
    pub(super) open: &'a T,
}

impl Arrays {
    /// Maps the arrays of these rings, read-only.
    ///
    /// # Errors
    ///
    /// If a map cannot be mapped.
    pub(super) fn new<T: AsFd>(maps: &MapFds<'_, T>, rings: &RingPlan) -> io::Result<Self> {
        let (count, slots) = (rings.count as usize, rings.slots);
        let ring = |index: usize| {
            Mapping::new(maps.rings[index], count * slots[index] as usize * SLOT_SIZE, ProtFlags::READ)
        };
        Ok(Self {
            rings: [ring(0)?, ring(1)?],
            counters: Mapping::new(maps.counters, count * COUNTERS_SIZE, ProtFlags::READ)?,
            open: Mapping::new(maps.open, OPEN_WORDS * 8, ProtFlags::READ)?,
            slots,
            count: rings.count,
        })
    }

    fn counter(&self, number: u32, offset: usize) -> Option<&AtomicU64> {
        self.counters.words().get(number as usize * COUNTER_WORDS + offset / 8)
    }

    /// Sums one counter over all CPUs; `offset` is its offset in [`Counters`].
    fn sum(&self, offset: usize) -> u64 {
        use std::sync::atomic::Ordering::Relaxed;
        (0..self.count).filter_map(|number| self.counter(number, offset)).map(|word| word.load(Relaxed)).sum()
    }

    /// Records dropped, over all CPUs and both rings.
    pub(super) fn dropped(&self) -> u64 {
        let first = std::mem::offset_of!(Counters, dropped);
        (0..Ring::ALL.len()).map(|ring| self.sum(first + ring * 8)).sum()
    }

    /// Counts of notes and bursts that the kernel side could not write, over all CPUs.
    pub(super) fn shortfalls(&self) -> Shortfalls {
        use std::mem::offset_of;
        Shortfalls {
            notes_full: self.sum(offset_of!(Counters, notes_full)),
            notes_missing: self.sum(offset_of!(Counters, notes_missing)),
            bursts_late: self.sum(offset_of!(Counters, burst_contended)),
        }
    }

    /// Hits per hook, over all CPUs.
    pub(super) fn hits(&self) -> Vec<u64> {
        let first = std::mem::offset_of!(Counters, hits);
        (0..HOOK_SLOTS).map(|hook| self.sum(first + hook * 8)).collect()
    }

    /// Whether some CPU has page frees that are not yet written as a record.
    pub(super) fn has_bursts(&self) -> bool {
        use std::sync::atomic::Ordering::Relaxed;
        let words = self.open.words().iter().take(OPEN_WORDS);
        words.map(|word| word.load(Relaxed)).any(|open| open != 0)
    }
}

impl Memory for Arrays {
    fn view(&self, number: u32, ring: Ring) -> Option<View<'_>> {
        let words = self.slots[ring as usize] as usize * SLOT_SIZE / 8;
        let first = number as usize * words;
        let slots = self.rings[ring as usize].words().get(first..first + words)?;
        let head = self.counter(number, std::mem::offset_of!(Counters, heads) + ring as usize * 8)?;
        View::new(slots, head)
    }
}
