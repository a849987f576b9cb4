//! Limits that were reached: which rules each leaves in doubt, and in which words.

use super::overlapping_ranges::MAX_COMPARED;
use super::{MAX_FINDINGS, rule::RuleId};
use crate::state::Limit;

/// The rules that judge by the steps of a teardown.
const OF_STEPS: &[RuleId] = &[
    RuleId::RemovedBeforeDrained,
    RuleId::DrainedAfterRemoval,
    RuleId::UseAfterRemoval,
    RuleId::AllocOnDeadChunk,
    RuleId::AllocAfterKill,
    RuleId::DoubleKill,
    RuleId::PoolDestroyedInUse,
    RuleId::StalledDrain,
    RuleId::StalledUnbind,
    RuleId::MapImbalance,
];

const _: () = assert!(Limit::Findings.most() == MAX_FINDINGS, "one number");
const _: () = assert!(Limit::Compared.most() == MAX_COMPARED, "one number");

impl Limit {
    /// The rules that what was left out can matter to.
    pub(super) fn touches(self, rule: RuleId) -> bool {
        let rules = match self {
            Self::Steps => OF_STEPS,
            // What is forgotten looks like the teardown of a range.
            Self::RefusedAdds => &[RuleId::StalledDrain, RuleId::StalledUnbind, RuleId::DoubleKill],
            Self::Attempts => &[RuleId::AllocOnDeadChunk],
            // What is seen of no range is judged by none of them.
            Self::Devices | Self::Ranges => return true,
            Self::Compared => &[RuleId::OverlappingRanges],
            Self::Pieces => &[RuleId::UnmatchedFree, RuleId::UseAfterRemoval],
            Self::EndedRanges => &[RuleId::UseAfterRemoval],
            Self::EndedReferences => &[RuleId::DoubleFree, RuleId::UseAfterRemoval],
            // What was given back and seems to be out belongs to nobody, and explains what it is not.
            Self::RecentlyFreed => &[
                RuleId::UnmatchedFree,
                RuleId::DoubleFree,
                RuleId::SizeMismatch,
                RuleId::UnexplainedReference,
                RuleId::LeakedReference,
            ],
            Self::FailedMmaps => &[RuleId::UnexplainedReference],
            Self::SnapshotRecords => &[RuleId::UnexplainedReference, RuleId::LeakedReference],
            Self::Notes | Self::Findings => return true,
        };
        rules.contains(&rule)
    }

    /// Why these are in doubt.
    pub(super) fn why(self) -> String {
        format!("there were more than {} {}, which is what is kept", self.most(), self.description())
    }
}
