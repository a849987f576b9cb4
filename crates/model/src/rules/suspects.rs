//! Violations that a missing record would explain, until it is known whether one is missing.

use super::{
    absence::Absence,
    finding::Finding,
    findings::{MAX_FINDINGS, Subject},
    rule::RuleId,
};
use crate::event::{DeviceAddress, Loss};

/// By then the session has reported what the kernel skipped: it reads the counters every second.
const CHECKED_NS: u64 = 1_500_000_000;

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    pub(super) subject: Subject,
    pub(super) finding: Finding,
    pub(super) absence: Absence,
    /// When it was found: the losses up to then decide.
    pub(super) found_ns: u64,
    /// It goes on, or is over as soon as it is seen.
    pub(super) is_lasting: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    list: Vec<Suspect>,
    /// None is older.
    first_ns: u64,
}

impl Suspects {
    /// Adds one. False: there is no room.
    pub(super) fn add(&mut self, suspect: Suspect) -> bool {
        let has_room = self.list.len() < MAX_FINDINGS;
        if has_room {
            let first_ns = self.list.first().map_or(suspect.found_ns, |_| self.first_ns);
            self.first_ns = first_ns.min(suspect.found_ns);
            self.list.push(suspect);
        }
        has_room
    }

    /// The one of this subject that goes on.
    pub(super) fn open(&mut self, subject: Subject) -> Option<&mut Finding> {
        let is_it = |suspect: &&mut Suspect| suspect.subject == subject && suspect.is_lasting;
        self.list
            .iter_mut()
            .filter(is_it)
            .map(|suspect| &mut suspect.finding)
            .find(|finding| !finding.is_closed())
    }

    /// Takes out those that a loss can explain.
    pub(super) fn explained(&mut self, loss: &Loss) -> Vec<Suspect> {
        let is_explained = |suspect: &mut Suspect| suspect.absence.is_covered(loss, suspect.found_ns);
        self.list.extract_if(.., is_explained).collect()
    }

    /// Takes out what was found out to be explained.
    pub(super) fn acquit(&mut self, subject: Subject) {
        self.list.retain(|suspect| suspect.subject != subject);
    }

    /// Takes out those of which all losses are known when the stream has come to `now_ns`, or to its end.
    pub(super) fn due(&mut self, now_ns: u64, at_end: bool) -> Vec<Suspect> {
        let is_early = now_ns.saturating_sub(self.first_ns) < CHECKED_NS;
        if self.list.is_empty() || is_early && !at_end {
            return Vec::new();
        }
        let is_due = |suspect: &mut Suspect| at_end || now_ns.saturating_sub(suspect.found_ns) >= CHECKED_NS;
        let due = self.list.extract_if(.., is_due).collect();
        self.first_ns = self.list.iter().map(|suspect| suspect.found_ns).min().unwrap_or_default();
        due
    }

    /// Some of this rule and device are neither believed nor dropped.
    pub(super) fn has(&self, rule: RuleId, device: DeviceAddress) -> bool {
        self.list.iter().any(|Suspect { subject, .. }| subject.rule == rule && subject.device == device)
    }
}
