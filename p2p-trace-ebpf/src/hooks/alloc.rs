//! `pci_alloc_p2pmem` and `pci_free_p2pmem`: the hot path.

use p2p_trace_common::{Hook, Kind, valid};

use crate::{context::Context, device, emit::Event};

/// Exit of `pci_alloc_p2pmem(pdev, size)`.
#[inline(always)]
pub(crate) fn alloc<C: Context>(context: &C, hook: Hook) {
    let address = device::of_pci_dev(context, hook, context.arg(0));
    if !device::is_wanted(hook, address) {
        return;
    }
    let memory = context.ret();
    let event = Event::new(Kind::Alloc, hook)
        .device(address)
        .word(1, valid::SIZE, context.arg(1))
        .caller(context)
        .cgroup();
    let event = if memory == 0 { event } else { event.word(0, valid::ADDR, memory) };
    event.emit_hot(context);
}

/// Entry of `pci_free_p2pmem(pdev, addr, size)`.
#[inline(always)]
pub(crate) fn free<C: Context>(context: &C, hook: Hook) {
    let address = device::of_pci_dev(context, hook, context.arg(0));
    if !device::is_wanted(hook, address) {
        return;
    }
    Event::new(Kind::Free, hook)
        .device(address)
        .word(0, valid::ADDR, context.arg(1))
        .word(1, valid::SIZE, context.arg(2))
        .caller(context)
        .emit_hot(context);
}
