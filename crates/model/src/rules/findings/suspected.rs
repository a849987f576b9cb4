//! Findings that a missing record would explain: suspected, confirmed, withdrawn.

use super::{Basis, Findings, Subject};
use crate::{
    event::{DeviceAddress, Id, Loss},
    rules::{
        absence::{Absence, explained_by},
        finding::Finding,
        rule::RuleId,
        suspects::Suspect,
    },
};

impl Findings {
    /// Handles a loss: drops the suspects that it would explain, and withdraws such findings.
    pub(in crate::rules) fn lose(&mut self, loss: &Loss, now_ns: u64) {
        self.missed.add(loss);
        for suspect in self.suspects.explained(loss) {
            self.uncertainty_of(suspect.subject, explained_by(loss, suspect.absence));
        }
        for index in 0..self.list.len() {
            let Basis { absence, found_ns, .. } = self.bases[index];
            let covered = absence.filter(|absence| absence.is_covered(loss, found_ns));
            if let Some(absence) = covered {
                self.withdraw_at(index, explained_by(loss, absence), now_ns);
            }
        }
    }

    /// Withdraws a violation that a later fact refutes.
    pub(in crate::rules) fn withdraw(&mut self, subject: Subject, why: &str, now_ns: u64) {
        self.suspects.remove(subject);
        for index in 0..self.list.len() {
            if self.bases[index].subject == subject {
                self.withdraw_at(index, why.to_owned(), now_ns);
            }
        }
    }

    fn withdraw_at(&mut self, index: usize, why: String, now_ns: u64) {
        let finding = &mut self.list[index];
        if finding.withdrawn.is_some() {
            return;
        }
        finding.withdrawn = Some(why.clone());
        finding.end_ns = finding.end_ns.or(Some(now_ns));
        self.changed.insert(index);
        let subject = self.bases[index].subject;
        if self.by_subject.get(&subject) == Some(&index) {
            self.by_subject.remove(&subject);
        }
        if let Some(count) = self.counts.get_mut(&(subject.rule, subject.device)) {
            *count = count.saturating_sub(1);
        }
        self.uncertainty_of(subject, why);
    }

    /// As [`Self::happened`], for a violation that several missing records would explain: it is reported at once, and withdrawn
    /// if the records turn out to be missing.
    pub(in crate::rules) fn happened_unless(
        &mut self,
        absence: Absence,
        subject: Subject,
        id: Id,
        now_ns: u64,
        make: impl FnOnce() -> Finding,
    ) {
        if self.is_unexplained(subject, absence) {
            self.happened_at(subject, id, now_ns, Some(absence), make);
        }
    }

    /// Returns true if no known loss explains the violation, and the rule sees enough; otherwise marks the rule uncertain.
    fn is_unexplained(&mut self, subject: Subject, absence: Absence) -> bool {
        if !self.can_confirm(subject) {
            return false;
        }
        let why = self.missed.explains(absence);
        let is_unexplained = why.is_none();
        if let Some(why) = why {
            self.uncertainty_of(subject, why);
        }
        is_unexplained
    }

    /// Adds a violation that a missing record would explain. It is confirmed once it is known that no such record was lost up
    /// to now, because skipped runs are reported with a delay.
    pub(in crate::rules) fn suspect(
        &mut self,
        subject: Subject,
        finding: Finding,
        absence: Absence,
        now_ns: u64,
    ) {
        self.suspect_at(subject, absence, now_ns, false, || finding);
    }

    /// As [`Self::suspect`], for an ongoing violation, unless it is known already.
    pub(in crate::rules) fn suspect_lasting(
        &mut self,
        subject: Subject,
        absence: Absence,
        now_ns: u64,
        make: impl FnOnce() -> Finding,
    ) {
        if !self.is_open(subject) {
            self.suspect_at(subject, absence, now_ns, true, make);
        }
    }

    /// Adds a violation that a later fact proves, whether it was suspected or not.
    pub(in crate::rules) fn confirm(&mut self, subject: Subject, finding: Finding) {
        self.suspects.remove(subject);
        if let Some(&id) = finding.evidence.last().filter(|_| !self.by_subject.contains_key(&subject)) {
            self.happened(subject, id, finding.start_ns, || finding);
        }
    }

    fn suspect_at(
        &mut self,
        subject: Subject,
        absence: Absence,
        found_ns: u64,
        is_lasting: bool,
        make: impl FnOnce() -> Finding,
    ) {
        if self.is_unexplained(subject, absence)
            && !self.suspects.add(Suspect { subject, finding: make(), absence, found_ns, is_lasting })
        {
            self.omitted += 1;
        }
    }

    /// Confirms the suspects for which all losses are known, when the stream has reached `now_ns` or its end.
    pub(in crate::rules) fn settle(&mut self, now_ns: u64, at_end: bool) {
        for suspect in self.suspects.due(now_ns, at_end) {
            let Suspect { subject, finding, absence, found_ns, is_lasting } = suspect;
            if is_lasting {
                let is_over = finding.is_closed();
                self.push(subject, finding, Some(absence), found_ns);
                if is_over {
                    self.by_subject.remove(&subject);
                }
            } else if let Some(&id) = finding.evidence.last() {
                let absence = Some(absence);
                self.happened_at(subject, id, found_ns, absence, || finding);
            }
        }
    }

    /// Some suspects of this rule and device are neither confirmed nor dropped.
    pub(in crate::rules) fn has_suspects(&self, rule: RuleId, device: DeviceAddress) -> bool {
        self.suspects.has(rule, device)
    }
}
