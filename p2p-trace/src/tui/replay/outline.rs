//! What there is in a dump, and where: found by reading it once to its end.

use super::super::keymap::{Direction, Target};

/// Events are counted from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outline {
    /// From here on it is known what was true, `CLOCK_BOOTTIME`.
    pub(super) start_ns: u64,
    /// Time of the last record.
    pub(super) end_ns: u64,
    /// How many there are.
    pub(super) events: u64,
    /// Events that are steps of a teardown.
    pub(super) steps: Vec<u64>,
    /// Events after which something new was found.
    pub(super) findings: Vec<u64>,
    /// What is missing or cannot be read, in sentences.
    pub(super) lacks: Vec<String>,
    /// Why nothing can be said of the run, whatever is shown of it.
    pub(super) uncertainty: Option<String>,
    /// What was given more than once, in sentences.
    pub(super) repeats: Vec<String>,
}

impl Outline {
    /// The place to go to from behind so many events; `None`: there is none.
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
