//! The input of a rule: the model after an element of the stream, and the element itself.

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

/// Options of the rules.
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

/// The input of a rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct RuleContext<'a> {
    /// The state after the element.
    pub(super) model: &'a Model,
    /// The element, if it is an event of the kernel.
    pub(super) event: Option<&'a Event>,
    /// Which hooks are attached, and which records were lost.
    pub(super) coverage: &'a Coverage,
    pub(super) options: Options,
    pub(super) now_ns: u64,
}

impl<'a> RuleContext<'a> {
    /// The device of a change.
    pub(super) fn device(&self, change: &Change) -> Option<&'a Device> {
        self.model.device(change.device)
    }

    /// The teardown step that this change stands for, with its device.
    pub(super) fn step(&self, change: &Change) -> Option<(&'a Device, &'a Step)> {
        if !matches!(change.kind, ChangeKind::Step) {
            return None;
        }
        let device = self.device(change)?;
        let step = device.teardowns().next_back()?.last_step()?;
        (Some(step.at) == self.at()).then_some((device, step))
    }

    /// As [`Self::step`], for a step of this kind that concerns a range; also returns the range.
    pub(super) fn range_step(
        &self,
        change: &Change,
        kind: Kind,
    ) -> Option<(&'a Device, &'a Step, &'a Range)> {
        let (device, step) = self.step(change).filter(|(_, step)| step.kind == kind)?;
        Some((device, step, device.range(step.range?)?))
    }

    /// Returns true if no teardown step and no creation of a range can have been lost since then. Otherwise the range seen
    /// then may have ended, and later records may be about another range at the same place.
    pub(super) fn is_unbroken(&self, since: Option<At>) -> bool {
        let lost = self.coverage.lost(Ring::Rare);
        since.is_some_and(|since| lost.count == 0 || since.time_ns > lost.until_ns)
    }

    /// Returns true if records of this dying range may be about another range at the same place: the creation of a range
    /// would not be seen, and this one may have ended.
    pub(super) fn can_be_another(&self, range: &Range) -> bool {
        let sees = |hook| self.coverage.sees(hook);
        // The end of `memunmap_pages` is recorded only for a range whose kill was seen.
        let sees_end = range.steps.killed.is_some() && sees(Hook::Kill) && sees(Hook::Unmapped);
        let is_over = range.steps.unmapped.or(range.steps.released).or(range.ended_unseen).is_some();
        let is_there = sees_end && !is_over;
        !sees(Hook::Memremap) && !is_there
    }

    /// The records that would have to be missing since then for another range at the same place to be mistaken for this one.
    pub(super) fn replaced(&self, since_ns: u64) -> Absence {
        const ALL: &[Hook] = &[Hook::Unmapped, Hook::Release, Hook::Released, Hook::Memremap];
        // Either the end of the old range or the creation of the new one is enough to distinguish them.
        if self.coverage.sees(Hook::Memremap) && self.coverage.sees(Hook::Released) {
            Absence::of_several(ALL, since_ns)
        } else {
            Absence::of_one(ALL, since_ns)
        }
    }

    /// The record of the element and its time; `None` for records that user space wrote.
    pub(super) fn at(&self) -> Option<At> {
        self.event.map(|event| At { time_ns: event.time_ns, id: event.id })
    }
}

/// Why a rule is uncertain if a driver has replaced the operations of a range's pages.
pub(super) const BYPASSED: &str =
    "the driver of a range allocates its pages itself: outstanding pages are not known";

/// Why a rule is uncertain where [`RuleContext::can_be_another`] is true.
pub(super) const UNSEEN_CREATION: &str =
    "without hook memremap, a new range at the same place would not be noticed";

/// Returns true for an allocation, or for a reference that ended by a record that was seen. There can be a million of these
/// per second, and no rule evaluates them as a change: rules on allocations look at the event, and rules on frees at
/// [`ChangeKind::Freed`].
pub(super) const fn is_routine(change: &ChangeKind) -> bool {
    match change {
        ChangeKind::Allocated(_) | ChangeKind::Linked(_) => true,
        ChangeKind::Closed(closed) => closed.by.is_seen(),
        _ => false,
    }
}

/// Which frees a rule evaluates. There can be a million frees per second, normally all of them ordinary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Frees {
    /// None.
    None,
    /// Frees of anything other than exactly one reference's memory.
    Unusual,
    /// All.
    All,
}

impl Frees {
    /// The narrowest class that includes this free.
    pub(super) const fn of(was: &FreeMatch) -> Self {
        match was {
            FreeMatch::Exact(_) | FreeMatch::OfScatterList(_) => Self::All,
            _ => Self::Unusual,
        }
    }
}

/// A rule that evaluates a run.
pub(super) trait Rule: std::fmt::Debug + Send {
    /// Evaluates one change that the latest element made, unless it [is routine](is_routine).
    fn change(&mut self, _context: &RuleContext<'_>, _change: &Change, _findings: &mut Findings) {}

    /// Which [`ChangeKind::Freed`] changes are passed to [`Rule::change`].
    fn frees(&self) -> Frees {
        Frees::None
    }

    /// The kinds of events that are passed to [`Rule::event`].
    fn kinds(&self) -> &'static [Kind] {
        &[]
    }

    /// Evaluates the latest element, an event of this device and of one of [`Rule::kinds`]. The model has applied it already.
    fn event(
        &mut self,
        _context: &RuleContext<'_>,
        _device: &Device,
        _event: &Event,
        _findings: &mut Findings,
    ) {
    }

    /// The open question for a device because of which the rule cannot hold if the run ends here, with its reason.
    fn open(&self, _device: DeviceAddress) -> Option<(RuleId, &'static str)> {
        None
    }

    /// Evaluates the current state: called as time passes, and after every rare event.
    fn pass(&mut self, _context: &RuleContext<'_>, _device: &Device, _findings: &mut Findings) {}
}

/// A finding with its record as the only evidence, to be filled in.
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
    /// Sets the range that the finding is about.
    pub(super) const fn about(mut self, range: &Range) -> Self {
        self.range = range.physical;
        self.pgmap = match range.id.pgmap {
            NO_PGMAP => None,
            pgmap => Some(pgmap),
        };
        self
    }

    /// Adds these records as evidence, in order of time; `None` is skipped.
    pub(super) fn shown_by(mut self, records: impl IntoIterator<Item = Option<At>>) -> Self {
        let mut all: Vec<At> = records.into_iter().flatten().collect();
        all.sort_by_key(|at| (at.time_ns, at.id));
        let mut ids: Vec<Id> = all.into_iter().map(|at| at.id).collect();
        ids.dedup();
        // The finding's own record comes last, unless it is among these.
        self.evidence.retain(|id| !ids.contains(id));
        ids.append(&mut self.evidence);
        self.evidence = ids;
        self
    }

    /// Sets the holders of outstanding memory.
    pub(super) fn held_by(mut self, holders: Holders) -> Self {
        self.holders = holders.named;
        self.holders_omitted = holders.omitted;
        self
    }

    /// Sets the stack of the task that caused it.
    pub(super) fn in_stack(mut self, stack: &[u64]) -> Self {
        self.stack = stack.to_vec();
        self
    }
}

/// The subject of violations that are distinguished by range.
pub(super) const fn by_range(rule: RuleId, device: DeviceAddress, range: &Range) -> Subject {
    Subject { rule, device, case: range.id.generation as u64, pid: None }
}
