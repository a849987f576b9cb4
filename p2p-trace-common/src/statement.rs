//! Log statements of the kernel side: the words that its numbers stand for. The programs send
//! numbers because a string costs a copy, and a choice among strings a table of pointers, which a
//! program cannot have.

use crate::kind::named_enum;

/// In a statement, precedes the number of a [`Hook`](crate::Hook).
pub const HOOK: &str = "hook#";
/// In a statement, precedes the number of a [`What`].
pub const WHAT: &str = "what#";
/// In a statement, precedes the address of a PCI device: hexadecimal, in the filter's format.
pub const DEVICE: &str = "pci#";

named_enum! {
    /// The subject of a statement; a number follows.
    pub enum What {
        /// The number is the address of a `struct pci_dev`.
        Device = 0 "the address of the PCI device at",
        /// The number is the address of the device's `struct kobject`.
        DeviceOfAttribute = 1 "the device of the attribute, in the object at",
        /// The number is the address of a `struct dev_pagemap`, as in every statement that names a
        /// pgmap.
        DeviceOfRange = 2 "the device of the pgmap at",
        /// Bytes allocated from the range.
        AllocatedOfRange = 3 "the allocated bytes of the pgmap at",
        /// The number is the index of a chunk in the pool's list.
        Chunk = 4 "the pool's chunk number",
        /// The number is the address of a `struct page`.
        RangeOfPage = 5 "the pgmap of the page at",
        /// The number is the address of a `struct request`.
        Request = 6 "the segments of the request at",
        /// The number is the address of a `struct vm_area_struct`.
        Mapping = 7 "the bounds of the mapping at",
        /// A page free found its CPU's burst locked.
        Burst = 8 "the burst of page frees of CPU",
        /// A flush found a burst locked and gave up waiting.
        LateBurst = 9 "the burst of page frees, which a flush gave up on, of CPU",
        /// The next slot of a hot ring belongs to an unfinished record.
        HotSlot = 10 "the next slot of the hot ring of CPU",
        /// As above, for a rare ring.
        RareSlot = 11 "the next slot of the rare ring of CPU",
        /// The range is not p2p memory.
        OtherMemory = 12 "ignores memory that is not p2p memory, of the pgmap at",
        /// The number is the count of the pool's chunks.
        EndOfPool = 13 "the pool has no chunk number",
        /// The number lies between the first and the last watched range, but in none of them.
        NotWatched = 14 "maps memory outside the watched ranges:",
        /// A map of a range that is still present and was reported within the last second.
        HeldBack = 15 "maps memory that is still present, already reported within the last second, of the pgmap at",
        /// A map of a watched range.
        Watched = 16 "maps memory of the watched pgmap at",
        /// The pages of a range that was not watched are removed.
        Unwatched = 17 "removes unwatched memory of the pgmap at",
        /// None of the traced devices is on the bus.
        OtherBus = 18 "filters out a device on bus",
    }
}
