//! The teardown of a device's p2p memory, step by step, as the records tell it.

use p2p_trace_common::Kind;

use super::{device::Device, limit::Limit, range::RangeId, reference::At};
use crate::event::Task;

/// Steps that are kept of one teardown. A real one has about ten, and six per range.
pub const MAX_STEPS: usize = 1024;
/// Entries of the unbind that are kept of one, and returns from it: any number of tasks can ask for what hangs, again and again.
const MAX_ASKED: usize = 64;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which.
    pub kind: Kind,
    /// When.
    pub at: At,
    /// The task that did it. Of a drain it is whoever dropped the last reference, or whatever was interrupted.
    pub task: Option<Task>,
    /// The range, where it is one of a range.
    pub range: Option<RangeId>,
    /// Return addresses, innermost first.
    pub stack: Box<[u64]>,
}

/// How a teardown came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    /// `pci_p2pdma_release` returned: the p2p memory is gone.
    Released,
    /// The driver core was done with the device, and a release of p2p memory was not seen.
    Unbound,
    /// Its end was not seen: the device got p2p memory again, or was found without.
    Unseen,
}

/// Whether the driver core has let go of the device after its p2p memory was released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bracket {
    /// Its memory is not released yet, or it was not seen that the driver core let go of it.
    #[default]
    None,
    /// It is still letting go.
    Open,
    /// It has let go, by this record.
    Closed(At),
    /// It must have let go, and that was not seen.
    Unseen,
}

/// When the armed hooks were attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed {
    /// From.
    pub from_ns: u64,
    /// To; `None`: still.
    pub to_ns: Option<u64>,
}

/// One teardown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Teardown {
    /// The first [`MAX_STEPS`] steps that were seen, in order, but of entries of the unbind and returns from it only the first ones.
    pub steps: Vec<Step>,
    /// Steps beyond those.
    pub omitted: u64,
    /// Some of those were other steps than that somebody asked for the unbind again.
    pub overflowed: bool,
    /// The latest step, where it is not kept.
    beyond: Option<Box<Step>>,
    /// The first time at which the armed hooks were attached during it.
    pub armed: Option<Armed>,
    /// Its beginning was not seen: the first step is in the middle.
    pub began_unseen: bool,
    /// Records that can have been steps of it were lost.
    pub lost_steps: bool,
    /// The driver core can have let go of the device, or begun to do so once more, unseen.
    pub lost_brackets: bool,
    /// How it ended, and by which record.
    pub ended: Option<(Ended, At)>,
    /// What follows the release of the memory: other resources of the device can keep its unbind from ending.
    pub bracket: Bracket,
}

/// A step of a bracket: the driver core lets go of the device, with or without p2p memory.
pub(super) const fn is_bracket(kind: Kind) -> bool {
    is_opening(kind) || is_closing(kind)
}

/// A bracket opens.
pub(crate) const fn is_opening(kind: Kind) -> bool {
    matches!(kind, Kind::Unbind | Kind::DriverRemove | Kind::DevresRelease)
}

/// A bracket closes.
pub(super) const fn is_closing(kind: Kind) -> bool {
    matches!(kind, Kind::Unbound | Kind::DriverRemoved | Kind::DevresReleased)
}

/// A step of any kind.
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
    /// Begins with its first step.
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

    /// Adds a step; tells the limit that is reached by it.
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

    /// Not every step that was made is known.
    #[must_use]
    pub const fn steps_may_be_missing(&self) -> bool {
        self.began_unseen || self.lost_steps
    }

    /// The pool was destroyed, and every step of each range that it came to was seen: none of it was lost.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let released = matches!(self.ended, Some((Ended::Released, _))) && self.step(Kind::Release).is_some();
        let has = |range: RangeId, kind: Kind| self.steps_of(range).any(|step| step.kind == kind);
        let mut ranges = self.steps.iter().filter_map(|step| step.range);
        let all = [Kind::Kill, Kind::Drained, Kind::Remove, Kind::Unmapped];
        released && !self.overflowed && ranges.all(|range| all.iter().all(|&kind| has(range, kind)))
    }

    /// Some of it was within these times.
    #[must_use]
    pub fn overlaps(&self, since_ns: u64, until_ns: u64) -> bool {
        let began = self.started().is_some_and(|at| at.time_ns <= until_ns);
        began && self.ended.is_none_or(|(_, at)| at.time_ns >= since_ns)
    }

    /// When its first step was seen.
    #[must_use]
    pub fn started(&self) -> Option<At> {
        self.steps.first().map(|step| step.at)
    }

    /// The step that it has come to, kept or not.
    #[must_use]
    pub fn last_step(&self) -> Option<&Step> {
        self.beyond.as_deref().or_else(|| self.steps.last())
    }

    /// When it began, where it has not ended.
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

    /// The task that tears down: the one that does what holding the device's lock allows, else the one that asked for
    /// it. Several tasks can ask at once.
    #[must_use]
    pub fn task(&self) -> Option<&Task> {
        let does = |step: &&Step| !matches!(step.kind, Kind::Unbind | Kind::Unbound | Kind::Drained);
        let acting = self.steps.iter().rev().filter(does).find_map(|step| step.task.as_ref());
        acting.or_else(|| self.steps.iter().find_map(|step| step.task.as_ref()))
    }

    /// It has come to p2p memory, beyond the brackets of the driver core.
    #[must_use]
    pub fn touches_memory(&self) -> bool {
        self.steps.iter().any(|step| !is_bracket(step.kind))
    }

    /// The driver core still lets go of the device, beyond the release of its p2p memory.
    pub(super) fn outlasts_release(&self) -> bool {
        self.bracket == Bracket::Open
    }

    /// The p2p memory is released, in the middle of whatever the driver core does.
    pub(super) fn release(&mut self) {
        let did = |kind: Kind| self.step(kind).is_some();
        if self.has_unbind() || did(Kind::DriverRemove) || did(Kind::DevresRelease) {
            self.bracket = Bracket::Open;
        }
    }

    /// The task that tears down was seen to enter the unbind, which others can have asked for as well.
    #[must_use]
    pub fn has_unbind(&self) -> bool {
        let is_its = |step: &Step| step.kind == Kind::Unbind && self.is_by_its_task(step);
        self.steps.iter().any(is_its)
    }

    /// A step behind the release is one of this unbind: it closes something, or somebody else asks for what is being done. Anything
    /// else takes the device's lock first.
    pub(super) fn goes_on_with(&self, step: &Step) -> bool {
        is_closing(step.kind) || step.kind == Kind::Unbind && !self.is_by_its_task(step)
    }

    /// That step ends it.
    pub(super) fn is_closed_by(&self, step: &Step) -> bool {
        let closes = match step.kind {
            Kind::Unbound => true,
            Kind::DevresReleased => !self.has_unbind(),
            _ => false,
        };
        closes && self.is_by_its_task(step)
    }

    /// As far as both tasks are known.
    fn is_by_its_task(&self, step: &Step) -> bool {
        let pid = |task: &Task| task.pid;
        let (its, of_step) = (self.task().map(pid), step.task.as_ref().map(pid));
        its.is_none() || of_step.is_none() || its == of_step
    }

    /// The bracket that `closing` closes was opened in it, as far as its beginning was seen, and not closed.
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
    /// What is wrong with the place of a step among those of its teardown, by what was seen of its range before it. Not
    /// where something that was lost can have been the step that is missing.
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
