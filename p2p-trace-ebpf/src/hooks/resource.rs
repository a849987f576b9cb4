//! Memory becomes p2p memory.

use p2p_trace_common::{Hook, Kind, valid};

use crate::{context::Context, device, emit::Event, pgmap};

/// Exit of `pci_p2pdma_add_resource(pdev, bar, size, offset)`.
#[inline(always)]
pub(crate) fn add<C: Context>(context: &C, hook: Hook) {
    let address = device::of_pci_dev(context, hook, context.arg(0));
    if !device::is_wanted(hook, address) {
        return;
    }
    Event::new(Kind::AddResource, hook)
        .device(address)
        .word(0, valid::SIZE, context.arg(2))
        .word(1, valid::OFFSET, context.arg(3))
        .caller(context)
        .small(valid::BAR, context.arg(1) as u16)
        .number(valid::RET, context.ret() as u32)
        .emit_rare(context);
}

/// Largest error number that a pointer can encode (`MAX_ERRNO`).
const MAX_ERRNO: u64 = 4095;

/// Exit of `devm_memremap_pages(dev, pgmap)`. Its result is the range's address in the direct map.
#[inline(always)]
pub(crate) fn memremap<C: Context>(context: &C, hook: Hook) {
    let range = context.arg(1);
    if !pgmap::is_p2pdma(range) {
        return;
    }
    let pci_dev = device::pci_dev_of(context.arg(0)).unwrap_or(0);
    let address = device::of_pci_dev_untyped(pci_dev);
    if !device::is_wanted(hook, address) {
        return;
    }
    let result = context.ret();
    let event = Event::new(Kind::Memremap, hook)
        .device(address)
        .pgmap(range)
        .range(pgmap::range(range))
        .caller(context);
    if result > u64::MAX - MAX_ERRNO {
        event.number(valid::RET, result as u32).emit_rare(context);
    } else {
        event.number(valid::RET, 0).word(3, valid::ADDR, result).emit_rare(context);
    }
}

/// Entry of `pci_p2pmem_publish(pdev, publish)`.
#[inline(always)]
pub(crate) fn publish<C: Context>(context: &C, hook: Hook) {
    let address = device::of_pci_dev(context, hook, context.arg(0));
    if !device::is_wanted(hook, address) {
        return;
    }
    Event::new(Kind::Publish, hook)
        .device(address)
        .caller(context)
        .small(valid::FLAG, u16::from(context.arg(1) as u8 != 0))
        .emit_rare(context);
}
