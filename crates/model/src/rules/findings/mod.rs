//! What was found so far: each violation once, however often it happens, and what is doubtful.

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

/// Findings that are kept of a run. What is found beyond them is counted.
pub const MAX_FINDINGS: usize = 4096;
/// A finding that goes on happening is told again after so long.
const AGAIN_NS: u64 = 10_000_000_000;

/// What a finding that is believed rests on: a loss that comes to light later can still cover it.
#[derive(Clone, Copy, Debug)]
struct Basis {
    subject: Subject,
    absence: Option<Absence>,
    /// The losses up to then can.
    found_ns: u64,
}

/// What makes two violations of a rule the same: the same range or task, mostly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    pub(super) rule: RuleId,
    pub(super) device: DeviceAddress,
    /// Generation of the range, or what else tells cases apart.
    pub(super) case: u64,
    /// Thread that did it, where each is a case of its own.
    pub(super) pid: Option<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    /// When each was last told.
    told: Vec<u64>,
    /// What each rests on.
    bases: Vec<Basis>,
    by_subject: HashMap<Subject, usize>,
    changed: BTreeSet<usize>,
    /// Those that have happened again since they were told.
    again: BTreeSet<usize>,
    uncertainties: BTreeMap<(RuleId, DeviceAddress), BTreeSet<String>>,
    /// What is not seen of what holds.
    remarks: BTreeMap<(RuleId, DeviceAddress), BTreeSet<&'static str>>,
    counts: BTreeMap<(RuleId, DeviceAddress), u32>,
    /// What there was before the dump begins.
    earlier: BTreeMap<(RuleId, DeviceAddress), Earlier>,
    omitted: u64,
    suspects: Suspects,
    missed: Missed,
    /// Rules that find nothing, since they do not see enough: why.
    disbelieved: BTreeMap<RuleId, String>,
}

impl Findings {
    /// What each rule can see has changed.
    pub(super) fn set_coverage(&mut self, coverage: &Coverage) {
        self.disbelieved = RuleId::all().filter_map(|rule| Some((rule, coverage.disbelief(rule)?))).collect();
        for &hook in Hook::ALL {
            self.missed.set_uncounted(hook, coverage.is_uncounted(hook));
        }
    }

    fn uncertainty_of(&mut self, subject: Subject, why: String) {
        self.uncertainties.entry((subject.rule, subject.device)).or_default().insert(why);
    }

    /// The rule sees enough to accuse; else it is in doubt.
    fn believes(&mut self, subject: Subject) -> bool {
        let Some(why) = self.disbelieved.get(&subject.rule) else {
            return true;
        };
        self.uncertainties.entry((subject.rule, subject.device)).or_default().insert(why.clone());
        false
    }

    /// Adds a violation that is over as soon as it is seen, or counts it if the same has happened before.
    pub(super) fn happened(&mut self, subject: Subject, id: Id, now_ns: u64, make: impl FnOnce() -> Finding) {
        if self.believes(subject) {
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
                // This time no missing record would explain it.
                self.bases[index].absence = None;
            }
            self.again.insert(index);
            return;
        }
        let mut finding = make();
        finding.end_ns = Some(now_ns);
        self.push(subject, finding, absence, now_ns);
    }

    /// Adds a violation that goes on, unless it is there already.
    pub(super) fn begin(&mut self, subject: Subject, make: impl FnOnce() -> Finding) {
        if !self.is_open(subject) && self.believes(subject) {
            let finding = make();
            let found_ns = finding.start_ns;
            self.push(subject, finding, None, found_ns);
        }
    }

    /// It goes on, believed or not.
    pub(super) fn is_open(&mut self, subject: Subject) -> bool {
        let is_open = self.by_subject.get(&subject).is_some_and(|&index| !self.list[index].is_closed());
        is_open || self.suspects.open(subject).is_some()
    }

    /// Changes one that goes on, without telling it anew.
    pub(super) fn amend(&mut self, subject: Subject, change: impl FnOnce(&mut Finding)) {
        if let Some(&index) = self.by_subject.get(&subject) {
            change(&mut self.list[index]);
        } else if let Some(finding) = self.suspects.open(subject) {
            change(finding);
        }
    }

    /// Changes one, and tells it anew.
    pub(super) fn revise(&mut self, subject: Subject, change: impl FnOnce(&mut Finding)) {
        self.amend(subject, change);
        self.changed.extend(self.by_subject.get(&subject));
    }

    /// What is said of it so far.
    pub(super) fn message(&self, subject: Subject) -> Option<&str> {
        self.by_subject.get(&subject).map(|&index| self.list[index].message.as_str())
    }

    /// It is over: a later one of this subject is another one.
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

    /// The rule cannot be sure about this device.
    pub(super) fn mark_uncertain(&mut self, rule: RuleId, device: DeviceAddress, why: impl Into<String>) {
        self.uncertainties.entry((rule, device)).or_default().insert(why.into());
    }

    /// It holds in part only, where it does.
    pub(super) fn remark(&mut self, rule: RuleId, device: DeviceAddress, what: &'static str) {
        self.remarks.entry((rule, device)).or_default().insert(what);
    }

    /// What it does not hold for.
    pub(super) fn remarks(&self, rule: RuleId, device: DeviceAddress) -> impl Iterator<Item = String> {
        self.remarks.get(&(rule, device)).into_iter().flatten().map(|&what| what.to_owned())
    }

    /// Why it cannot be.
    pub(super) fn uncertainties(&self, rule: RuleId, device: DeviceAddress) -> impl Iterator<Item = &String> {
        self.uncertainties.get(&(rule, device)).into_iter().flatten()
    }

    /// Findings of a rule for a device, those beyond [`MAX_FINDINGS`] among them.
    pub(super) fn count(&self, rule: RuleId, device: DeviceAddress) -> u32 {
        let told = self.counts.get(&(rule, device)).copied().unwrap_or(0);
        let earlier = self.earlier.get(&(rule, device)).filter(|earlier| !earlier.is_told);
        let is_untold = earlier.is_some_and(|earlier| earlier.untold(told) > 0);
        told.saturating_add(is_untold.into())
    }

    /// All that are kept, oldest first.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn all(&self) -> &[Finding] {
        &self.list
    }

    /// Findings of a rule for a device in the whole run, and how many of them go on.
    pub(super) fn counts(&self, rule: RuleId, device: DeviceAddress) -> (u32, u32) {
        let is_open =
            |finding: &&Finding| finding.rule == rule && finding.device == device && !finding.is_closed();
        (self.all_of_run(rule, device), self.list.iter().filter(is_open).count() as u32)
    }

    /// Those beyond [`MAX_FINDINGS`].
    pub(super) const fn omitted(&self) -> u64 {
        self.omitted
    }

    /// What is new or has changed since the last time; `at_end`: all that has not been told.
    pub(super) fn take(&mut self, now_ns: u64, at_end: bool) -> Vec<Finding> {
        if self.changed.is_empty() && self.again.is_empty() {
            return Vec::new();
        }
        let (told, again) = (&self.told, &mut self.again);
        again.retain(|&index| {
            let is_due = at_end || now_ns.saturating_sub(told[index]) >= AGAIN_NS;
            if is_due {
                self.changed.insert(index);
            }
            !is_due
        });
        let changed = std::mem::take(&mut self.changed);
        let mut findings = Vec::with_capacity(changed.len());
        for index in changed {
            self.told[index] = now_ns;
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
        self.told.push(0);
        self.bases.push(Basis { subject, absence, found_ns });
        self.by_subject.insert(subject, index);
        self.changed.insert(index);
    }
}

/// Keeps the first ones and the latest.
fn add_evidence(evidence: &mut Vec<Id>, id: Id) {
    if evidence.last() == Some(&id) {
        return;
    }
    if evidence.len() == MAX_EVIDENCE {
        evidence.pop();
    }
    evidence.push(id);
}
