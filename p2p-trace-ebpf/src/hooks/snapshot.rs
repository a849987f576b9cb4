//! Snapshots: the state of one chunk of a device's pool, or of the device, recorded when the tracer
//! itself reads a sysfs attribute of that device.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::{
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_get_current_task, bpf_probe_read_kernel},
    },
    macros::map,
    maps::Array,
};
use p2p_trace_common::{
    Hook, Kind,
    config::MISSING,
    snapshot::{BITS_WORDS, DEVICE, FOUND, MAX_WORDS, SEEN, Snapshot, UNREADABLE},
    state,
    statement::What,
    valid,
};

use crate::{
    config::offset,
    context::Context,
    device,
    emit::Event,
    memory::read,
    pgmap::{self, Chunk, Search},
    reference,
    ring::MMAPABLE,
    say,
    task::Task,
};

/// The current request and its answer.
#[map]
static SNAPSHOT: Array<Snapshot> = Array::with_max_entries(1, MMAPABLE);

/// The requested piece of the bitmap.
#[map]
static SNAPSHOT_BITS: Array<[u64; BITS_WORDS]> = Array::with_max_entries(1, MMAPABLE);

/// Reads or writes one field of the request.
macro_rules! field {
    ($snapshot:expr, $field:ident) => {
        // SAFETY: the pointer is to a map value of this type.
        unsafe { core::ptr::read_volatile(&raw const (*$snapshot).$field) }
    };
    ($snapshot:expr, $field:ident = $value:expr) => {{
        let value = $value;
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(&raw mut (*$snapshot).$field, value) }
    }};
}

/// Makes the current thread the one whose reads are answered.
#[inline(always)]
pub(crate) fn begin() {
    if let Some(snapshot) = SNAPSHOT.get_ptr_mut(0) {
        field!(snapshot, task = bpf_get_current_pid_tgid());
    }
}

/// Entry of `dev_attr_show(kobj, attr, buf)`.
#[inline(always)]
pub(crate) fn snapshot<C: Context>(context: &C, hook: Hook) {
    let Some(snapshot) = SNAPSHOT.get_ptr_mut(0) else { return };
    if field!(snapshot, task) != bpf_get_current_pid_tgid() {
        return;
    }
    let within = offset!(device_kobj);
    if within == MISSING {
        return;
    }
    let dev = context.arg(0).wrapping_sub(u64::from(within));
    let Some(pci_dev) = device::pci_dev_of(dev) else {
        return;
    };
    let index = field!(snapshot, chunk);
    if index == DEVICE {
        device_state(context, hook, dev, pci_dev);
        field!(snapshot, answer = SEEN);
        return;
    }
    // SAFETY: in bounds of the map value.
    match pgmap::find_chunk(pci_dev, index, unsafe { &raw mut (*snapshot).node }) {
        Search::Found => {}
        Search::Absent => {
            say::passed_over(hook, What::EndOfPool, u64::from(index));
            field!(snapshot, answer = SEEN);
            return;
        }
        Search::Unreadable => {
            say::unread(hook, What::Chunk, u64::from(index));
            field!(snapshot, answer = SEEN | UNREADABLE);
            return;
        }
    }
    let chunk = Chunk::at(field!(snapshot, node));
    let answered = chunk.and_then(|chunk| chunk_state(context, hook, snapshot, pci_dev, chunk));
    if answered.is_none() {
        say::unread(hook, What::Chunk, u64::from(field!(snapshot, chunk)));
    }
    field!(snapshot, answer = answered.map_or(SEEN | UNREADABLE, |()| SEEN | FOUND));
}

/// Bytes of a page.
const PAGE: u64 = 4096;

/// Writes a chunk's record, unless the request is for a further piece of its bitmap, and fills in
/// the answer.
#[inline(always)]
fn chunk_state<C: Context>(
    context: &C,
    hook: Hook,
    snapshot: *mut Snapshot,
    pci_dev: u64,
    chunk: Chunk,
) -> Option<()> {
    let (start, end) = chunk.bounds()?;
    let size = end.wrapping_sub(start).wrapping_add(1);
    let owner = chunk.owner()?;
    let range = pgmap::of_owner(pci_dev, owner, size);
    field!(snapshot, address = start);
    field!(snapshot, pages = size / PAGE);
    field!(snapshot, pgmap = range.map_or(0, |(pgmap, _)| pgmap));
    let first = field!(snapshot, first_word);
    if first == 0 {
        let mut bits = (field!(snapshot, chunk) as u16) << state::CHUNK_SHIFT;
        let mut references = None;
        match range {
            Some((pgmap, _)) => {
                bits |= reference::state_of(owner)? | pgmap::allocator(pgmap);
                if bits & state::EXITED == 0 {
                    references = reference::references(owner);
                }
                if let Some(references) = references
                    && !references.is_estimate
                {
                    bits |= state::ATOMIC;
                }
            }
            None => bits |= state::FREED,
        }
        let mut event = Event::new(Kind::RangeState, hook)
            .device(device::of_pci_dev_untyped(pci_dev))
            .word(1, valid::ADDR, start)
            .word_if(2, valid::ALLOCATED, chunk.allocated())
            .references(references)
            .number(valid::COUNT, (size / PAGE) as u32)
            .small(valid::STATE, bits);
        if let Some((pgmap, bounds)) = range {
            event = event.pgmap(pgmap).word(0, valid::PHYSICAL, bounds.start);
        }
        event.emit_about(context, Some(Task::current()));
    }
    field!(snapshot, words = copy_bits(chunk, size / PAGE, first)?);
    Some(())
}

/// Copies the bitmap from word `first` on, as far as there is room; returns the number of words.
#[inline(always)]
fn copy_bits(chunk: Chunk, pages: u64, first: u32) -> Option<u64> {
    let left = pages.div_ceil(64).checked_sub(u64::from(first))?;
    let words = if left < MAX_WORDS { left } else { MAX_WORDS };
    let bits = SNAPSHOT_BITS.get_ptr_mut(0)?;
    let from = chunk.bits()?.wrapping_add(u64::from(first) * 8);
    let mut bytes = words * 8;
    // SAFETY: changes nothing, because there are no more words than that. The verifier of 5.10
    // forgets the bounds of values that were on the stack in between, and has to see them here.
    unsafe {
        asm!("{bytes} &= {mask}", bytes = inout(reg) bytes, mask = const MAX_WORDS * 8, options(pure, nomem, nostack));
    }
    // SAFETY: the map value has room for that many bytes; the helper handles bad addresses.
    let failed = unsafe { bpf_probe_read_kernel(bits.cast(), bytes as u32, from as *const c_void) };
    (failed == 0).then_some(words)
}

/// Writes the device's record. Its task is the one that holds the device's lock, which an unbind
/// does from beginning to end (`device_release_driver_internal`).
#[inline(always)]
fn device_state<C: Context>(context: &C, hook: Hook, dev: u64, pci_dev: u64) {
    let mut event = Event::new(Kind::DeviceState, hook).device(device::of_pci_dev_untyped(pci_dev));
    let p2pdma = device::p2pdma_of(pci_dev);
    if p2pdma == 0 {
        event = event.number(valid::COUNT, 0);
    } else {
        if let Some(pool) = pgmap::pool(p2pdma) {
            event = event.word(2, valid::ALLOCATED, pool.allocated).number(valid::COUNT, pool.chunks);
        }
        if let Some(published) = read::<u8>(p2pdma, offset!(p2pdma_published)) {
            event = event.small(valid::FLAG, u16::from(published));
        }
    }
    let owner = lock_owner(dev);
    if let Some(waiting) = owner.and_then(waiting_ns) {
        event = event.word(0, valid::WAITING, waiting);
    }
    event.emit_about(context, owner.and_then(Task::at));
}

/// Flags in the low bits of `mutex.owner` (`MUTEX_FLAGS`).
const MUTEX_FLAGS: u64 = 7;

/// The `task_struct` that holds the lock of a `struct device`.
#[inline(always)]
fn lock_owner(dev: u64) -> Option<u64> {
    let owner: u64 = read(dev, offset!(device_mutex_owner))?;
    let task = owner & !MUTEX_FLAGS;
    (task != 0).then_some(task)
}

/// Time since a task was last given a CPU. The scheduler's clock cannot be read, but the current
/// task was given its CPU just now.
#[inline(always)]
fn waiting_ns(task: u64) -> Option<u64> {
    let within = offset!(task_last_arrival);
    // SAFETY: the helper has no preconditions.
    let current = unsafe { bpf_get_current_task() };
    let now: u64 = read(current, within)?;
    let then: u64 = read(task, within)?;
    (task != current && then != 0 && now >= then).then(|| now - then)
}
