//! The PCI address of a device, and whether the device is traced.

use p2p_trace_common::{
    Hook,
    config::{MAX_DEVICES, MISSING},
    statement::What,
};

use crate::{
    config::{config, offset, setting, wide_setting},
    context::Context,
    memory::{load, member, read},
    say,
};

/// A PCI address in the format of records and of the filter's table: domain in the low half, then
/// bus, devfn, and 16 unused bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) u64);

/// The lowest bit of the bus's number in an address.
const BUS: u32 = 32;
/// The lowest bit of devfn.
const DEVFN: u32 = 40;

impl Address {
    #[inline(always)]
    const fn new(domain: u32, bus: u8, devfn: u8) -> Self {
        Self(domain as u64 | (bus as u64) << BUS | (devfn as u64) << DEVFN)
    }

    /// Placeholder for the address of a device that is filtered out.
    const FILTERED: Self = Self(u64::MAX);

    /// True if no filter is set, or if a device in it has the same value in these bits of the
    /// address.
    #[inline(always)]
    fn is_wanted(self, bits: u64) -> bool {
        let count = setting!(device_count);
        let is_like = |wanted: u64| (wanted ^ self.0) & bits == 0;
        if count == 0 {
            return true;
        }
        // Usually the filter has one device.
        if is_like(wide_setting!(devices, 0)) {
            return true;
        }
        let mut index = 1;
        while index < MAX_DEVICES as u64 {
            if index >= count {
                return false;
            }
            if is_like(config!(devices[index as usize])) {
                return true;
            }
            index += 1;
        }
        false
    }
}

/// As [`Address::is_wanted`]; an unknown device passes only if no filter is set.
#[inline(always)]
pub(crate) fn is_wanted(hook: Hook, address: Option<Address>) -> bool {
    match address {
        Some(Address::FILTERED) => false,
        Some(address) => {
            let is_wanted = address.is_wanted(u64::MAX);
            if !is_wanted {
                say::omitted(hook, address);
            }
            is_wanted
        }
        None => setting!(device_count) == 0,
    }
}

/// Address of a `struct pci_dev` that is an argument of the traced function, or was loaded from
/// one. All filtered-out devices get the same address, which saves time.
#[inline(always)]
pub(crate) fn of_pci_dev<C: Context>(context: &C, hook: Hook, pci_dev: u64) -> Option<Address> {
    if setting!(device_known) == 0 {
        return None;
    }
    let bus: u64 = context.load(member!(pci_dev, pci_dev_bus)?)?;
    let number: u8 = context.load(member!(bus, pci_bus_number)?)?;
    // Most devices differ in the bus: there is one per slot.
    if !Address::new(0, number, 0).is_wanted(0xff << BUS) {
        say::passed_over(hook, What::OtherBus, u64::from(number));
        return Some(Address::FILTERED);
    }
    let devfn: u32 = context.load(member!(pci_dev, pci_dev_devfn)?)?;
    let sysdata: u64 = context.load(member!(bus, pci_bus_sysdata)?)?;
    let domain: u32 = load(member!(sysdata, pci_sysdata_domain)?)?;
    Some(Address::new(domain, number, devfn as u8))
}

/// As [`of_pci_dev`] for any pointer, by reads that may fault.
#[inline(always)]
pub(crate) fn of_pci_dev_untyped(pci_dev: u64) -> Option<Address> {
    let devfn: u32 = read(pci_dev, offset!(pci_dev_devfn))?;
    let bus: u64 = read(pci_dev, offset!(pci_dev_bus))?;
    let number: u8 = read(bus, offset!(pci_bus_number))?;
    let sysdata: u64 = read(bus, offset!(pci_bus_sysdata))?;
    let domain: u32 = read(sysdata, offset!(pci_sysdata_domain))?;
    Some(Address::new(domain, number, devfn as u8))
}

/// The `struct pci_dev` around a `struct device`, if that is on the PCI bus.
#[inline(always)]
pub(crate) fn pci_dev_of(device: u64) -> Option<u64> {
    let within = offset!(pci_dev_dev);
    if within == MISSING || device == 0 {
        return None;
    }
    let bus: u64 = read(device, offset!(device_bus))?;
    let name: u64 = read(bus, offset!(bus_type_name))?;
    let text: u32 = read(name, 0)?;
    (text == u32::from_le_bytes(*b"pci\0")).then(|| device.wrapping_sub(u64::from(within)))
}

/// The `struct pci_p2pdma` of a device, 0 where it has none.
#[inline(always)]
pub(crate) fn p2pdma_of(pci_dev: u64) -> u64 {
    read(pci_dev, offset!(pci_dev_p2pdma)).unwrap_or(0)
}
