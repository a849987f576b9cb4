//! The findings so far: each violation once, however often it happens, and the uncertainties of each rule.

mod earlier;
mod suspected;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use p2p_trace_common::Hook;

use super::{
    absence::{Absence, Missed},
    coverage::Coverage,
    finding::{Finding, MAX_EVIDENCE},
    rule::RuleId,
    suspects::Suspects,
};
use crate::event::{DeviceAddress, Id};
use earlier::Earlier;

/// The most findings that are kept for a run. Further ones are only counted.
pub const MAX_FINDINGS: usize = 4096;
/// A finding that keeps happening is reported again after this time.
const REPEAT_NS: u64 = 10_000_000_000;

/// The basis of a confirmed finding: a loss that is reported later may still explain it.
#[derive(Clone, Copy, Debug)]
struct Basis {
    subject: Subject,
    absence: Option<Absence>,
    /// Losses up to this time may explain it.
    found_ns: u64,
}

/// The identity of a violation: repeated violations with the same subject make one finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    pub(super) rule: RuleId,
    pub(super) device: DeviceAddress,
    /// Generation of the range, or another number that distinguishes cases.
    pub(super) case: u64,
    /// The thread that caused it, if the rule distinguishes threads.
    pub(super) pid: Option<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    /// When each was last reported.
    reported_ns: Vec<u64>,
    /// The basis of each.
    bases: Vec<Basis>,
    by_subject: HashMap<Subject, usize>,
    changed: BTreeSet<usize>,
    /// Those that have happened again since they were last reported.
    again: BTreeSet<usize>,
    uncertainties: BTreeMap<(RuleId, DeviceAddress), BTreeSet<String>>,
    /// Limitations of rules that hold.
    remarks: BTreeMap<(RuleId, DeviceAddress), BTreeSet<&'static str>>,
    counts: BTreeMap<(RuleId, DeviceAddress), u32>,
    /// Findings from before the dump begins.
    earlier: BTreeMap<(RuleId, DeviceAddress), Earlier>,
    omitted: u64,
    suspects: Suspects,
    missed: Missed,
    /// Rules that cannot confirm a violation because of missing hooks, with the reason.
    unconfirmable: BTreeMap<RuleId, String>,
}

impl Findings {
    /// Updates which rules can confirm violations.
    pub(super) fn set_coverage(&mut self, coverage: &Coverage) {
        self.unconfirmable =
            RuleId::all().filter_map(|rule| Some((rule, coverage.blind_spot(rule)?))).collect();
        for &hook in Hook::ALL {
            self.missed.set_uncounted(hook, coverage.is_uncounted(hook));
        }
    }

    fn uncertainty_of(&mut self, subject: Subject, why: String) {
        self.uncertainties.entry((subject.rule, subject.device)).or_default().insert(why);
    }

    /// Returns true if the rule sees enough to confirm a violation; otherwise marks it uncertain.
    fn can_confirm(&mut self, subject: Subject) -> bool {
        let Some(why) = self.unconfirmable.get(&subject.rule) else {
            return true;
        };
        self.uncertainties.entry((subject.rule, subject.device)).or_default().insert(why.clone());
        false
    }

    /// Adds a violation that is over as soon as it is seen, or counts it if it has happened before.
    pub(super) fn happened(&mut self, subject: Subject, id: Id, now_ns: u64, make: impl FnOnce() -> Finding) {
        if self.can_confirm(subject) {
            self.happened_at(subject, id, now_ns, None, make);
        }
    }

    fn happened_at(
        &mut self,
        subject: Subject,
        id: Id,
        now_ns: u64,
        absence: Option<Absence>,
        make: impl FnOnce() -> Finding,
    ) {
        if let Some(&index) = self.by_subject.get(&subject) {
            let finding = &mut self.list[index];
            finding.occurrences += 1;
            finding.end_ns = Some(now_ns);
            add_evidence(&mut finding.evidence, id);
            if absence.is_none() {
                // This occurrence does not rest on a missing record.
                self.bases[index].absence = None;
            }
            self.again.insert(index);
            return;
        }
        let mut finding = make();
        finding.end_ns = Some(now_ns);
        self.push(subject, finding, absence, now_ns);
    }

    /// Adds an ongoing violation, unless it is known already.
    pub(super) fn begin(&mut self, subject: Subject, make: impl FnOnce() -> Finding) {
        if !self.is_open(subject) && self.can_confirm(subject) {
            let finding = make();
            let found_ns = finding.start_ns;
            self.push(subject, finding, None, found_ns);
        }
    }

    /// The violation is ongoing, confirmed or only suspected.
    pub(super) fn is_open(&mut self, subject: Subject) -> bool {
        let is_open = self.by_subject.get(&subject).is_some_and(|&index| !self.list[index].is_closed());
        is_open || self.suspects.open(subject).is_some()
    }

    /// Changes a finding without reporting it again.
    pub(super) fn amend(&mut self, subject: Subject, change: impl FnOnce(&mut Finding)) {
        if let Some(&index) = self.by_subject.get(&subject) {
            change(&mut self.list[index]);
        } else if let Some(finding) = self.suspects.open(subject) {
            change(finding);
        }
    }

    /// Changes a finding and reports it again.
    pub(super) fn revise(&mut self, subject: Subject, change: impl FnOnce(&mut Finding)) {
        self.amend(subject, change);
        self.changed.extend(self.by_subject.get(&subject));
    }

    /// The current message of a finding.
    pub(super) fn message(&self, subject: Subject) -> Option<&str> {
        self.by_subject.get(&subject).map(|&index| self.list[index].message.as_str())
    }

    /// Ends a violation: a later one with this subject is a new finding.
    pub(super) fn end(&mut self, subject: Subject, id: Option<Id>, now_ns: u64) {
        self.amend(subject, |finding| {
            if !finding.is_closed() {
                finding.end_ns = Some(now_ns);
                if let Some(id) = id {
                    add_evidence(&mut finding.evidence, id);
                }
            }
        });
        self.changed.extend(self.by_subject.remove(&subject));
    }

    /// Marks a rule uncertain for a device.
    pub(super) fn mark_uncertain(&mut self, rule: RuleId, device: DeviceAddress, why: impl Into<String>) {
        self.uncertainties.entry((rule, device)).or_default().insert(why.into());
    }

    /// Adds a limitation, which is shown if the rule holds.
    pub(super) fn remark(&mut self, rule: RuleId, device: DeviceAddress, text: &'static str) {
        self.remarks.entry((rule, device)).or_default().insert(text);
    }

    /// The limitations of a rule that holds.
    pub(super) fn remarks(&self, rule: RuleId, device: DeviceAddress) -> impl Iterator<Item = String> {
        self.remarks.get(&(rule, device)).into_iter().flatten().map(|&text| text.to_owned())
    }

    /// The reasons why a rule is uncertain for a device.
    pub(super) fn uncertainties(&self, rule: RuleId, device: DeviceAddress) -> impl Iterator<Item = &String> {
        self.uncertainties.get(&(rule, device)).into_iter().flatten()
    }

    /// The number of findings of a rule for a device, including those beyond [`MAX_FINDINGS`].
    pub(super) fn count(&self, rule: RuleId, device: DeviceAddress) -> u32 {
        let counted = self.counts.get(&(rule, device)).copied().unwrap_or(0);
        let earlier = self.earlier.get(&(rule, device)).filter(|earlier| !earlier.is_reported);
        let has_unreported = earlier.is_some_and(|earlier| earlier.unreported(counted) > 0);
        counted.saturating_add(has_unreported.into())
    }

    /// All findings that are kept, oldest first.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn all(&self) -> &[Finding] {
        &self.list
    }

    /// The number of findings of a rule for a device in the complete run, and how many of them are ongoing.
    pub(super) fn counts(&self, rule: RuleId, device: DeviceAddress) -> (u32, u32) {
        let is_open =
            |finding: &&Finding| finding.rule == rule && finding.device == device && !finding.is_closed();
        (self.all_of_run(rule, device), self.list.iter().filter(is_open).count() as u32)
    }

    /// The number of findings beyond [`MAX_FINDINGS`].
    pub(super) const fn omitted(&self) -> u64 {
        self.omitted
    }

    /// Returns the findings that are new or have changed since the last call. At the end, this includes repeated findings that
    /// are not due yet.
    pub(super) fn take_changed(&mut self, now_ns: u64, at_end: bool) -> Vec<Finding> {
        if self.changed.is_empty() && self.again.is_empty() {
            return Vec::new();
        }
        let (reported_ns, again) = (&self.reported_ns, &mut self.again);
        again.retain(|&index| {
            let is_due = at_end || now_ns.saturating_sub(reported_ns[index]) >= REPEAT_NS;
            if is_due {
                self.changed.insert(index);
            }
            !is_due
        });
        let changed = std::mem::take(&mut self.changed);
        let mut findings = Vec::with_capacity(changed.len());
        for index in changed {
            self.reported_ns[index] = now_ns;
            self.again.remove(&index);
            findings.push(self.list[index].clone());
        }
        findings
    }

    fn push(&mut self, subject: Subject, mut finding: Finding, absence: Option<Absence>, found_ns: u64) {
        let count = self.counts.entry((subject.rule, subject.device)).or_default();
        *count = count.saturating_add(1);
        if self.list.len() == MAX_FINDINGS {
            self.omitted += 1;
            return;
        }
        let index = self.list.len();
        finding.number = index as u32 + 1;
        self.list.push(finding);
        self.reported_ns.push(0);
        self.bases.push(Basis { subject, absence, found_ns });
        self.by_subject.insert(subject, index);
        self.changed.insert(index);
    }
}

/// Adds a record, keeping the first ones and the latest.
fn add_evidence(evidence: &mut Vec<Id>, id: Id) {
    if evidence.last() == Some(&id) {
        return;
    }
    if evidence.len() == MAX_EVIDENCE {
        evidence.pop();
    }
    evidence.push(id);
}
