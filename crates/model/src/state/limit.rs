//! Limits on the kept state. Each limit that is reached is reported by name
//! ([`ChangeKind::Reached`](super::ChangeKind::Reached)), because the omitted state might have shown a
//! problem.

/// A limit that was reached in a way that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// Steps of one teardown.
    Steps,
    /// Refused adds whose clean-up is tracked at one time.
    RefusedAdds,
    /// Allocation attempts in progress at one time.
    Attempts,
    /// Devices. The state of further devices is not known.
    Devices,
    /// Ranges of a device. The oldest was dropped, and its teardown steps with it.
    Ranges,
    /// Ended ranges. A dropped one was removed, and no later range lies in its place.
    EndedRanges,
    /// Ended references. A free did not match any reference that is still known.
    EndedReferences,
    /// User mappings of a range that failed in the middle, each of which may have kept a reference.
    FailedMmaps,
    /// Recently freed spans. A snapshot found memory that is not known to be in the process of being freed.
    RecentlyFreed,
    /// Pieces of a run of freed user-mapping pages. The pages after them were not classified.
    Pieces,
    /// Ranges that were compared with a new one. It may overlap another one.
    Compared,
    /// Records of one snapshot.
    SnapshotRecords,
    /// Calls in progress at one time with a note in the kernel. The exit record of a call without a note is
    /// incomplete or missing.
    Notes,
    /// Findings of a run.
    Findings,
}

/// Must match the limit in the rules.
const MAX_FINDINGS: usize = 4096;
/// Must match the kernel side (`CALLS` in `p2p-trace-ebpf/src/notes.rs`).
const MAX_NOTES: usize = 4096;
/// Must match the limit in the rule on overlaps.
const MAX_COMPARED: usize = 256;

impl Limit {
    /// All limits.
    pub const ALL: [Self; 14] = [
        Self::Steps,
        Self::RefusedAdds,
        Self::Attempts,
        Self::Devices,
        Self::Ranges,
        Self::EndedRanges,
        Self::EndedReferences,
        Self::FailedMmaps,
        Self::RecentlyFreed,
        Self::Pieces,
        Self::Compared,
        Self::SnapshotRecords,
        Self::Notes,
        Self::Findings,
    ];

    /// A description of the limited items, to follow a number.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Steps => "steps of one teardown",
            Self::RefusedAdds => "refused adds of a range at a time",
            Self::Attempts => "allocation attempts at a time",
            Self::Devices => "devices",
            Self::Ranges => "ranges of a device",
            Self::EndedRanges => "ranges that have ended",
            Self::EndedReferences => "references that have ended",
            Self::FailedMmaps => "failed user mappings of one range",
            Self::RecentlyFreed => "pieces of memory freed within two seconds",
            Self::Pieces => "pieces of user mappings in one burst of freed pages",
            Self::Compared => "ranges that may overlap a new one",
            Self::SnapshotRecords => "records of one snapshot",
            Self::Notes => "calls in progress at a time",
            Self::Findings => "findings",
        }
    }

    /// The limit.
    #[must_use]
    pub const fn most(self) -> usize {
        match self {
            Self::Steps => super::MAX_STEPS,
            Self::RefusedAdds => super::device::MAX_REFUSED,
            Self::Attempts => super::attempt::MAX_ATTEMPTS,
            Self::Devices => super::MAX_DEVICES,
            Self::Ranges => super::ranges::MAX_RANGES,
            Self::EndedRanges => super::ranges::MAX_ENDED,
            Self::EndedReferences => super::history::MAX_CLOSED,
            Self::FailedMmaps => super::failed_mmap::MAX_FAILED,
            Self::RecentlyFreed => super::history::MAX_SPANS,
            Self::Pieces => super::mmaps::MAX_PIECES,
            Self::Compared => MAX_COMPARED,
            Self::SnapshotRecords => super::snapshot::MAX_RUNS,
            Self::Notes => MAX_NOTES,
            Self::Findings => MAX_FINDINGS,
        }
    }
}
