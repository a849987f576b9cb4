//! The bracket around a teardown: the driver core releases a device.

use p2p_trace_common::{Hook, Kind, state, statement::What, valid};

use crate::{
    context::Context,
    device::{self, Address},
    emit::Event,
    flush::flush,
    notes,
    pgmap::{self, Pool},
    ring, say,
};

/// Entry of `device_release_driver_internal`, `pci_device_remove` or `devres_release_all(dev)`.
/// Only PCI devices that have p2p memory at this moment are followed to the exit.
#[inline(always)]
pub(crate) fn enter<C: Context>(context: &C, hook: Hook) {
    let dev = context.arg(0);
    let Some(pci_dev) = device::pci_dev_of(dev) else {
        return;
    };
    let p2pdma = device::p2pdma_of(pci_dev);
    if p2pdma == 0 {
        return;
    }
    let Some(address) = device::of_pci_dev_untyped(pci_dev) else {
        say::unread(hook, What::Device, pci_dev);
        return;
    };
    if !device::is_wanted(hook, Some(address)) {
        return;
    }
    notes::put(notes::of_object(dev, hook), [address.0, 0, 0, 0, 0, 0]);
    flush();
    let kind = match hook {
        Hook::Unbind => Kind::Unbind,
        Hook::DriverRemove => Kind::DriverRemove,
        _ => Kind::DevresRelease,
    };
    let event = Event::new(kind, hook).device(Some(address)).caller(context);
    let event = match pgmap::pool(p2pdma) {
        Some(Pool { chunks, allocated, bypassed }) => {
            let allocator = if bypassed == 0 { 0 } else { state::BYPASSED };
            event.number(valid::COUNT, chunks).small(valid::FLAG, u16::from(allocated > 0) | allocator)
        }
        None => event,
    };
    event.emit_rare(context);
    // The armed hooks must be attached before they are needed; user space decides whether to attach
    // them. If the number of chunks decided it here, the verifier would follow the code behind the
    // walk once for each chunk.
    ring::ring_doorbell();
}

/// Exit of the same functions, for devices that the entry followed.
#[inline(always)]
pub(crate) fn leave<C: Context>(context: &C, hook: Hook) {
    let (entered, kind) = match hook {
        Hook::Unbound => (Hook::Unbind, Kind::Unbound),
        Hook::DriverRemoved => (Hook::DriverRemove, Kind::DriverRemoved),
        _ => (Hook::DevresRelease, Kind::DevresReleased),
    };
    let key = notes::of_object(context.arg(0), entered);
    let Some([address, ..]) = notes::get(key) else {
        return;
    };
    notes::remove(key);
    Event::new(kind, hook).device(Some(Address(address))).caller(context).emit_rare(context);
}
