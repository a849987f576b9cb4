//! What the kernel side says of itself: the words for which it sends numbers. A string costs it a copy, and a choice among strings
//! a table of pointers, which no program can have.

use crate::kind::named_enum;

/// In a statement, in front of the number of a [`Hook`](crate::Hook).
pub const HOOK: &str = "hook#";
/// In front of the number of a [`What`].
pub const WHAT: &str = "what#";
/// In front of the address of a PCI device, hexadecimal, as the filter has it.
pub const DEVICE: &str = "pci#";

named_enum! {
    /// What a statement is about; a number follows.
    pub enum What {
        /// It is the address of a `struct pci_dev`.
        Device = 0 "the address of the PCI device at",
        /// It is the address of the device's `struct kobject`.
        DeviceOfAttribute = 1 "the device of the attribute, in the object at",
        /// It is the address of a `struct dev_pagemap`, as in all that name a pgmap.
        DeviceOfRange = 2 "the device of the pgmap at",
        /// Bytes allocated from the range.
        AllocatedOfRange = 3 "what is taken of the pgmap at",
        /// It is the place of a chunk in the pool's list.
        Chunk = 4 "the pool's chunk number",
        /// It is the address of a `struct page`.
        RangeOfPage = 5 "the pgmap of the page at",
        /// It is the address of a `struct request`.
        Request = 6 "the segments of the request at",
        /// It is the address of a `struct vm_area_struct`.
        Mapping = 7 "the bounds of the mapping at",
        /// A page free found the burst of its CPU locked.
        Burst = 8 "the burst of page frees of CPU",
        /// A flush found a burst locked, and waited in vain.
        LateBurst = 9 "the burst of page frees, which an event waits for in vain, of CPU",
        /// The slot that comes next in a ring belongs to a record that is not finished.
        HotSlot = 10 "the next slot of the hot ring of CPU",
        /// The same of a rare ring.
        RareSlot = 11 "the next slot of the rare ring of CPU",
        /// A range of other memory.
        OtherMemory = 12 "leaves out memory that is no p2p memory, of the pgmap at",
        /// It is how many the pool has.
        EndOfPool = 13 "the pool has no chunk number",
        /// It lies between the first and the last watched range, in none of them.
        NotWatched = 14 "maps what is in no watched range:",
        /// A map of a range that is still there, told within the last second.
        HeldBack = 15 "maps memory that is still there, which was told within the last second, of the pgmap at",
        /// A map of a watched range.
        Watched = 16 "maps memory of a watched range, of the pgmap at",
        /// A range's pages are removed that was not watched.
        Unwatched = 17 "removes memory that was not watched, of the pgmap at",
        /// No device on it was asked for.
        OtherBus = 18 "leaves out a device on bus",
    }
}
