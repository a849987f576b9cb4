//! The producer side of the transport: claim a position, write the slot, commit. See
//! `p2p_trace_common::slot`.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::{
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_boot_ns},
    macros::map,
    maps::{Array, RingBuf},
};
use p2p_trace_common::{
    Counters, Hook, Ring,
    slot::{Slot, busy, committed, guard},
};

use crate::config::with_setting;

/// `BPF_F_MMAPABLE`.
pub(crate) const MMAPABLE: u32 = 1 << 10;

/// User space sets the number of elements of these arrays: rings times slots for `HOT` and `RARE`,
/// rings for `COUNTERS`.
#[map]
static HOT: Array<Slot> = Array::with_max_entries(1, MMAPABLE);
#[map]
static RARE: Array<Slot> = Array::with_max_entries(1, MMAPABLE);
#[map]
static COUNTERS: Array<Counters> = Array::with_max_entries(1, MMAPABLE);

/// Wakes user space at once if it must act; carries no data.
#[map]
static DOORBELL: RingBuf = RingBuf::with_byte_size(4096, 0);

/// `BPF_RB_FORCE_WAKEUP`.
const FORCE_WAKEUP: u64 = 1 << 1;

/// A slot that this program owns until it is committed.
pub(crate) struct Claim {
    slot: *mut u64,
    position: u64,
    counters: *mut Counters,
    /// The CPU that writes the slot.
    pub(crate) cpu: u32,
    /// The record's sequence number.
    pub(crate) seq: u64,
}

/// Words of a slot.
const WORDS: usize = size_of::<Slot>() / 8;

/// Claims the next position of a ring, and its slot. If a producer that was suspended for a complete lap still owns the
/// slot, the new record is dropped, so that no record is ever torn.
#[cfg(not(feature = "no-fetch-add"))]
#[inline(always)]
fn claim_slot(counters: *mut Counters, ring: Ring, number: u64) -> Option<(*mut u64, u64)> {
    use core::intrinsics::{AtomicOrdering::SeqCst, atomic_cxchg};
    // SAFETY: in bounds of the map value, which is only ever changed atomically. Only sequentially
    // consistent operations are compiled to those that return a value.
    let position =
        unsafe { atomic_xadd::<u64, u64, { SeqCst }>(&raw mut (*counters).heads[ring as usize], 1) };
    let slot = slot(ring, number, position)?;
    // SAFETY: the slot is a map value; its first word is the header.
    let before = unsafe { core::ptr::read_volatile(slot) };
    // A busy header is larger than any position.
    let free = before <= position
        // SAFETY: as above.
        && unsafe { atomic_cxchg::<u64, { SeqCst }, { SeqCst }>(slot, before, busy(position)) }.0 == before;
    if !free {
        // SAFETY: in bounds of the map value.
        add(unsafe { &raw mut (*counters).dropped[ring as usize] }, 1);
        return None;
    }
    Some((slot, position))
}

/// As above, without atomic operations that return a value. On these kernels programs interrupt each other but are never
/// suspended, so that a flag suffices: a record that interrupts another one is dropped and counted. CPUs share no rings.
#[cfg(feature = "no-fetch-add")]
#[inline(always)]
fn claim_slot(counters: *mut Counters, ring: Ring, number: u64) -> Option<(*mut u64, u64)> {
    use core::ptr::{read_volatile, write_volatile};
    // SAFETY: in bounds of the map value.
    unsafe {
        if read_volatile(&raw const (*counters).busy) != 0 {
            add(&raw mut (*counters).dropped[ring as usize], 1);
            return None;
        }
        write_volatile(&raw mut (*counters).busy, 1);
        let position = read_volatile(&raw const (*counters).heads[ring as usize]);
        write_volatile(&raw mut (*counters).heads[ring as usize], position + 1);
        let slot = slot(ring, number, position)?;
        write_volatile(slot, busy(position));
        Some((slot, position))
    }
}

/// The slot of a position in the ring with this number.
#[inline(always)]
fn slot(ring: Ring, number: u64, position: u64) -> Option<*mut u64> {
    let (first, offset) = match ring {
        Ring::Hot => (with_setting!(number, "*=", slots), with_setting!(position, "&=", slot_masks)),
        Ring::Rare => (with_setting!(number, "*=", slots + 4), with_setting!(position, "&=", slot_masks + 4)),
    };
    let index = first.wrapping_add(offset) as u32;
    let slot = match ring {
        Ring::Hot => HOT.get_ptr_mut(index)?,
        Ring::Rare => RARE.get_ptr_mut(index)?,
    };
    Some(slot.cast())
}

/// Adds and ignores the result: relaxed, this compiles to the instruction that every kernel has.
#[inline(always)]
fn add(counter: *mut u64, value: u64) {
    // SAFETY: the counter lies in a map value, aligned, and is only ever changed atomically.
    unsafe {
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, value);
    }
}

/// Number of the current CPU.
#[inline(always)]
pub(crate) fn current_cpu() -> u32 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_smp_processor_id() }
}

/// The number of a CPU's rings, which other CPUs may share.
#[cfg(not(feature = "no-fetch-add"))]
#[inline(always)]
fn number_of(cpu: u32) -> u64 {
    with_setting!(u64::from(cpu), "&=", ring_mask)
}

/// CPUs share no rings, and a second number would not fit on the stack of the callers of
/// `stack::write_apart`.
#[cfg(feature = "no-fetch-add")]
#[inline(always)]
fn number_of(cpu: u32) -> u64 {
    u64::from(cpu)
}

/// The counters of the current CPU's rings.
#[inline(always)]
fn counters() -> Option<*mut Counters> {
    COUNTERS.get_ptr_mut(number_of(current_cpu()) as u32)
}

/// `CLOCK_BOOTTIME`.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// Claims the next slot of the current CPU and counts a hit of `hook`, unless it was already
/// counted. The clock must be read after this: the reader's merge depends on it.
#[inline(always)]
pub(crate) fn claim(ring: Ring, hook: Option<Hook>) -> Option<Claim> {
    let cpu = current_cpu();
    let number = number_of(cpu);
    let counters = COUNTERS.get_ptr_mut(number as u32)?;
    if let Some(hook) = hook {
        // SAFETY: in bounds of the map value.
        add(unsafe { &raw mut (*counters).hits[hook as usize] }, 1);
    }
    let (slot, position) = claim_slot(counters, ring, number)?;
    Some(Claim { slot, position, counters, cpu, seq: ring.sequence(position) })
}

impl Claim {
    /// Writes word `index` of the slot. Volatile, so that each word is written once, in this order,
    /// and without a call to memset.
    #[inline(always)]
    pub(crate) fn write(&self, index: usize, value: u64) {
        debug_assert!(index < WORDS);
        // SAFETY: the slot has WORDS words, and `index` is a constant below that.
        unsafe { core::ptr::write_volatile(self.slot.add(index), value) }
    }

    /// Writes the last word, `number` next to the guard, and makes the record visible.
    #[inline(always)]
    pub(crate) fn commit(self, number: u32) {
        self.write(WORDS - 1, u64::from(number) | u64::from(guard(self.position)) << 32);
        self.write(0, committed(self.position));
        if cfg!(feature = "no-fetch-add") {
            // SAFETY: in bounds of the map value.
            unsafe {
                core::ptr::write_volatile(&raw mut (*self.counters).busy, 0);
            }
        }
    }
}

/// Counts `units` of `hook` that go into a burst instead of a record of their own.
#[inline(always)]
pub(crate) fn count_hits(hook: Hook, units: u64) {
    if let Some(counters) = counters() {
        // SAFETY: in bounds of the map value.
        add(unsafe { &raw mut (*counters).hits[hook as usize] }, units);
    }
}

macro_rules! count {
    ($($function:ident $field:ident $doc:literal)*) => {$(
        #[doc = $doc]
        #[inline(always)]
        pub(crate) fn $function() {
            if let Some(counters) = counters() {
                // SAFETY: in bounds of the map value.
                add(unsafe { &raw mut (*counters).$field }, 1);
            }
        }
    )*};
}
count! {
    count_burst_contended burst_contended "Counts a burst that could not be flushed."
    count_notes_full notes_full "Counts a note that did not fit."
    count_notes_missing notes_missing "Counts an exit whose entry left no note."
}

/// Wakes user space.
#[inline(always)]
pub(crate) fn ring_doorbell() {
    // A full doorbell has been rung already.
    DOORBELL.output::<u64>(0, FORCE_WAKEUP).unwrap_or_default();
}
