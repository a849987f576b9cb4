//! What the latest element of the stream meant, for rules to judge.

use super::{
    limit::Limit,
    range::RangeId,
    reference::{Closed, Key, Reference},
    teardown::Ended,
};
use crate::event::DeviceAddress;

/// One thing that the latest element changed, or showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub device: DeviceAddress,
    /// What.
    pub kind: ChangeKind,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// A range was seen for the first time.
    RangeSeen(RangeId),
    /// A range is known to be over, although its end was not seen.
    RangeEndedUnseen(RangeId),
    /// A range that was killed before is killed again.
    KilledAgain(RangeId),
    /// `pci_p2pdma_add_resource` was refused.
    AddRefused,
    /// A reference was taken.
    Allocated(Key),
    /// An allocation that was taken just now belongs to a scatter list.
    Linked(Key),
    /// A reference ended.
    Closed(Closed),
    /// A reference lost a part of its memory.
    Shrunk(Key),
    /// What a free of an allocation or scatter list was.
    Freed(FreeMatch),
    /// What a burst of page frees was.
    PagesFreed(PageMatch),
    /// An attempt to take memory that was seen to begin ([`super::Attempt`]) has come back.
    Returned,
    /// A step of the device's latest teardown.
    Step,
    /// The device's latest teardown is over.
    TornDown(Ended),
    /// A pull read was taken in.
    SnapshotEnd(SnapshotEnd),
    /// There is more of something than is kept, and that can matter.
    Reached(Limit),
    /// From now on it is not certain what the device has out, or where its teardown stands.
    Uncertain,
}

/// What a free was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeMatch {
    /// It gave back what a live reference had taken.
    Exact(Closed),
    /// It gave back less than a live reference has: from within it, or fewer pages.
    Partial {
        /// The reference, as it was before.
        before: Reference,
        /// Bytes given back, in whole pages.
        freed: u64,
    },
    /// It gave back more than the live reference at this address has.
    TooLarge {
        /// The reference.
        closed: Closed,
        /// Bytes given back, in whole pages.
        freed: u64,
    },
    /// Memory of unknown takers.
    Preexisting {
        /// How much of what was given back is such memory.
        bytes: u64,
        /// Bytes given back, in whole pages.
        freed: u64,
    },
    /// The free within `pci_p2pmem_free_sgl`, whose own record came just before.
    OfScatterList(Closed),
    /// Nothing is out at this address, and the last that was had been given back.
    Again {
        /// What had been out there.
        earlier: Closed,
    },
    /// Nothing is known to be out at this address.
    Unmatched,
}

/// What a burst of page frees was, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageMatch {
    /// Of mmaps that are known.
    pub matched: u32,
    /// Memory of unknown takers.
    pub preexisting: u32,
    /// Already known to be free, because the pool had given them out again.
    pub explained: u32,
    /// Of nothing that is known.
    pub unmatched: u32,
    /// It is not known where the unmatched ones lie, so that they can be memory of unknown takers.
    pub unplaced: bool,
}

/// What a pull read changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotEnd {
    /// It was taken as the truth. Else: not all was read, records of it are missing, or the pool was just being
    /// destroyed.
    pub reconciled: bool,
    /// References that had ended unseen.
    pub closed: u32,
    /// Bytes newly found taken by nobody knows whom.
    pub found: u64,
    /// Bytes still set that were given back less than [`super::GRACE_NS`] before. The free can be on its way; where
    /// records were lost, somebody unseen can have taken them again.
    pub in_flight: u64,
}
