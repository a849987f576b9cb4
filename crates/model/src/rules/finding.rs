//! Violations that the rules found.

use super::rule::{RuleId, Severity};
use crate::{
    event::{DeviceAddress, Id, Range},
    holders::Holder,
};

/// The most records that a finding lists: the first ones and the latest.
pub(crate) const MAX_EVIDENCE: usize = 24;

/// A violation of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The finding's number in the run, from 1; later versions of the same finding keep it.
    pub number: u32,
    /// The rule.
    pub rule: RuleId,
    /// The severity.
    pub severity: Severity,
    /// The device that provides the memory.
    pub device: DeviceAddress,
    /// Physical addresses of the range, if the finding is about a range and its addresses are known.
    pub range: Option<Range>,
    /// Address of the range's `struct dev_pagemap`.
    pub pgmap: Option<u64>,
    /// When the violation began, `CLOCK_BOOTTIME` in nanoseconds.
    pub start_ns: u64,
    /// When the violation ended, or last happened; `None` if it is ongoing.
    pub end_ns: Option<u64>,
    /// How often the violation happened.
    pub occurrences: u64,
    /// The violation, in a self-contained sentence.
    pub message: String,
    /// Recommended next steps.
    pub advice: &'static str,
    /// The records that show the violation, in order.
    pub evidence: Vec<Id>,
    /// Holders of outstanding memory, largest first.
    pub holders: Vec<Holder>,
    /// Number of further holders.
    pub holders_omitted: u64,
    /// Kernel stack of the task that caused the violation, or that waits; innermost first.
    pub stack: Vec<u64>,
    /// Why the finding was withdrawn: a later fact explains the apparent violation. A withdrawn finding no longer counts.
    pub withdrawn: Option<String>,
}

impl Finding {
    /// A finding that began at this time, to be filled in.
    pub(super) const fn new(
        rule: RuleId,
        device: DeviceAddress,
        start_ns: u64,
        message: String,
        advice: &'static str,
    ) -> Self {
        Self {
            number: 0,
            rule,
            severity: rule.spec().severity,
            device,
            range: None,
            pgmap: None,
            start_ns,
            end_ns: None,
            occurrences: 1,
            message,
            advice,
            evidence: Vec::new(),
            holders: Vec::new(),
            holders_omitted: 0,
            stack: Vec::new(),
            withdrawn: None,
        }
    }

    /// A placeholder for findings before the dump, up to this time: only their number is known.
    pub(super) fn earlier(rule: RuleId, device: DeviceAddress, count: u32, by_ns: u64) -> Self {
        const ADVICE: &str = "Pass the earlier files of the run as well, if they still exist: they show the tasks, times and \
                              records.";
        let message = format!(
            "{} was violated before this dump begins: tasks and times are not in this dump",
            rule.name()
        );
        let finding = Self::new(rule, device, by_ns, message, ADVICE);
        Self { end_ns: Some(by_ns), occurrences: count.into(), ..finding }
    }

    /// The violation is over. Its rule stays violated.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.end_ns.is_some()
    }
}
