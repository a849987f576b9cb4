//! The teardown itself: kill, drain, removal, release.

use p2p_trace_common::{
    Hook, Kind,
    armed::stage,
    config::MISSING,
    state::{self, CHUNK_SHIFT},
    statement::What,
    valid,
};

use crate::{
    armed,
    config::offset,
    context::Context,
    device::{self, Address},
    emit::Event,
    flush::flush,
    memory, notes,
    pgmap::{self, Range},
    reference::{self, References},
    ring, say,
};

/// Entry of `pci_p2pdma_unmap_mappings(data)`: the device to 6.18, the range's `pci_p2pdma_pagemap` later.
#[inline(always)]
pub(crate) fn unmap_mappings<C: Context>(context: &C, hook: Hook) {
    let data = context.arg(0);
    let around = offset!(p2p_pgmap_pgmap);
    let (address, range) = if offset!(unmap_data_is_pgmap) == 0 {
        (device::of_pci_dev_untyped(data), 0)
    } else if around == MISSING {
        (None, 0)
    } else {
        let range = data.wrapping_add(u64::from(around));
        (pgmap::device(range), range)
    };
    if !device::is_wanted(hook, address) {
        return;
    }
    flush();
    Event::new(Kind::UnmapMappings, hook).device(address).pgmap(range).caller(context).emit_rare(context);
}

/// Entry of `devm_memremap_pages_release(pgmap)`.
#[inline(always)]
pub(crate) fn memremap_release<C: Context>(context: &C, hook: Hook) {
    let range = context.arg(0);
    let Some(address) = wanted(hook, range) else { return };
    Event::new(Kind::MemremapRelease, hook)
        .device(address.known())
        .pgmap(range)
        .range(pgmap::range(range))
        .caller(context)
        .emit_rare(context);
}

/// The device of a p2p range; `None` if it is not known.
#[derive(Clone, Copy)]
struct Wanted(Option<Address>);

impl Wanted {
    #[inline(always)]
    const fn known(self) -> Option<Address> {
        self.0
    }
}

/// `None` for ranges that are not p2p memory or whose device is not traced.
#[inline(always)]
fn wanted(hook: Hook, range: u64) -> Option<Wanted> {
    if !pgmap::is_p2pdma(range) {
        say::passed_over(hook, What::OtherMemory, range);
        return None;
    }
    let address = pgmap::device(range);
    if address.is_none() {
        say::unread(hook, What::DeviceOfRange, range);
    }
    device::is_wanted(hook, address).then_some(Wanted(address))
}

/// Entry of `memunmap_pages(pgmap)`, whose first act is to kill the range's reference. Leaves a
/// note for `arch_remove_memory`, which knows neither pgmap nor device.
#[inline(always)]
pub(crate) fn kill<C: Context>(context: &C, hook: Hook) {
    let range = context.arg(0);
    let Some(address) = wanted(hook, range) else { return };
    flush();
    let reference = pgmap::ref_of(range);
    // 5.10 detaches the reference from the pgmap before it removes the pages.
    let kept = reference.unwrap_or(0);
    let small = pgmap::allocator(range);
    let (is_count_known, small) = pgmap::range_count(range)
        .map_or((0, small), |count| (valid::COUNT, small | ((count as u16) << CHUNK_SHIFT)));
    // Filled in from the start, since 5.10 has little stack for values that are kept for later. The
    // verifier does not allow half of a pointer, which `number` avoids.
    let event = Event::new(Kind::Kill, hook)
        .device(address.known())
        .pgmap(range)
        .small(valid::STATE | is_count_known, small)
        .number(valid::REFERENCE, memory::number(kept) as u32)
        .references(reference.and_then(reference::references));
    let allocated = match (pgmap::provider(range), reference) {
        (Some(pci_dev), Some(reference)) => pgmap::allocated(pci_dev, reference),
        _ => None,
    };
    // 5.10 does not let a program read memory that it has not written, which the compiler does with
    // an `Option` that is kept for long.
    let (is_allocated_known, allocated) = allocated.map_or((0, 0), |allocated| (valid::ALLOCATED, allocated));
    if is_allocated_known == 0 {
        say::unread(hook, What::AllocatedOfRange, range);
    }
    let event = event.word(2, is_allocated_known, allocated);
    let bounds = pgmap::range(range);
    let event = event.range(bounds);
    let Range { start, end } = bounds.unwrap_or(Range { start: 1, end: 0 });
    let device = address.known();
    let note = [range, start, end, device.map_or(0, |known| known.0), u64::from(device.is_some()), kept];
    notes::put(notes::of_task(Hook::Kill), note);
    event.emit_rare(context);
    ring::ring_doorbell();
}

/// Exit of `memunmap_pages`.
#[inline(always)]
pub(crate) fn unmapped<C: Context>(context: &C, hook: Hook) {
    let key = notes::of_task(Hook::Kill);
    let Some(note) = notes::get(key) else { return };
    notes::remove(key);
    noted(Kind::Unmapped, hook, note, Range { start: note[1], end: note[2] }).emit_rare(context);
    // After the record, so that the record of an attempt follows it.
    armed::advance(note[0], stage::UNMAPPED);
}

/// An event about the range of a note that [`kill`] left.
#[inline(always)]
const fn noted(kind: Kind, hook: Hook, note: notes::Words, bounds: Range) -> Event {
    let event = Event::new(kind, hook).pgmap(note[0]).range(Some(bounds));
    if note[4] == 0 { event } else { event.device(Some(Address(note[3]))) }
}

/// Entry of `dev_pagemap_percpu_release(ref)`: the last reference was dropped. The task is the one
/// that dropped it, or the one that RCU interrupted; it is a holder only if it freed just before.
#[inline(always)]
pub(crate) fn drained<C: Context>(context: &C, hook: Hook) {
    let Some(range) = pgmap::of_ref(context.arg(0)) else {
        return;
    };
    let Some(address) = wanted(hook, range) else { return };
    flush();
    Event::new(Kind::Drained, hook)
        .device(address.known())
        .pgmap(range)
        .range(pgmap::range(range))
        .references(Some(References { count: 0, is_estimate: false }))
        .caller(context)
        .emit_rare(context);
}

/// Entry of `arch_remove_memory(start, size)`. Removals outside `memunmap_pages` of a p2p range are
/// ignored.
#[inline(always)]
pub(crate) fn remove<C: Context>(context: &C, hook: Hook) {
    let Some(note) = notes::get(notes::of_task(Hook::Kill)) else {
        return;
    };
    let (start, size) = (context.arg(0), context.arg(1));
    if start < note[1] || start > note[2] {
        return;
    }
    flush();
    let bounds = Range { start, end: start.wrapping_add(size).wrapping_sub(1) };
    let is_watched = armed::advance(note[0], stage::REMOVED);
    if !is_watched {
        say::armed(hook, What::Unwatched, note[0]);
    }
    let event = noted(Kind::Remove, hook, note, bounds).small(valid::FLAG, u16::from(is_watched));
    let event = with_allocated(event, note[0], note[5]);
    with_references(event, note[5]).emit_rare(context);
}

/// Adds the number of bytes allocated from a range, so that the record can be read without any
/// other.
#[inline(always)]
fn with_allocated(event: Event, range: u64, reference: u64) -> Event {
    let pci_dev = pgmap::provider(range).unwrap_or(0);
    if pci_dev == 0 || reference == 0 {
        return event;
    }
    event.word_if(2, valid::ALLOCATED, pgmap::allocated(pci_dev, reference))
}

/// Adds the count and the state of a range's reference.
#[inline(always)]
fn with_references(event: Event, reference: u64) -> Event {
    let Some(bits) = reference::state_of(reference) else {
        return event;
    };
    if bits & state::EXITED != 0 {
        let event = event.number(valid::STATE, u32::from(bits));
        return event.references(reference::left_by_exit(reference));
    }
    match reference::references(reference) {
        Some(References { count, is_estimate: false }) => event
            .number(valid::STATE, u32::from(bits | state::ATOMIC))
            .references(Some(References { count, is_estimate: false })),
        references => event.number(valid::STATE, u32::from(bits)).references(references),
    }
}

/// Entry of `pci_p2pdma_release(pdev)`.
#[inline(always)]
pub(crate) fn release<C: Context>(context: &C, hook: Hook) {
    let pci_dev = context.arg(0);
    let address = device::of_pci_dev_untyped(pci_dev);
    if !device::is_wanted(hook, address) {
        return;
    }
    flush();
    if let Some(address) = address {
        armed::advance_device(address, stage::RELEASED);
    }
    Event::new(Kind::Release, hook)
        .device(address)
        .word_if(2, valid::ALLOCATED, pgmap::allocated(pci_dev, 0))
        .emit_rare(context);
}

/// Exit of `pci_p2pdma_release`.
#[inline(always)]
pub(crate) fn released<C: Context>(context: &C, hook: Hook) {
    let address = device::of_pci_dev_untyped(context.arg(0));
    if device::is_wanted(hook, address) {
        Event::new(Kind::Released, hook).device(address).emit_rare(context);
    }
}
