//! What a rule is shown: the model after an element of the stream, and what that element was.

use std::time::Duration;

use p2p_trace_common::{Hook, Kind, Ring};

use super::{
    absence::Absence,
    coverage::Coverage,
    finding::Finding,
    findings::{Findings, Subject},
    rule::RuleId,
};
use crate::{
    event::{DeviceAddress, Event, Id},
    holders::Holders,
    state::{At, Change, ChangeKind, Device, FreeMatch, Model, NO_PGMAP, Range, Step},
};

/// What can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long a drain or an unbind may take.
    pub stall_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { stall_after: Duration::from_secs(5) }
    }
}

impl Options {
    /// [`Options::stall_after`] in nanoseconds.
    pub(super) fn stall_after_ns(self) -> u64 {
        u64::try_from(self.stall_after.as_nanos()).unwrap_or(u64::MAX)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct RuleContext<'a> {
    /// What is true after the element.
    pub(super) model: &'a Model,
    /// The element, where it is an event of the kernel.
    pub(super) event: Option<&'a Event>,
    /// What can be seen.
    pub(super) coverage: &'a Coverage,
    pub(super) options: Options,
    pub(super) now_ns: u64,
}

impl<'a> RuleContext<'a> {
    /// The device of a change.
    pub(super) fn device(&self, change: &Change) -> Option<&'a Device> {
        self.model.device(change.device)
    }

    /// The step of a teardown that this change is, with its device.
    pub(super) fn step(&self, change: &Change) -> Option<(&'a Device, &'a Step)> {
        if !matches!(change.kind, ChangeKind::Step) {
            return None;
        }
        let device = self.device(change)?;
        let step = device.teardowns().next_back()?.last_step()?;
        (Some(step.at) == self.at()).then_some((device, step))
    }

    /// The same, where it is of that kind and of a range: which one.
    pub(super) fn range_step(
        &self,
        change: &Change,
        kind: Kind,
    ) -> Option<(&'a Device, &'a Step, &'a Range)> {
        let (device, step) = self.step(change).filter(|(_, step)| step.kind == kind)?;
        Some((device, step, device.range(step.range?)?))
    }

    /// No step of a teardown, and no making of a range, can have been lost since then. Else what was seen then may be over: what
    /// follows can be about another range in the same place.
    pub(super) fn is_unbroken(&self, since: Option<At>) -> bool {
        let lost = self.coverage.lost(Ring::Rare);
        since.is_some_and(|since| lost.count == 0 || since.time_ns > lost.until_ns)
    }

    /// What is seen of a range that is dying can be of another one in the same place: the making of one would not be seen, and this
    /// one may have come to its end.
    pub(super) fn can_be_another(&self, range: &Range) -> bool {
        let sees = |hook| self.coverage.sees(hook);
        // The end of `memunmap_pages` is told of the range whose kill was seen.
        let sees_end = range.steps.killed.is_some() && sees(Hook::Kill) && sees(Hook::Unmapped);
        let is_over = range.steps.unmapped.or(range.steps.released).or(range.ended_unseen).is_some();
        let is_there = sees_end && !is_over;
        !sees(Hook::Memremap) && !is_there
    }

    /// What would have to be missed since then for another range to be taken for this one, in the same place.
    pub(super) fn replaced(&self, since_ns: u64) -> Absence {
        const ALL: &[Hook] = &[Hook::Unmapped, Hook::Release, Hook::Released, Hook::Memremap];
        // The end of the one and the making of the other are each enough to tell them apart.
        if self.coverage.sees(Hook::Memremap) && self.coverage.sees(Hook::Released) {
            Absence::of_several(ALL, since_ns)
        } else {
            Absence::of_one(ALL, since_ns)
        }
    }

    /// The record of the element, and when it was; of what user space wrote there is none.
    pub(super) fn at(&self) -> Option<At> {
        self.event.map(|event| At { time_ns: event.time_ns, id: event.id })
    }
}

/// Where a driver has replaced the operations of a range's pages.
pub(super) const BYPASSED: &str =
    "the pages of a range are handed out by its driver itself: which are out is not known";

/// Why a rule is unsure where [`RuleContext::can_be_another`].
pub(super) const UNSEEN_MAKING: &str =
    "without memremap it is not seen whether there is a new range in the same place";

/// Memory was taken, or a reference ended by what was seen. There can be a million of these a second, and no rule judges
/// them by the change: those for which it matters where memory is taken look at the event, those that judge frees at
/// [`ChangeKind::Freed`].
pub(super) const fn is_routine(what: &ChangeKind) -> bool {
    match what {
        ChangeKind::Allocated(_) | ChangeKind::Linked(_) => true,
        ChangeKind::Closed(closed) => closed.by.is_seen(),
        _ => false,
    }
}

/// Which frees a rule judges by what they were. There can be a million a second, of which all are usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Frees {
    /// None.
    None,
    /// Those that gave back something else than what one reference had taken.
    Unusual,
    /// All.
    All,
}

impl Frees {
    /// The least of which this is one.
    pub(super) const fn of(was: &FreeMatch) -> Self {
        match was {
            FreeMatch::Exact(_) | FreeMatch::OfScatterList(_) => Self::All,
            _ => Self::Unusual,
        }
    }
}

/// A rule at work.
pub(super) trait Rule: std::fmt::Debug + Send {
    /// Judges one thing that the latest element changed, unless it [is routine](is_routine).
    fn change(&mut self, _context: &RuleContext<'_>, _change: &Change, _findings: &mut Findings) {}

    /// Which [`ChangeKind::Freed`] it judges by [`Rule::change`]: it is shown no others.
    fn frees(&self) -> Frees {
        Frees::None
    }

    /// The kinds of events that [`Rule::event`] judges: it is shown no others.
    fn kinds(&self) -> &'static [Kind] {
        &[]
    }

    /// Judges the latest element, an event of this device and of one of these kinds. The model has taken it in.
    fn event(
        &mut self,
        _context: &RuleContext<'_>,
        _device: &Device,
        _event: &Event,
        _findings: &mut Findings,
    ) {
    }

    /// What is open for a device, so that the rule cannot say that it holds if the run ends here.
    fn open(&self, _device: DeviceAddress) -> Option<(RuleId, &'static str)> {
        None
    }

    /// Judges what is true now: called when time has passed, and after every rare event.
    fn pass(&mut self, _context: &RuleContext<'_>, _device: &Device, _findings: &mut Findings) {}
}

/// A finding to fill in, at a time.
pub(super) fn blank(
    rule: RuleId,
    device: DeviceAddress,
    at: At,
    message: String,
    advice: &'static str,
) -> Finding {
    Finding { evidence: vec![at.id], ..Finding::new(rule, device, at.time_ns, message, advice) }
}

impl Finding {
    /// It is about this range.
    pub(super) const fn about(mut self, range: &Range) -> Self {
        self.range = range.physical;
        self.pgmap = match range.id.pgmap {
            NO_PGMAP => None,
            pgmap => Some(pgmap),
        };
        self
    }

    /// These records show it, too; in order of time, and those that are absent are left out.
    pub(super) fn shown_by(mut self, records: impl IntoIterator<Item = Option<At>>) -> Self {
        let mut all: Vec<At> = records.into_iter().flatten().collect();
        all.sort_by_key(|at| (at.time_ns, at.id));
        let mut ids: Vec<Id> = all.into_iter().map(|at| at.id).collect();
        ids.dedup();
        // Its own record comes last, unless it is one of them.
        self.evidence.retain(|id| !ids.contains(id));
        ids.append(&mut self.evidence);
        self.evidence = ids;
        self
    }

    /// These were out.
    pub(super) fn held_by(mut self, holders: Holders) -> Self {
        self.holders = holders.named;
        self.holders_omitted = holders.omitted;
        self
    }

    /// The stack of whoever did it.
    pub(super) fn in_stack(mut self, stack: &[u64]) -> Self {
        self.stack = stack.to_vec();
        self
    }
}

/// What makes violations of a rule the same, by range.
pub(super) const fn by_range(rule: RuleId, device: DeviceAddress, range: &Range) -> Subject {
    Subject { rule, device, case: range.id.generation as u64, pid: None }
}
