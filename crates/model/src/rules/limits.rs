//! Limits that were reached: which rules each leaves in doubt, and in which words.

use super::overlapping_ranges::MAX_COMPARED;
use super::{MAX_FINDINGS, rule::Rule};
use crate::state::Limit;

/// The rules that judge by the steps of a teardown.
const OF_STEPS: &[Rule] = &[
    Rule::RemovedBeforeDrained,
    Rule::DrainedAfterRemoval,
    Rule::UseAfterRemoval,
    Rule::AllocOnDeadChunk,
    Rule::AllocAfterKill,
    Rule::DoubleKill,
    Rule::PoolDestroyedInUse,
    Rule::StalledDrain,
    Rule::StalledUnbind,
    Rule::MapImbalance,
];

const _: () = assert!(Limit::Findings.most() == MAX_FINDINGS, "one number");
const _: () = assert!(Limit::Compared.most() == MAX_COMPARED, "one number");

impl Limit {
    /// The rules that what was left out can matter to.
    pub(super) fn touches(self, rule: Rule) -> bool {
        let rules = match self {
            Self::Steps => OF_STEPS,
            // What is forgotten looks like the teardown of a range.
            Self::RefusedAdds => &[Rule::StalledDrain, Rule::StalledUnbind, Rule::DoubleKill],
            Self::Attempts => &[Rule::AllocOnDeadChunk],
            // What is seen of no range is judged by none of them.
            Self::Devices | Self::Ranges => return true,
            Self::Compared => &[Rule::OverlappingRanges],
            Self::Pieces => &[Rule::UnmatchedFree, Rule::UseAfterRemoval],
            Self::EndedRanges => &[Rule::UseAfterRemoval],
            Self::EndedReferences => &[Rule::DoubleFree, Rule::UseAfterRemoval],
            // What was given back and seems to be out belongs to nobody, and explains what it is not.
            Self::GivenBack => &[
                Rule::UnmatchedFree,
                Rule::DoubleFree,
                Rule::SizeMismatch,
                Rule::UnexplainedReference,
                Rule::LeakedReference,
            ],
            Self::FailedMmaps => &[Rule::UnexplainedReference],
            Self::SnapshotRecords => &[Rule::UnexplainedReference, Rule::LeakedReference],
            Self::Notes | Self::Findings => return true,
        };
        rules.contains(&rule)
    }

    /// Why these are in doubt.
    pub(super) fn why(self) -> String {
        format!("there were more than {} {}, which is what is kept", self.most(), self.what())
    }
}
