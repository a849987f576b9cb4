//! A mapping's pages are freed one by one. The frees are accumulated per CPU as long as they belong
//! to one task and one contiguous run of pages. They are written as one record when the run ends,
//! or before any event that they must precede ([`flush`](crate::flush)). Only kernels with atomic
//! exchange (5.12) have page frees to accumulate (6.2).

use core::sync::atomic::{Ordering, compiler_fence};

use aya_ebpf::{macros::map, maps::Array};
use p2p_trace_common::{Hook, Kind, counters::Burst, statement::What, valid};

use crate::{
    config::{offset, setting},
    context::Context,
    device::{self, Address},
    emit::Event,
    flush, pgmap,
    ring::{self, MMAPABLE},
    say,
    task::Task,
};

/// One element per CPU.
#[map]
static BURSTS: Array<Burst> = Array::with_max_entries(1, MMAPABLE);

/// The burst of a CPU.
#[inline(always)]
pub(crate) fn of_cpu(cpu: u32) -> Option<*mut Burst> {
    BURSTS.get_ptr_mut(cpu)
}

/// Tries to lock the burst.
#[cfg(not(feature = "no-fetch-add"))]
#[inline(always)]
pub(crate) fn lock(burst: *mut Burst) -> bool {
    use core::intrinsics::{AtomicOrdering, atomic_xchg};
    // SAFETY: the word lies in a map value, aligned.
    unsafe { atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(&raw mut (*burst).lock, 1) == 0 }
}

/// There are no bursts on kernels without atomic exchange.
#[cfg(feature = "no-fetch-add")]
#[inline(always)]
pub(crate) const fn lock(_: *mut Burst) -> bool {
    false
}

/// Unlocks with a plain store: x86-64 does not move it before the stores made under the lock. The
/// fence keeps the compiler from doing so.
#[inline(always)]
pub(crate) fn unlock(burst: *mut Burst) {
    compiler_fence(Ordering::Release);
    // SAFETY: the word lies in a map value, aligned; this program holds the lock.
    unsafe { core::ptr::write_volatile(&raw mut (*burst).lock, 0) }
}

/// Counts one freed page of `range`.
#[inline(always)]
pub(crate) fn add<C: Context>(page: u64, range: u64) {
    let task = Task::current();
    let cpu = ring::current_cpu();
    let Some(burst) = of_cpu(cpu) else {
        return;
    };
    if setting!(bursts) != 0 {
        if lock(burst) {
            let continued = extend(burst, page, range, task.ids);
            unlock(burst);
            if continued {
                return;
            }
        } else {
            say::contended(What::Burst, u64::from(cpu));
        }
    }
    let address = pgmap::device(range);
    if !device::is_wanted(Hook::PageFree, address) {
        return;
    }
    ring::count_hits(Hook::PageFree, 1);
    let mut fresh = begin::<C>(page, range, address, task);
    if setting!(bursts) != 0 && lock(burst) {
        swap(burst, &mut fresh);
        flush::open(cpu);
        unlock(burst);
    }
    // Either the previous burst, or this page alone if it interrupted another free on this CPU or a
    // flush.
    if fresh.count > 0 {
        write(&fresh, cpu);
    }
}

/// Extends the burst by a page if the page continues it. The caller holds the lock.
#[inline(always)]
fn extend(burst: *mut Burst, page: u64, range: u64, task: u64) -> bool {
    let next = page.wrapping_add(u64::from(offset!(page_size)));
    // SAFETY: the pointer is to a map value of this type, and the lock is held.
    unsafe {
        let continues = (*burst).count > 0
            && (*burst).next_page == page
            && (*burst).pgmap == range
            && (*burst).task == task;
        if continues {
            // Counted before the burst can be written, so that never more pages are delivered than
            // counted.
            ring::count_hits(Hook::PageFree, 1);
            (*burst).count += 1;
            (*burst).next_page = next;
            (*burst).last_ns = ring::now();
        }
        continues
    }
}

/// A burst of one page.
#[inline(always)]
fn begin<C: Context>(page: u64, range: u64, address: Option<Address>, task: Task) -> Burst {
    let now = ring::now();
    Burst {
        lock: 1,
        count: 1,
        first_page: page,
        next_page: page.wrapping_add(u64::from(offset!(page_size))),
        pgmap: range,
        device: address.map_or(0, |address| address.0),
        first_ns: now,
        last_ns: now,
        task: task.ids,
        comm: task.comm,
        valid: if address.is_some() { u64::from(valid::DEVICE) } else { 0 },
        is_kprobe: u64::from(C::KPROBE),
        reserved: [0; 2],
    }
}

/// Exchanges the burst. The caller holds the lock, which stays locked.
#[inline(always)]
const fn swap(burst: *mut Burst, other: &mut Burst) {
    // SAFETY: the pointer is to a map value of this type, and the lock is held.
    unsafe {
        let before = *burst;
        *burst = *other;
        *other = before;
    }
}

/// Writes the burst of a CPU as a record.
#[inline(always)]
pub(crate) fn write(burst: &Burst, cpu: u32) {
    Event::page_free(burst, cpu).emit_for(Task { ids: burst.task, comm: burst.comm });
}

impl Event {
    #[inline(always)]
    const fn page_free(burst: &Burst, cpu: u32) -> Self {
        Self::new(Kind::PageFree, Hook::PageFree)
            .kprobe(burst.is_kprobe != 0)
            .device_word(burst.device, burst.valid as u32)
            .pgmap(burst.pgmap)
            .word(0, valid::PAGE, burst.first_page)
            .word(1, valid::SPAN, burst.first_ns)
            .word(2, valid::SPAN, burst.last_ns)
            .number(valid::COUNT, burst.count as u32)
            .small(0, cpu as u16)
    }
}
