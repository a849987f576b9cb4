//! Exceeded limits: which rules each makes uncertain, and the reason that is shown.

use super::overlapping_ranges::MAX_COMPARED;
use super::{MAX_FINDINGS, rule::RuleId};
use crate::state::Limit;

/// The rules that depend on the steps of a teardown.
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
    /// Returns true if the omitted data may affect the rule.
    pub(super) fn touches(self, rule: RuleId) -> bool {
        let rules = match self {
            Self::Steps => OF_STEPS,
            // A forgotten refused add looks like the teardown of a range.
            Self::RefusedAdds => &[RuleId::StalledDrain, RuleId::StalledUnbind, RuleId::DoubleKill],
            Self::Attempts => &[RuleId::AllocOnDeadChunk],
            // No rule can evaluate events of an unknown range.
            Self::Devices | Self::Ranges => return true,
            Self::Compared => &[RuleId::OverlappingRanges],
            Self::Pieces => &[RuleId::UnmatchedFree, RuleId::UseAfterRemoval],
            Self::EndedRanges => &[RuleId::UseAfterRemoval],
            Self::EndedReferences => &[RuleId::DoubleFree, RuleId::UseAfterRemoval],
            // Freed memory that seems to be outstanding has no holder, and explains references that it does not have.
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

    /// Why the affected rules are uncertain.
    pub(super) fn why(self) -> String {
        format!("limit exceeded: more than {} {}", self.most(), self.description())
    }
}
