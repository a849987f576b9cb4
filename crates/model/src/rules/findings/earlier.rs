//! Findings from before a dump begins, of which only the number is known.

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
    /// Those that were over by then. An ongoing one is usually found again.
    pub(super) closed: u32,
    pub(super) by_ns: u64,
    /// A placeholder finding has been reported.
    pub(super) is_reported: bool,
}

impl Earlier {
    /// The number that were ongoing then and have not been found again, if `own` findings were added since.
    pub(super) const fn unreported(&self, own: u32) -> u32 {
        self.all.saturating_sub(self.closed.saturating_add(own))
    }
}

impl Findings {
    /// The number of findings in the complete run, counting each earlier one instead of the placeholder.
    pub(super) fn all_of_run(&self, rule: RuleId, device: DeviceAddress) -> u32 {
        let counted = self.counts.get(&(rule, device)).copied().unwrap_or(0);
        let Some(earlier) = self.earlier.get(&(rule, device)) else { return counted };
        let own = counted.saturating_sub(earlier.is_reported.into());
        own.saturating_add(earlier.closed.saturating_add(earlier.unreported(own)))
    }

    /// Continues from the findings up to this time.
    pub(in crate::rules) fn resume(&mut self, found: &[Found], by_ns: u64) {
        for found in found {
            let key = (found.rule, found.device);
            let closed = found.findings.saturating_sub(found.open);
            let earlier = Earlier { all: found.findings, closed, by_ns, is_reported: false };
            self.earlier.insert(key, earlier);
            if closed > 0 {
                self.report_earlier(key, closed);
            }
            if !found.uncertainties.is_empty() {
                self.uncertainties
                    .entry(key)
                    .or_default()
                    .extend(found.uncertainties.iter().cloned().map(String::from));
            }
        }
    }

    /// At the end of the dump, also reports findings that were ongoing when it began and were not found again.
    pub(in crate::rules) fn end_earlier(&mut self) {
        let unreported: Vec<_> = self
            .earlier
            .iter()
            .filter_map(|(key, earlier)| {
                let counted = self.counts.get(key).copied().unwrap_or(0);
                let count = earlier.unreported(counted.saturating_sub(earlier.is_reported.into()));
                (count > 0).then_some((*key, count))
            })
            .collect();
        for (key, count) in unreported {
            self.report_earlier(key, count);
            if let Some(earlier) = self.earlier.get_mut(&key) {
                earlier.closed = earlier.closed.saturating_add(count);
            }
        }
    }

    /// Reports this number of earlier findings as one placeholder.
    fn report_earlier(&mut self, (rule, device): (RuleId, DeviceAddress), count: u32) {
        let Some(earlier) = self.earlier.get_mut(&(rule, device)) else { return };
        let (by_ns, was_reported) = (earlier.by_ns, mem::replace(&mut earlier.is_reported, true));
        let subject = Subject { rule, device, case: u64::MAX, pid: None };
        if was_reported {
            self.revise(subject, |finding| finding.occurrences += u64::from(count));
        } else {
            self.push(subject, Finding::earlier(rule, device, count, by_ns), None, by_ns);
        }
    }
}
