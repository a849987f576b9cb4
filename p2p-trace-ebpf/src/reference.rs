//! `struct percpu_ref`: its state and its count.

use p2p_trace_common::{config::MAX_CPUS, state};

use crate::{
    config::{config, offset},
    memory::read,
};

/// Flags of a reference, in the format of [`p2p_trace_common::state`].
#[inline(always)]
pub(crate) fn state_of(reference: u64) -> Option<u16> {
    let pointer: u64 = read(reference, offset!(percpu_count_ptr))?;
    let data: u64 = read(reference, offset!(percpu_ref_data))?;
    let mut bits = 0;
    if pointer & DEAD != 0 {
        bits |= state::DEAD;
    }
    // `percpu_ref_exit` frees the memory that holds the count.
    if data == 0 {
        bits |= state::EXITED;
    }
    Some(bits)
}

/// A reference count, and whether it is the kernel's own total or a sum over moving per-CPU counters.
#[derive(Clone, Copy)]
pub(crate) struct References {
    pub(crate) count: u64,
    pub(crate) is_estimate: bool,
}

/// `__PERCPU_REF_ATOMIC` and `__PERCPU_REF_DEAD`.
const ATOMIC: u64 = 1;
const DEAD: u64 = 2;
const FLAGS: u64 = 3;
/// `PERCPU_COUNT_BIAS`: added to the atomic counter while the reference is per CPU.
const BIAS: u64 = 1 << 63;

/// Reference count of a `struct percpu_ref`. Source: `percpu_ref_switch_to_atomic_rcu`.
#[inline(always)]
pub(crate) fn references(reference: u64) -> Option<References> {
    let pointer: u64 = read(reference, offset!(percpu_count_ptr))?;
    let data: u64 = read(reference, offset!(percpu_ref_data))?;
    let atomic: u64 = read(data, offset!(percpu_data_count))?;
    // Between the switch and the sum (`percpu_ref_switch_to_atomic_rcu`) the atomic counter still
    // includes the bias. References dropped meanwhile, one for each page of the range, can make it
    // less than the bias.
    if pointer & ATOMIC != 0 && atomic < BIAS / 2 {
        return Some(References { count: atomic, is_estimate: false });
    }
    if config!(per_cpu_offset) == 0 {
        return None;
    }
    let mut sum = atomic.wrapping_sub(BIAS);
    let mut first = 0;
    while first < MAX_CPUS {
        if first >= config!(cpus) {
            break;
        }
        let part = sum_references(pointer & !FLAGS, first);
        if part == UNREADABLE {
            return None;
        }
        sum = sum.wrapping_add(part);
        first += CPUS_AT_ONCE;
    }
    Some(References { count: sum, is_estimate: true })
}

/// The count that `percpu_ref_exit` left, above the flags. It is an estimate: if the reference was
/// shut down before it was switched to one atomic counter, the contents of its per-CPU counters are
/// missing, and the bias is shifted out.
#[inline(always)]
pub(crate) fn left_by_exit(reference: u64) -> Option<References> {
    let pointer: u64 = read(reference, offset!(percpu_count_ptr))?;
    let count = (pointer.cast_signed() >> FLAGS.count_ones()).cast_unsigned();
    Some(References { count, is_estimate: true })
}

/// CPUs whose counters [`sum_references`] adds up. With this many, neither it nor the loop around
/// it is long for the verifier, even at [`MAX_CPUS`].
const CPUS_AT_ONCE: u32 = 32;
/// In place of a sum; no real sum comes near it.
const UNREADABLE: u64 = 1 << 63;

/// Adds up the per-CPU counters at `counter` of the CPUs from `first` on. A global function, so
/// that the verifier follows it once, whatever the number of CPUs.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sum_references(counter: u64, first: u32) -> u64 {
    let table = config!(per_cpu_offset);
    let mut sum: u64 = 0;
    let mut at = 0;
    while at < CPUS_AT_ONCE {
        let cpu = first.wrapping_add(at);
        if cpu >= config!(cpus) {
            break;
        }
        let Some(base) = read::<u64>(table.wrapping_add(u64::from(cpu) * 8), 0) else {
            return UNREADABLE;
        };
        let Some(count) = read::<u64>(base.wrapping_add(counter), 0) else {
            return UNREADABLE;
        };
        sum = sum.wrapping_add(count);
        at += 1;
    }
    sum
}
