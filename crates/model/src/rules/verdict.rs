//! The verdict of a rule for a device.

use super::rule::RuleId;
use crate::event::DeviceAddress;

/// The answer of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Answer {
    /// Everything that the rule needs was seen, and nothing violates it.
    Holds,
    /// A hook that the rule needs was not enabled, or its function does not exist on this kernel.
    NotChecked,
    /// There is no finding, but a violation may have been missed: not everything that the rule needs was seen.
    Inconclusive,
    /// There is at least one finding. A stall that has ended remains a violation.
    Violated,
}

impl Answer {
    /// The name used in every output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::NotChecked => "not checked",
            Self::Inconclusive => "inconclusive",
            Self::Violated => "violated",
        }
    }
}

/// The answer of a rule for a device, with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The rule.
    pub rule: RuleId,
    /// The device.
    pub device: DeviceAddress,
    /// The answer.
    pub answer: Answer,
    /// Why the rule is inconclusive or not checked, or why its coverage is partial; empty for a violation, which has findings.
    pub reasons: Vec<String>,
    /// The number of findings.
    pub findings: u32,
}
