//! The outline of a dump: its times, and the positions of steps and findings. It is collected by a scan to the end.

use super::super::keymap::{Direction, Target};

/// The outline of a run. Events are numbered from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outline {
    /// The time from which the state is known (`CLOCK_BOOTTIME`).
    pub(super) start_ns: u64,
    /// The time of the last record.
    pub(super) end_ns: u64,
    /// The number of events.
    pub(super) events: u64,
    /// Events that are teardown steps.
    pub(super) steps: Vec<u64>,
    /// Events that led to new or changed findings.
    pub(super) findings: Vec<u64>,
    /// Missing or unreadable parts, in sentences.
    pub(super) missing: Vec<String>,
    /// Why the run as a whole is inconclusive, if it is.
    pub(super) uncertainty: Option<String>,
    /// Parts that were given more than once, in sentences.
    pub(super) repeats: Vec<String>,
}

impl Outline {
    /// The position to step to from position `here`, in events; `None` if there is none.
    pub(super) fn place(&self, here: u64, target: Target, direction: Direction) -> Option<u64> {
        let among = |places: &[u64]| match direction {
            Direction::Forward => places.iter().copied().find(|&place| place > here),
            Direction::Back => places.iter().copied().rev().find(|&place| place < here),
        };
        match (target, direction) {
            (Target::Event, Direction::Forward) => Some(here + 1).filter(|&place| place <= self.events),
            (Target::Event, Direction::Back) => here.checked_sub(1),
            (Target::Teardown, _) => among(&self.steps),
            (Target::Finding, _) => among(&self.findings),
        }
    }
}
