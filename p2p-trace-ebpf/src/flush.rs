//! Writes the page-free bursts of all CPUs before an event that they must precede.
//!
//! Eight hooks flush, and there may be a thousand CPUs. To keep the verifier's work independent of
//! both numbers, the loop over CPUs is in global functions, each of which is verified once and
//! separately. It runs over a bitmap of the CPUs that have a burst, 64 at a time.

use aya_ebpf::{macros::map, maps::Array};
use p2p_trace_common::{config::MAX_CPUS, statement::What};

use crate::{
    burst,
    config::setting,
    ring::{self, MMAPABLE},
    say,
};

/// CPUs in one word of [`OPEN`].
const WORD_BITS: u32 = u64::BITS;
/// CPUs that are checked one by one.
const BYTE_BITS: u32 = u8::BITS;

/// A bit for each CPU that has a burst to write, changed under the burst's lock. User space reads
/// it, too.
#[map]
static OPEN: Array<u64> = Array::with_max_entries(MAX_CPUS / WORD_BITS, MMAPABLE);

/// The word with the CPU's bit, and the bit.
#[inline(always)]
fn bit_of(cpu: u32) -> Option<(*mut u64, u64)> {
    Some((OPEN.get_ptr_mut(cpu / WORD_BITS)?, 1 << (cpu % WORD_BITS)))
}

/// Marks that the CPU has a burst. The caller holds the burst's lock.
#[cfg(not(feature = "no-fetch-add"))]
#[inline(always)]
pub(crate) fn open(cpu: u32) {
    use core::intrinsics::{AtomicOrdering, atomic_or};
    if let Some((word, bit)) = bit_of(cpu) {
        // SAFETY: the word lies in a map value, aligned, and is only ever changed atomically.
        unsafe {
            atomic_or::<u64, u64, { AtomicOrdering::Relaxed }>(word, bit);
        }
    }
}

/// There are no bursts on kernels without these atomic operations.
#[cfg(feature = "no-fetch-add")]
#[inline(always)]
pub(crate) const fn open(_: u32) {}

/// Marks that the CPU's burst was written. The caller holds the burst's lock.
#[cfg(not(feature = "no-fetch-add"))]
#[inline(always)]
fn close(cpu: u32) {
    use core::intrinsics::{AtomicOrdering, atomic_and};
    if let Some((word, bit)) = bit_of(cpu) {
        // SAFETY: the word lies in a map value, aligned, and is only ever changed atomically.
        unsafe {
            atomic_and::<u64, u64, { AtomicOrdering::Relaxed }>(word, !bit);
        }
    }
}

/// As [`open`].
#[cfg(feature = "no-fetch-add")]
#[inline(always)]
const fn close(_: u32) {}

/// Writes every CPU's burst: the frees so far precede the event to come.
#[inline(always)]
pub(crate) fn flush() {
    if setting!(bursts) != 0 {
        flush_bursts_of_all();
    }
}

/// Writes the bursts of all CPUs. A global function must return a number; this one has no meaning.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flush_bursts_of_all() -> u32 {
    let mut first = 0;
    while first < MAX_CPUS {
        if u64::from(first) >= setting!(cpus) {
            break;
        }
        flush_bursts_of_word(first);
        first += WORD_BITS;
    }
    0
}

/// Writes the bursts of the 64 CPUs from `first` on.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flush_bursts_of_word(first: u32) -> u32 {
    let Some((word, _)) = bit_of(first) else { return 0 };
    // SAFETY: the pointer is to a map value.
    let mut open = unsafe { core::ptr::read_volatile(word) };
    let mut at = 0;
    while at < WORD_BITS {
        if open & 0xff != 0 {
            flush_bursts_of_byte(first.wrapping_add(at), open);
        }
        open >>= BYTE_BITS;
        at += BYTE_BITS;
    }
    0
}

/// Writes the bursts of the CPUs with a bit in `open`, among the eight from `first` on.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flush_bursts_of_byte(first: u32, open: u64) -> u32 {
    let mut at = 0;
    while at < BYTE_BITS {
        if open & 1 << at != 0 {
            flush_burst_of_cpu(first.wrapping_add(at));
        }
        at += 1;
    }
    0
}

/// Number of attempts to lock a burst that is being changed.
const TURNS: u32 = 16;

/// Writes the burst of one CPU.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn flush_burst_of_cpu(cpu: u32) -> u32 {
    let Some(burst) = burst::of_cpu(cpu) else { return 0 };
    let mut turn = 0;
    while turn < TURNS {
        if burst::lock(burst) {
            // SAFETY: the lock is held.
            let accumulated = unsafe { *burst };
            // SAFETY: as above.
            unsafe {
                (*burst).count = 0;
            }
            close(cpu);
            burst::unlock(burst);
            if accumulated.count > 0 {
                burst::write(&accumulated, cpu);
            }
            return 0;
        }
        turn += 1;
    }
    ring::count_burst_contended();
    say::contended(What::LateBurst, u64::from(cpu));
    0
}
