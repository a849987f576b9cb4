//! What a rule found.

use super::rule::{RuleId, Severity};
use crate::{
    event::{DeviceAddress, Id, Range},
    holders::Holder,
};

/// Records that a finding names at most, the first ones and the latest.
pub(crate) const MAX_EVIDENCE: usize = 24;

/// A violation of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its number in the run, from 1: a later version of the same finding has the same.
    pub number: u32,
    /// The rule.
    pub rule: RuleId,
    /// How grave it is.
    pub severity: Severity,
    /// Whose memory.
    pub device: DeviceAddress,
    /// Physical addresses of the range, where one is concerned and known.
    pub range: Option<Range>,
    /// Address of that range's `struct dev_pagemap`.
    pub pgmap: Option<u64>,
    /// When it began, `CLOCK_BOOTTIME` in nanoseconds.
    pub start_ns: u64,
    /// When it ended, or happened last; `None`: it goes on.
    pub end_ns: Option<u64>,
    /// How often it happened.
    pub occurrences: u64,
    /// What happened, in a sentence that needs nothing else.
    pub message: String,
    /// What to do next.
    pub advice: &'static str,
    /// The records that show it, in order.
    pub evidence: Vec<Id>,
    /// Who took what was out, the largest first.
    pub holders: Vec<Holder>,
    /// Groups beyond those.
    pub holders_omitted: u64,
    /// Kernel stack of the task that did it, or that waits; innermost first.
    pub stack: Vec<u64>,
    /// Why it is none after all: something that came to light later explains what was seen. It counts no more.
    pub withdrawn: Option<String>,
}

impl Finding {
    /// One to fill in, which began at this time.
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

    /// Stands for what was found before the dump begins, at this time: it is known that it was, and no more.
    pub(super) fn earlier(rule: RuleId, device: DeviceAddress, count: u32, by_ns: u64) -> Self {
        const ADVICE: &str = "Give the earlier files of the run as well, if they are still there: they tell who, when and by which \
                              records.";
        let message =
            format!("{} was violated before this dump begins: who and when is not in it", rule.name());
        let finding = Self::new(rule, device, by_ns, message, ADVICE);
        Self { end_ns: Some(by_ns), occurrences: count.into(), ..finding }
    }

    /// It is over. What was violated stays so.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.end_ns.is_some()
    }
}
