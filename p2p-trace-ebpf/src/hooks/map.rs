//! Maps of p2p memory for DMA by other devices, with one function per range of kernels; all are
//! hot. They run if the user enables them by name; otherwise [armed hooks](super::armed) are on the
//! same functions.

use p2p_trace_common::{Hook, Kind, statement::What, valid};

use crate::{
    armed::Found,
    config::offset,
    context::Context,
    device::{self, Address},
    emit::Event,
    hooks::armed,
    memory::read,
    pgmap, say,
};

/// Flag bits of a scatter list entry's page pointer (`SG_CHAIN`, `SG_END`).
const LINK_FLAGS: u64 = 3;

/// Entry of `pci_p2pdma_map_sg_attrs` and `pci_p2pdma_unmap_sg_attrs(dev, sg, nents)`.
#[inline(always)]
pub(crate) fn scatter_list<C: Context>(context: &C, hook: Hook) {
    let kind = if hook as u8 == Hook::UnmapSg as u8 { Kind::Unmap } else { Kind::Map };
    let event = Event::new(kind, hook).number(valid::COUNT, context.arg(2) as u32);
    emit(context, hook, event, context.arg(0), page_of(context.arg(1)));
}

/// Entry of `pci_p2pdma_map_segment(state, dev, sg)`.
#[inline(always)]
pub(crate) fn segment<C: Context>(context: &C, hook: Hook) {
    emit(context, hook, Event::new(Kind::Map, hook), context.arg(0), page_of(context.arg(1)));
}

/// Entry of `__pci_p2pdma_update_state(state, dev, page)`.
#[inline(always)]
pub(crate) fn state<C: Context>(context: &C, hook: Hook) {
    emit(context, hook, Event::new(Kind::Map, hook), context.arg(0), context.arg(1));
}

#[inline(always)]
fn page_of(list: u64) -> u64 {
    read::<u64>(list, offset!(sg_page_link)).unwrap_or(0) & !LINK_FLAGS
}

#[inline(always)]
fn emit<C: Context>(context: &C, hook: Hook, event: Event, client: u64, page: u64) {
    let range: u64 = if let Some(range) = read(page, offset!(page_pgmap)) {
        range
    } else {
        say::unread(hook, What::RangeOfPage, page);
        0
    };
    let address = if pgmap::is_p2pdma(range) { pgmap::device(range) } else { None };
    // A removed page no longer leads to its range; the table of armed ranges does. Not an `Option`,
    // which the compiler would copy along with bytes that the verifier has not seen written.
    let dying = if address.is_some() { Found::NONE } else { armed::of_page(page).unwrap_or(Found::NONE) };
    let is_dying = dying.pgmap != 0;
    let address = if is_dying { Some(Address(dying.device)) } else { address };
    if !device::is_wanted(hook, address) {
        return;
    }
    let event = event.device(address).word(0, valid::PAGE, page).caller(context);
    let event = if is_dying {
        event.pgmap(dying.pgmap)
    } else if address.is_some() {
        event.pgmap(range)
    } else {
        event
    };
    event.word_if(3, valid::CLIENT, client_word(client)).emit_hot(context);
    if is_dying {
        armed::trace_use(dying, page);
    }
}

/// The mapping device as one word, if it is a PCI device: domain in the high half, bus and devfn in the low 16 bits.
#[inline(always)]
pub(crate) fn client_word(client: u64) -> Option<u64> {
    let Address(word) = device::of_pci_dev_untyped(device::pci_dev_of(client)?)?;
    Some(word << 32 | (word >> 32 & 0xff) << 8 | word >> 40 & 0xff)
}

/// Entry of `pci_p2pmem_virt_to_bus(pdev, addr)`.
#[inline(always)]
pub(crate) fn virt_to_bus<C: Context>(context: &C, hook: Hook) {
    let address = device::of_pci_dev(context, hook, context.arg(0));
    if !device::is_wanted(hook, address) {
        return;
    }
    Event::new(Kind::VirtToBus, hook)
        .device(address)
        .word(0, valid::ADDR, context.arg(1))
        .caller(context)
        .emit_hot(context);
}
