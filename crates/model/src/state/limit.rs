//! What is kept only so much of. Each limit that is reached is told by its name ([`ChangeKind::Reached`](super::ChangeKind::Reached)): what
//! is left out can be what would have shown something wrong.

/// A limit that was reached in a way that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// Steps of one teardown.
    Steps,
    /// Refused adds whose clean-up is followed at a time.
    RefusedAdds,
    /// Attempts to take memory that are under way at a time.
    Attempts,
    /// Devices: what others did is not known.
    Devices,
    /// Ranges of a device: the oldest was forgotten, and with it in which step it was.
    Ranges,
    /// Ranges that have ended: one that was forgotten was removed, and lay where no later one does.
    EndedRanges,
    /// References that have ended: a free was of nothing that is still known.
    EndedReferences,
    /// User mappings of a range that failed in the middle, each of which can have kept a reference.
    FailedMmaps,
    /// Memory that was given back just now: a pull read found some that is not known to be on its way.
    RecentlyFreed,
    /// Pieces that a run of freed pages of user mappings was in: those behind them were not looked at.
    Pieces,
    /// Ranges that were compared with a new one: it can overlap another.
    Compared,
    /// Records of one pull read.
    SnapshotRecords,
    /// Calls under way at a time that are noted in the kernel: what has no note tells less at its end, or nothing.
    Notes,
    /// Findings of a run.
    Findings,
}

/// As the rules have it, which compare.
const MAX_FINDINGS: usize = 4096;
/// As the kernel side has it (`CALLS` in `p2p-trace-ebpf/src/notes.rs`).
const MAX_NOTES: usize = 4096;
/// As the rule on overlaps has it.
const MAX_COMPARED: usize = 256;

impl Limit {
    /// Every limit.
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

    /// What is limited, in words that follow a number.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Steps => "steps of one teardown",
            Self::RefusedAdds => "concurrent refused adds of a range",
            Self::Attempts => "concurrent allocation attempts",
            Self::Devices => "devices",
            Self::Ranges => "ranges of a device",
            Self::EndedRanges => "ranges that have ended",
            Self::EndedReferences => "references that have ended",
            Self::FailedMmaps => "failed user mappings of one range",
            Self::RecentlyFreed => "pieces of memory freed within two seconds",
            Self::Pieces => "pieces of user mappings in one burst of freed pages",
            Self::Compared => "ranges that may overlap a new one",
            Self::SnapshotRecords => "records of one snapshot",
            Self::Notes => "concurrent calls",
            Self::Findings => "findings",
        }
    }

    /// How many are kept.
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
