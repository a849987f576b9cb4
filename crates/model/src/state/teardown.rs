//! The teardown of a device's p2p memory, step by step, as recorded.

use p2p_trace_common::Kind;

use super::{device::Device, limit::Limit, range::RangeId, reference::At};
use crate::event::Task;

/// Limit on the steps kept of one teardown. A real one has about ten, and six per range.
pub const MAX_STEPS: usize = 1024;
/// Limit on the unbind entries and returns kept of one teardown: any number of tasks may repeatedly request
/// an unbind that hangs.
const MAX_ASKED: usize = 64;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The kind of step.
    pub kind: Kind,
    /// The time and record.
    pub at: At,
    /// The task that took the step. For a drain, this is the task that dropped the last reference, or the one
    /// that was interrupted.
    pub task: Option<Task>,
    /// The range, for a step of one range.
    pub range: Option<RangeId>,
    /// Return addresses, innermost first.
    pub stack: Box<[u64]>,
}

/// How a teardown ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    /// `pci_p2pdma_release` returned: the p2p memory is gone.
    Released,
    /// The driver core finished with the device, and no release of p2p memory was observed.
    Unbound,
    /// Not observed: the device got p2p memory again, or was found without it.
    Unseen,
}

/// Whether the driver core has let go of the device after its p2p memory was released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bracket {
    /// The memory is not released yet, or the driver core was not observed to let go of the device.
    #[default]
    None,
    /// The driver core is still letting go.
    Open,
    /// The driver core has let go, by this record.
    Closed(At),
    /// The driver core must have let go, which was not observed.
    Unseen,
}

/// When the armed hooks were attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed {
    /// Start.
    pub from_ns: u64,
    /// End. `None` if they are still attached.
    pub to_ns: Option<u64>,
}

/// One teardown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Teardown {
    /// The first [`MAX_STEPS`] observed steps, in order. Of unbind entries and returns, only the first few
    /// are kept.
    pub steps: Vec<Step>,
    /// Number of steps that are not kept.
    pub omitted: u64,
    /// Steps other than repeated unbind requests were not kept.
    pub overflowed: bool,
    /// The latest step, if it is not in `steps`.
    beyond: Option<Box<Step>>,
    /// The first time at which the armed hooks were attached during it.
    pub armed: Option<Armed>,
    /// Its start was not observed: the first step is in the middle.
    pub began_unseen: bool,
    /// Lost records may have been steps of it.
    pub lost_steps: bool,
    /// The driver core may have let go of the device, or started to do so again, without a record.
    pub lost_brackets: bool,
    /// How it ended, and by which record.
    pub ended: Option<(Ended, At)>,
    /// The state after the release of the memory: other resources of the device may keep its unbind from
    /// ending.
    pub bracket: Bracket,
}

/// Whether a step opens or closes a bracket: the driver core lets go of the device, with or without p2p
/// memory.
pub(super) const fn is_bracket(kind: Kind) -> bool {
    is_opening(kind) || is_closing(kind)
}

/// Whether a step opens a bracket.
pub(crate) const fn is_opening(kind: Kind) -> bool {
    matches!(kind, Kind::Unbind | Kind::DriverRemove | Kind::DevresRelease)
}

/// Whether a step closes a bracket.
pub(super) const fn is_closing(kind: Kind) -> bool {
    matches!(kind, Kind::Unbound | Kind::DriverRemoved | Kind::DevresReleased)
}

/// Whether a kind is a step.
pub(super) const fn is_step(kind: Kind) -> bool {
    is_bracket(kind)
        || matches!(
            kind,
            Kind::UnmapMappings
                | Kind::MemremapRelease
                | Kind::Kill
                | Kind::Drained
                | Kind::Remove
                | Kind::Unmapped
                | Kind::Release
                | Kind::Released
        )
}

impl Teardown {
    /// Creates a teardown with its first step.
    pub(super) fn new(step: Step) -> Self {
        Self {
            omitted: 0,
            overflowed: false,
            beyond: None,
            armed: None,
            began_unseen: !is_opening(step.kind),
            lost_steps: false,
            lost_brackets: false,
            ended: None,
            bracket: Bracket::None,
            steps: vec![step],
        }
    }

    /// Adds a step. Returns the limit that was reached, if any.
    pub(super) fn push(&mut self, step: Step) -> Option<Limit> {
        let is_asked = matches!(step.kind, Kind::Unbind | Kind::Unbound);
        let is_repeated = is_asked && {
            let same = self.steps.iter().filter(|other| other.kind == step.kind);
            same.count() >= MAX_ASKED
        };
        if !is_repeated && self.steps.len() < MAX_STEPS {
            self.beyond = None;
            self.steps.push(step);
            return None;
        }
        self.omitted += 1;
        self.overflowed |= !is_repeated;
        self.beyond = Some(Box::new(step));
        (!is_repeated).then_some(Limit::Steps)
    }

    /// Whether some steps may be unknown.
    #[must_use]
    pub const fn steps_may_be_missing(&self) -> bool {
        self.began_unseen || self.lost_steps
    }

    /// Whether the pool was destroyed and every step of each affected range was observed, so that none was
    /// lost.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let released = matches!(self.ended, Some((Ended::Released, _))) && self.step(Kind::Release).is_some();
        let has = |range: RangeId, kind: Kind| self.steps_of(range).any(|step| step.kind == kind);
        let mut ranges = self.steps.iter().filter_map(|step| step.range);
        let all = [Kind::Kill, Kind::Drained, Kind::Remove, Kind::Unmapped];
        released && !self.overflowed && ranges.all(|range| all.iter().all(|&kind| has(range, kind)))
    }

    /// Whether any part of it was between these times.
    #[must_use]
    pub fn overlaps(&self, since_ns: u64, until_ns: u64) -> bool {
        let began = self.started().is_some_and(|at| at.time_ns <= until_ns);
        began && self.ended.is_none_or(|(_, at)| at.time_ns >= since_ns)
    }

    /// When its first step was observed.
    #[must_use]
    pub fn started(&self) -> Option<At> {
        self.steps.first().map(|step| step.at)
    }

    /// The latest step, whether kept or not.
    #[must_use]
    pub fn last_step(&self) -> Option<&Step> {
        self.beyond.as_deref().or_else(|| self.steps.last())
    }

    /// Its start, if it has not ended.
    #[must_use]
    pub fn pending_since_ns(&self) -> Option<u64> {
        let pending = self.ended.is_none();
        self.started().filter(|_| pending).map(|at| at.time_ns)
    }

    /// The first step of a kind.
    #[must_use]
    pub fn step(&self, kind: Kind) -> Option<&Step> {
        self.steps.iter().find(|step| step.kind == kind)
    }

    /// The steps of a range.
    pub fn steps_of(&self, range: RangeId) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(move |step| step.range == Some(range))
    }

    /// The task that unbinds: the one that takes the steps for which the device's lock must be held;
    /// otherwise the one that requested the unbind. Several tasks can request it at once.
    #[must_use]
    pub fn task(&self) -> Option<&Task> {
        let does = |step: &&Step| !matches!(step.kind, Kind::Unbind | Kind::Unbound | Kind::Drained);
        let acting = self.steps.iter().rev().filter(does).find_map(|step| step.task.as_ref());
        acting.or_else(|| self.steps.iter().find_map(|step| step.task.as_ref()))
    }

    /// Whether it has reached p2p memory, beyond the brackets of the driver core.
    #[must_use]
    pub fn touches_memory(&self) -> bool {
        self.steps.iter().any(|step| !is_bracket(step.kind))
    }

    /// Whether the driver core is still letting go of the device after the release of its p2p memory.
    pub(super) fn outlasts_release(&self) -> bool {
        self.bracket == Bracket::Open
    }

    /// The p2p memory is released, within an unbind by the driver core.
    pub(super) fn release(&mut self) {
        let did = |kind: Kind| self.step(kind).is_some();
        if self.has_unbind() || did(Kind::DriverRemove) || did(Kind::DevresRelease) {
            self.bracket = Bracket::Open;
        }
    }

    /// Whether the task that unbinds was observed to enter the unbind, which other tasks may have requested
    /// as well.
    #[must_use]
    pub fn has_unbind(&self) -> bool {
        let is_its = |step: &Step| step.kind == Kind::Unbind && self.is_by_its_task(step);
        self.steps.iter().any(is_its)
    }

    /// Whether a step after the release belongs to this unbind: it closes a bracket, or another task requests
    /// the same unbind. Any other step needs the device's lock first.
    pub(super) fn continues_with(&self, step: &Step) -> bool {
        is_closing(step.kind) || step.kind == Kind::Unbind && !self.is_by_its_task(step)
    }

    /// Whether the step ends it.
    pub(super) fn is_closed_by(&self, step: &Step) -> bool {
        let closes = match step.kind {
            Kind::Unbound => true,
            Kind::DevresReleased => !self.has_unbind(),
            _ => false,
        };
        closes && self.is_by_its_task(step)
    }

    /// Compares the tasks, as far as both are known.
    fn is_by_its_task(&self, step: &Step) -> bool {
        let pid = |task: &Task| task.pid;
        let (its, of_step) = (self.task().map(pid), step.task.as_ref().map(pid));
        its.is_none() || of_step.is_none() || its == of_step
    }

    /// Whether the bracket that `closing` closes was opened in this teardown, as far as its start was
    /// observed, and not closed.
    pub(super) fn is_open(&self, closing: &Step) -> bool {
        let opening = match closing.kind {
            Kind::Unbound => Kind::Unbind,
            Kind::DriverRemoved => Kind::DriverRemove,
            _ => Kind::DevresRelease,
        };
        let count = |kind: Kind| self.steps.iter().filter(|step| step.kind == kind).count();
        let (opened, closed) = (count(opening), count(closing.kind));
        let same_task = self.task().map(|task| task.pid) == closing.task.map(|task| task.pid);
        opened > closed || self.began_unseen && same_task && opened + closed == 0
    }
}

impl Device {
    /// The problem with the position of a step in its teardown, given the steps of its range observed before
    /// it. `None` if the missing step may have been lost.
    #[must_use]
    pub fn misplaced(&self, teardown: &Teardown, step: usize) -> Option<&'static str> {
        let at = teardown.steps.get(step)?;
        let before = |kind: Kind| {
            let same = |other: &Step| other.kind == kind && other.range == at.range;
            teardown.steps.iter().take(step).any(same)
        };
        let is_drained = || {
            let drained = at.range.and_then(|range| self.range(range)?.steps.drained);
            drained.is_some_and(|drained| drained.time_ns <= at.at.time_ns)
        };
        match at.kind {
            Kind::Remove if !before(Kind::Drained) && !is_drained() && !teardown.steps_may_be_missing() => {
                Some("BEFORE its drain")
            }
            Kind::Drained if before(Kind::Remove) => Some("AFTER the removal"),
            Kind::Kill if before(Kind::Kill) => Some("killed AGAIN"),
            _ => None,
        }
    }
}
