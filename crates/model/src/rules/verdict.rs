//! What a rule came to for a device.

use super::rule::RuleId;
use crate::event::DeviceAddress;

/// The four answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Answer {
    /// Everything that it needs was seen, and nothing violates it.
    Holds,
    /// A hook that it needs was not asked for, or does not exist on this kernel.
    NotChecked,
    /// What it needs was asked for and not seen: nothing was found, and something can have been missed.
    Inconclusive,
    /// At least one finding. A stall that has ended stays one.
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

/// The answer of a rule for a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The rule.
    pub rule: RuleId,
    /// The device.
    pub device: DeviceAddress,
    /// The answer.
    pub answer: Answer,
    /// Why it is inconclusive or not checked, or which part of it is; a violation has findings instead.
    pub reasons: Vec<String>,
    /// How many findings there are.
    pub findings: u32,
}
