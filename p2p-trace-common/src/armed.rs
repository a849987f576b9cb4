//! What the armed hooks compare with: one table in the array `ARMED`. User space writes it, but for how far a range has come, which
//! the kernel side knows first.

/// Ranges that the armed hooks compare with.
pub const MAX_ARMED: usize = 16;

/// How far a range has come; grows only, while the range is in the table.
pub mod stage {
    /// Its pages are there: a map of them is legal.
    pub const LISTED: u64 = 0;
    /// `arch_remove_memory` has been entered: a map of its pages is not.
    pub const REMOVED: u64 = 1;
    /// `memunmap_pages` has returned: until the pool is destroyed, an allocation of the device reads what is freed.
    pub const UNMAPPED: u64 = 2;
    /// `pci_p2pdma_release` has been entered.
    pub const RELEASED: u64 = 3;
}

/// A range of a device that is being torn down.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArmedRange {
    /// Odd while the rest is being written, and another number after that: what was read between two equal even ones belongs
    /// together.
    pub generation: u64,
    /// Address of the first `struct page`, 0 where `vmemmap_base` is not known.
    pub page_start: u64,
    /// Address behind the last `struct page`.
    pub page_end: u64,
    /// First physical address.
    pub start: u64,
    /// The address behind the last one; 0: the place is free.
    pub end: u64,
    /// The range's pgmap.
    pub pgmap: u64,
    /// Its device, as in [`crate::counters::Burst::device`].
    pub device: u64,
    /// How far it has come: see [`stage`].
    pub stage: u64,
}

/// The table. Nearly all that is mapped lies outside its window, which is all that is looked at then.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ArmedTable {
    /// Lowest `page_start`.
    pub page_start: u64,
    /// Highest `page_end`.
    pub page_end: u64,
    /// Lowest `start`.
    pub start: u64,
    /// Highest `end`.
    pub end: u64,
    /// Places up to the last one that is taken.
    pub used: u64,
    /// 0.
    pub reserved: [u64; 3],
    /// The ranges, each in one place for as long as it is in the table.
    pub ranges: [ArmedRange; MAX_ARMED],
}

const _: () = {
    assert!(size_of::<ArmedRange>() == 64);
    assert!(size_of::<ArmedTable>() == 64 + 64 * MAX_ARMED);
};
