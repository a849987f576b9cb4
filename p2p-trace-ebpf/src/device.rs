//! The PCI address of a device, and whether it is one that was asked for.

use p2p_trace_common::config::{MAX_DEVICES, MISSING};

use crate::{
    config::{config, offset},
    context::Context,
    memory::{load, member, read},
};

/// A PCI address as the filter's table holds it: domain in the high half, bus and devfn in the low 16 bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) u64);

impl Address {
    #[inline(always)]
    const fn new(domain: u32, bus: u8, devfn: u8) -> Self {
        Self((domain as u64) << 32 | (bus as u64) << 8 | devfn as u64)
    }

    /// As the record's word has it: domain low, then bus, devfn, and 16 bits to spare.
    #[inline(always)]
    pub(crate) const fn to_word(self) -> u64 {
        self.0 >> 32 | (self.0 >> 8 & 0xff) << 32 | (self.0 & 0xff) << 40
    }

    /// Of the word that a record has.
    #[inline(always)]
    pub(crate) const fn of_word(word: u64) -> Self {
        Self(word << 32 | (word >> 32 & 0xff) << 8 | word >> 40 & 0xff)
    }

    /// In place of the address of a device that is filtered out.
    const NOBODY: Self = Self(u64::MAX);

    /// False when it cannot be in the filter, whatever its domain.
    #[inline(always)]
    fn is_like_a_wanted(self) -> bool {
        let count = config!(device_count);
        if count == 0 {
            return true;
        }
        let mut index = 0;
        while index < MAX_DEVICES {
            if index as u32 >= count {
                return false;
            }
            if config!(devices[index]) as u16 == self.0 as u16 {
                return true;
            }
            index += 1;
        }
        false
    }

    /// True when no filter is set or this device is in it.
    #[inline(always)]
    fn is_wanted(self) -> bool {
        let count = config!(device_count);
        if count == 0 {
            return true;
        }
        let mut index = 0;
        while index < MAX_DEVICES {
            if index as u32 >= count {
                return false;
            }
            if config!(devices[index]) == self.0 {
                return true;
            }
            index += 1;
        }
        false
    }
}

/// As [`Address::is_wanted`]; a device that could not be told passes only where no filter is set.
#[inline(always)]
pub(crate) fn is_wanted(address: Option<Address>) -> bool {
    match address {
        Some(address) => address.is_wanted(),
        None => config!(device_count) == 0,
    }
}

/// Address of a `struct pci_dev` that is an argument of the traced function, or was loaded from one. What the filter does
/// not let through is not told apart, which takes time.
#[inline(always)]
pub(crate) fn of_pci_dev<C: Context>(context: &C, pci_dev: u64) -> Option<Address> {
    if config!(device_known) == 0 {
        return None;
    }
    let devfn: u32 = context.load(member!(pci_dev, pci_dev_devfn)?)?;
    let bus: u64 = context.load(member!(pci_dev, pci_dev_bus)?)?;
    let number: u8 = context.load(member!(bus, pci_bus_number)?)?;
    if !Address::new(0, number, devfn as u8).is_like_a_wanted() {
        return Some(Address::NOBODY);
    }
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
