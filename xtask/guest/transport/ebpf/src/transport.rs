//! The two transports: the BPF ring buffer, and an ARRAY indexed by cpu × slot.

use core::{
    intrinsics::{
        AtomicOrdering::{Relaxed, SeqCst},
        atomic_cxchg, atomic_xadd,
    },
    ptr::{read_volatile, write_volatile},
};

use aya_ebpf::{
    Global,
    helpers::generated::{bpf_get_smp_processor_id, bpf_ringbuf_reserve, bpf_ringbuf_submit},
    macros::map,
    maps::{Array, RingBuf},
};

use crate::record::{Event, fill, stall};

const MMAPABLE: u32 = 1 << 10;
const NO_WAKEUP: u64 = 1;
const BODY: u64 = 120;
const BUSY: u64 = 1 << 63;

/// One CPU's counters, one element of `CPUS`.
#[repr(C)]
pub struct Cpu {
    head: u64,
    /// Records that were not written: no room (ring), or the slot was still owned (array).
    dropped: u64,
    /// Records begun while the record before them was not committed (stress programs only).
    nested: u64,
    busy: u64,
    hits: [u64; 12],
}

#[map]
static CPUS: Array<Cpu> = Array::with_max_entries(1, MMAPABLE);
#[map]
static SLOTS: Array<[u64; 16]> = Array::with_max_entries(1, MMAPABLE);
#[map]
static RING: RingBuf = RingBuf::with_byte_size(4096, 0);
#[map]
static RING2: RingBuf = RingBuf::with_byte_size(4096, 0);

/// Slots per CPU: a power of two.
#[unsafe(no_mangle)]
static PER_CPU: Global<u64> = Global::new(1);

#[inline(always)]
fn count(at: *mut u64) {
    // Relaxed and unused: becomes the non-fetching atomic add that 5.10 knows.
    unsafe { atomic_xadd::<u64, u64, { Relaxed }>(at, 1) };
}

#[inline(always)]
fn cpu_state(hook: u8) -> Option<(u32, *mut Cpu)> {
    let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
    let state = CPUS.get_ptr_mut(cpu)?;
    count(unsafe { &raw mut (*state).hits[hook as usize] });
    Some((cpu, state))
}

/// Takes the next number by fetch-add, or by load and store where the kernel has no fetch-add.
#[inline(always)]
unsafe fn next<const OLD: bool>(at: *mut u64) -> u64 {
    unsafe {
        if OLD {
            let value = read_volatile(at);
            write_volatile(at, value + 1);
            value
        } else {
            // Not Relaxed: LLVM 22 then emits the non-fetching add and uses the operand as its result.
            atomic_xadd::<u64, u64, { SeqCst }>(at, 1)
        }
    }
}

/// An empty program.
#[inline(always)]
pub fn nothing(_hook: u8, _arg: u64) {}

/// The BPF ring buffer. `SPLIT` uses one ring per CPU (two CPUs).
#[inline(always)]
pub fn ring<const OLD: bool, const CHECK: bool, const SPLIT: bool>(hook: u8, arg: u64) {
    let Some((cpu, state)) = cpu_state(hook) else {
        return;
    };
    unsafe {
        let seq = next::<OLD>(&raw mut (*state).head);
        let ring = if SPLIT && cpu & 1 == 1 {
            &raw const RING2
        } else {
            &raw const RING
        };
        let body = bpf_ringbuf_reserve(ring.cast_mut().cast(), BODY, 0).cast::<u8>();
        if body.is_null() {
            count(&raw mut (*state).dropped);
            return;
        }
        fill::<OLD, false, CHECK>(body, Event { hook, cpu, seq, arg });
        bpf_ringbuf_submit(body.cast(), NO_WAKEUP);
    }
}

pub mod array {
    /// Position by fetch-add; header busy, content, header committed.
    pub const PLAIN: u8 = 0;
    /// The same, but the slot is taken by compare-exchange of its header, so that it has one owner.
    pub const CLAIM: u8 = 1;
    /// `PLAIN` with a checksum as guard.
    pub const SUM: u8 = 2;
    /// 5.10: position by load and store.
    pub const OLD_PLAIN: u8 = 3;
    /// 5.10: the same behind a flag per CPU; a nested record is dropped and counted.
    pub const OLD_GUARD: u8 = 4;
}

#[inline(always)]
pub fn array<const MODE: u8, const CHECK: bool>(hook: u8, arg: u64) {
    let Some((cpu, state)) = cpu_state(hook) else {
        return;
    };
    unsafe {
        let busy = &raw mut (*state).busy;
        if MODE == array::OLD_GUARD {
            if read_volatile(busy) != 0 {
                count(&raw mut (*state).dropped);
                return;
            }
            write_volatile(busy, 1);
        }
        match MODE {
            array::OLD_PLAIN | array::OLD_GUARD => write::<MODE, true, CHECK>(cpu, state, hook, arg),
            _ => write::<MODE, false, CHECK>(cpu, state, hook, arg),
        }
        if MODE == array::OLD_GUARD {
            write_volatile(busy, 0);
        }
    }
}

#[inline(always)]
unsafe fn write<const MODE: u8, const OLD: bool, const CHECK: bool>(
    cpu: u32,
    state: *mut Cpu,
    hook: u8,
    arg: u64,
) {
    unsafe {
        let pos = next::<OLD>(&raw mut (*state).head);
        let per_cpu = PER_CPU.load();
        let first = u64::from(cpu) * per_cpu;
        let mask = per_cpu - 1;
        if CHECK {
            if let Some(before) = SLOTS.get_ptr((first + (pos.wrapping_sub(1) & mask)) as u32) {
                if read_volatile(before.cast::<u64>()) == pos | BUSY {
                    count(&raw mut (*state).nested);
                }
            }
        }
        let Some(slot) = SLOTS.get_ptr_mut((first + (pos & mask)) as u32) else {
            return;
        };
        let header = slot.cast::<u64>();
        stall::<CHECK>();
        if MODE == array::CLAIM {
            let old = read_volatile(header);
            // Busy (a suspended producer owns it) compares as larger than any position, too.
            if old > pos || !atomic_cxchg::<u64, { SeqCst }, { SeqCst }>(header, old, (pos + 1) | BUSY).1 {
                count(&raw mut (*state).dropped);
                return;
            }
        } else {
            write_volatile(header, (pos + 1) | BUSY);
        }
        let body = slot.cast::<u8>().add(8);
        let event = Event {
            hook,
            cpu,
            seq: pos,
            arg,
        };
        if MODE == array::SUM {
            fill::<OLD, true, CHECK>(body, event);
        } else {
            fill::<OLD, false, CHECK>(body, event);
        }
        write_volatile(header, pos + 1);
    }
}
