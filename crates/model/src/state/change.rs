//! The meaning of the latest element of the stream, for rules to check.

use super::{
    limit::Limit,
    range::RangeId,
    reference::{Closed, Key, Reference},
    teardown::Ended,
};
use crate::event::DeviceAddress;

/// A change or observation in the latest element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The device.
    pub device: DeviceAddress,
    /// The kind of change.
    pub kind: ChangeKind,
}

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// A range was seen for the first time.
    RangeSeen(RangeId),
    /// A range is known to be over, although its end was not observed.
    RangeEndedUnseen(RangeId),
    /// A range that was killed before is killed again.
    KilledAgain(RangeId),
    /// `pci_p2pdma_add_resource` was refused.
    AddRefused,
    /// A reference was added.
    Allocated(Key),
    /// An allocation that was just added belongs to a scatter list.
    Linked(Key),
    /// A reference ended.
    Closed(Closed),
    /// A part of a reference's memory was freed.
    Shrunk(Key),
    /// The match of a free of an allocation or scatter list.
    Freed(FreeMatch),
    /// The match of a burst of page frees.
    PagesFreed(PageMatch),
    /// An allocation attempt whose start was observed ([`super::Attempt`]) has returned.
    Returned,
    /// A step of the device's latest teardown.
    Step,
    /// The device's latest teardown is over.
    TornDown(Ended),
    /// A snapshot was processed.
    SnapshotEnd(SnapshotEnd),
    /// A limit was reached in a way that may matter.
    Reached(Limit),
    /// From now on, the device's outstanding memory or its teardown is uncertain.
    Uncertain,
}

/// How a free matches the known references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeMatch {
    /// It freed exactly the memory of a live reference.
    Exact(Closed),
    /// It freed less than the memory of a live reference: a part of it, or fewer pages.
    Partial {
        /// The reference before the free.
        before: Reference,
        /// Bytes freed, in whole pages.
        freed: u64,
    },
    /// It freed more than the memory of the live reference at this address.
    TooLarge {
        /// The reference.
        closed: Closed,
        /// Bytes freed, in whole pages.
        freed: u64,
    },
    /// It freed pre-existing memory, whose holder is unknown.
    Preexisting {
        /// Bytes of pre-existing memory among the freed bytes.
        bytes: u64,
        /// Bytes freed, in whole pages.
        freed: u64,
    },
    /// The free within `pci_p2pmem_free_sgl`, whose own record came just before.
    OfScatterList(Closed),
    /// No memory is outstanding at this address, and the last reference there was freed already.
    Again {
        /// The last reference at this address.
        earlier: Closed,
    },
    /// No memory is known to be outstanding at this address.
    Unmatched,
}

/// How a burst of page frees matches, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageMatch {
    /// Pages of known mmaps.
    pub matched: u32,
    /// Pre-existing memory, whose holder is unknown.
    pub preexisting: u32,
    /// Pages already known to be free, because the pool had allocated them again.
    pub explained: u32,
    /// Pages that match no known memory.
    pub unmatched: u32,
    /// The location of the unmatched pages is unknown, so they may be pre-existing memory.
    pub unplaced: bool,
}

/// The changes made by a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotEnd {
    /// The model was reconciled with it. False if the snapshot is incomplete, some of its records are
    /// missing, or the pool was being destroyed.
    pub reconciled: bool,
    /// References that had ended without a record.
    pub closed: u32,
    /// Bytes newly found allocated whose holder is unknown.
    pub found: u64,
    /// Bytes still set in the bitmap that were freed less than [`super::GRACE_NS`] before. The free may be in
    /// progress; where records were lost, an unobserved task may have allocated them again.
    pub in_flight: u64,
}
