//! What the rules had found before a dump begins: how often, and no more.

use std::mem;

use super::{Findings, Subject};
use crate::{
    event::DeviceAddress,
    rules::{finding::Finding, rule::RuleId, rule_state::Found},
};

/// Findings before the dump begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Earlier {
    pub(super) all: u32,
    /// Those that were over by then. One that went on is found again, mostly.
    pub(super) closed: u32,
    pub(super) by_ns: u64,
    /// One finding stands for those that nothing else tells of.
    pub(super) is_told: bool,
}

impl Earlier {
    /// Those that went on then and were not found again, where so many were found since.
    pub(super) const fn untold(&self, own: u32) -> u32 {
        self.all.saturating_sub(self.closed.saturating_add(own))
    }
}

impl Findings {
    /// The same of the whole run, what was before the dump begins one by one.
    pub(super) fn all_of_run(&self, rule: RuleId, device: DeviceAddress) -> u32 {
        let told = self.counts.get(&(rule, device)).copied().unwrap_or(0);
        let Some(earlier) = self.earlier.get(&(rule, device)) else { return told };
        let own = told.saturating_sub(earlier.is_told.into());
        own.saturating_add(earlier.closed.saturating_add(earlier.untold(own)))
    }

    /// Goes on from what there was by this time.
    pub(in crate::rules) fn resume(&mut self, found: &[Found], by_ns: u64) {
        for found in found {
            let key = (found.rule, found.device);
            let closed = found.findings.saturating_sub(found.open);
            let earlier = Earlier { all: found.findings, closed, by_ns, is_told: false };
            self.earlier.insert(key, earlier);
            if closed > 0 {
                self.tell_earlier(key, closed);
            }
            if !found.uncertainties.is_empty() {
                self.uncertainties
                    .entry(key)
                    .or_default()
                    .extend(found.uncertainties.iter().cloned().map(String::from));
            }
        }
    }

    /// The dump is over: what went on when it began and was not found again is told, too.
    pub(in crate::rules) fn end_earlier(&mut self) {
        let untold: Vec<_> = self
            .earlier
            .iter()
            .filter_map(|(key, earlier)| {
                let told = self.counts.get(key).copied().unwrap_or(0);
                let untold = earlier.untold(told.saturating_sub(earlier.is_told.into()));
                (untold > 0).then_some((*key, untold))
            })
            .collect();
        for (key, untold) in untold {
            self.tell_earlier(key, untold);
            if let Some(earlier) = self.earlier.get_mut(&key) {
                earlier.closed = earlier.closed.saturating_add(untold);
            }
        }
    }

    /// Tells of so many findings of before, of which nothing is known but that they were.
    fn tell_earlier(&mut self, (rule, device): (RuleId, DeviceAddress), count: u32) {
        let Some(earlier) = self.earlier.get_mut(&(rule, device)) else { return };
        let (by_ns, was_told) = (earlier.by_ns, mem::replace(&mut earlier.is_told, true));
        let subject = Subject { rule, device, case: u64::MAX, pid: None };
        if was_told {
            self.revise(subject, |finding| finding.occurrences += u64::from(count));
        } else {
            self.push(subject, Finding::earlier(rule, device, count, by_ns), None, by_ns);
        }
    }
}
