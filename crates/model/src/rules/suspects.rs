//! Suspected violations: a missing record would explain each, until it is known whether one is missing.

use super::{
    absence::Absence,
    finding::Finding,
    findings::{MAX_FINDINGS, Subject},
    rule::RuleId,
};
use crate::event::{DeviceAddress, Loss};

/// After this time, skipped runs have been reported: the tracing session reads their counters every second.
const CHECKED_NS: u64 = 1_500_000_000;

/// A suspected violation.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    pub(super) subject: Subject,
    pub(super) finding: Finding,
    pub(super) absence: Absence,
    /// When it was found: losses up to this time may explain it.
    pub(super) found_ns: u64,
    /// True if it is ongoing; false if it is over as soon as it is seen.
    pub(super) is_lasting: bool,
}

/// All suspected violations.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    list: Vec<Suspect>,
    /// No suspect is older than this; after removals it may be earlier than the oldest one.
    first_ns: u64,
}

impl Suspects {
    /// Adds a suspect. Returns false if there is no room.
    pub(super) fn add(&mut self, suspect: Suspect) -> bool {
        let has_room = self.list.len() < MAX_FINDINGS;
        if has_room {
            let first_ns = self.list.first().map_or(suspect.found_ns, |_| self.first_ns);
            self.first_ns = first_ns.min(suspect.found_ns);
            self.list.push(suspect);
        }
        has_room
    }

    /// The ongoing suspect with this subject.
    pub(super) fn open(&mut self, subject: Subject) -> Option<&mut Finding> {
        let is_it = |suspect: &&mut Suspect| suspect.subject == subject && suspect.is_lasting;
        self.list
            .iter_mut()
            .filter(is_it)
            .map(|suspect| &mut suspect.finding)
            .find(|finding| !finding.is_closed())
    }

    /// Removes and returns the suspects that a loss may explain.
    pub(super) fn explained(&mut self, loss: &Loss) -> Vec<Suspect> {
        let is_explained = |suspect: &mut Suspect| suspect.absence.is_covered(loss, suspect.found_ns);
        self.list.extract_if(.., is_explained).collect()
    }

    /// Removes the suspects with this subject.
    pub(super) fn remove(&mut self, subject: Subject) {
        self.list.retain(|suspect| suspect.subject != subject);
    }

    /// Removes and returns the suspects for which all losses are known when the stream has reached `now_ns` or its end.
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

    /// There are suspects of this rule and device.
    pub(super) fn has(&self, rule: RuleId, device: DeviceAddress) -> bool {
        self.list.iter().any(|Suspect { subject, .. }| subject.rule == rule && subject.device == device)
    }
}
