//! The table that the armed hooks compare with: the only element of the array `ARMED`. User space
//! writes it, except the stage of a range, which the kernel side knows first.

/// Capacity of the table.
pub const MAX_ARMED: usize = 16;

/// Progress of a range's teardown. The stage of a range only increases while the range is in the
/// table.
pub mod stage {
    /// The struct pages exist; mapping them is legal.
    pub const LISTED: u64 = 0;
    /// `arch_remove_memory` was entered; mapping the pages is not legal.
    pub const REMOVED: u64 = 1;
    /// `memunmap_pages` returned. Until the pool is destroyed, an allocation on the device reads
    /// freed memory.
    pub const UNMAPPED: u64 = 2;
    /// `pci_p2pdma_release` was entered.
    pub const RELEASED: u64 = 3;
}

/// A range of a device that is being torn down.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArmedRange {
    /// Odd while the other fields are being written, and a different even number afterwards. Fields
    /// read between two equal even numbers are consistent.
    pub generation: u64,
    /// Address of the first `struct page`; 0 if `vmemmap_base` is not known.
    pub page_start: u64,
    /// Address one past the last `struct page`.
    pub page_end: u64,
    /// First physical address.
    pub start: u64,
    /// Physical address one past the last byte; 0 marks a free entry.
    pub end: u64,
    /// The range's pgmap.
    pub pgmap: u64,
    /// The range's device, as in [`crate::counters::Burst::device`].
    pub device: u64,
    /// One of the numbers in [`stage`].
    pub stage: u64,
}

/// The table. The window in its head rules out nearly every mapping, so that most calls read
/// nothing else.
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
    /// Number of entries up to and including the last one in use.
    pub used: u64,
    /// 0.
    pub reserved: [u64; 3],
    /// The ranges. A range keeps its entry for as long as it is in the table.
    pub ranges: [ArmedRange; MAX_ARMED],
}

const _: () = {
    assert!(size_of::<ArmedRange>() == 64);
    assert!(size_of::<ArmedTable>() == 64 + 64 * MAX_ARMED);
};
