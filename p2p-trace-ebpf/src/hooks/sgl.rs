//! Scatter lists of p2p memory. On many kernels the frees within `pci_p2pmem_free_sgl` are inlined,
//! so that only the free of the list itself can be traced.

use p2p_trace_common::{Hook, Kind, valid};

use crate::{context::Context, device, emit::Event, memory::read};

/// Exit of `pci_p2pmem_alloc_sgl(pdev, nents, length)`.
#[inline(always)]
pub(crate) fn alloc<C: Context>(context: &C, hook: Hook) {
    let address = device::of_pci_dev(context, hook, context.arg(0));
    if !device::is_wanted(hook, address) {
        return;
    }
    let list = context.ret();
    let event = Event::new(Kind::SglAlloc, hook)
        .device(address)
        .word(1, valid::SIZE, u64::from(context.arg(2) as u32))
        .caller(context)
        .cgroup();
    if list == 0 {
        event.emit_hot(context);
        return;
    }
    // Kernels that old refuse to load an argument that points to a number (seen on 5.10).
    let entries: Option<u32> =
        if C::KPROBE || !cfg!(feature = "no-fetch-add") { read(context.arg(1), 0) } else { None };
    let event = event.word(0, valid::SGL, list);
    match entries {
        Some(entries) => event.number(valid::COUNT, entries).emit_hot(context),
        None => event.emit_hot(context),
    }
}

/// Entry of `pci_p2pmem_free_sgl(pdev, sgl)`.
#[inline(always)]
pub(crate) fn free<C: Context>(context: &C, hook: Hook) {
    let address = device::of_pci_dev(context, hook, context.arg(0));
    if !device::is_wanted(hook, address) {
        return;
    }
    Event::new(Kind::SglFree, hook)
        .device(address)
        .word(0, valid::SGL, context.arg(1))
        .caller(context)
        .emit_hot(context);
}
