//! Teardown steps: which range a step belongs to, and where a teardown begins and ends.

use p2p_trace_common::{Kind, Ring};

use super::{
    change::ChangeKind,
    device::{Baseline, Device, MAX_REFUSED, MAX_TEARDOWNS},
    ledger::Context,
    limit::Limit,
    mappings::Mappings,
    range::{Counted, Range, RangeId, Stage},
    teardown::{self, Armed, Bracket, Ended, Step, Teardown},
    uncertainty::Uncertainty,
};
use crate::event::Event;

impl Device {
    pub(super) fn step(&mut self, event: &Event, armed_since_ns: Option<u64>, context: &mut Context<'_>) {
        if self.is_cleaning(event, context) {
            return;
        }
        if teardown::is_opening(event.kind) && self.adding.is_some_and(|adding| adding.pid == pid(event)) {
            // The add has returned, and its record was not observed.
            self.adding = None;
        }
        let range = match event.pgmap {
            Some(pgmap) => Some(self.current_or_new(pgmap, context)),
            None => self.cleaned_up(event),
        };
        let id = range.and_then(|generation| self.range_step(event, generation, context));
        self.bypassed |= event.pgmap.is_none() && event.pooled == Some(false);
        self.device_step(event, context);
        let is_refused = |id: RangeId| self.ranges.get(id.generation).is_some_and(|range| range.refused);
        if !id.is_some_and(is_refused) {
            self.teardown_step(event, id, armed_since_ns, context);
        }
    }

    /// Whether the event is part of the clean-up of a refused `pci_p2pdma_add_resource`, which kills and
    /// drains a pgmap without ranges (`memunmap_pages` with `nr_range` 0). This is not a teardown.
    fn is_cleaning(&mut self, event: &Event, context: &mut Context<'_>) -> bool {
        let Some(pgmap) = event.pgmap else { return false };
        if event.kind == Kind::Kill && event.count == Some(0) {
            if self.cleaning.len() == MAX_REFUSED {
                self.cleaning.pop_front();
                context.report(ChangeKind::Reached(Limit::RefusedAdds));
            }
            self.cleaning.push_back(pgmap);
            return true;
        }
        let cleaning = self.cleaning.contains(&pgmap);
        if event.kind == Kind::Unmapped || event.kind == Kind::Kill {
            self.cleaning.retain(|&other| other != pgmap);
        }
        cleaning && event.kind != Kind::Kill
    }

    /// The range whose add fails: the adding task revokes the mappings of the device, and up to 6.18 that
    /// event names no range.
    fn cleaned_up(&self, event: &Event) -> Option<u32> {
        let adding = self.adding.filter(|_| event.kind == Kind::UnmapMappings)?;
        (adding.pid == pid(event)).then_some(adding.generation)
    }

    /// Processes a step of one range.
    fn range_step(&mut self, event: &Event, generation: u32, context: &mut Context<'_>) -> Option<RangeId> {
        if event.kind != Kind::Remove {
            self.place(generation, event.range, None, context);
        }
        let held = self.ledger.held(generation);
        let adding = self.adding;
        let range = self.ranges.get_mut(generation)?;
        let span = range.span();
        let at = context.at;
        let step = match event.kind {
            Kind::UnmapMappings => &mut range.steps.unmap_mappings,
            Kind::MemremapRelease => &mut range.steps.memremap_release,
            Kind::Kill => &mut range.steps.killed,
            Kind::Drained => &mut range.steps.drained,
            Kind::Remove => &mut range.steps.removed,
            Kind::Unmapped => &mut range.steps.unmapped,
            _ => return Some(range.id),
        };
        let again = step.is_some();
        *step = step.or(Some(at));
        range.watched |= event.kind == Kind::Remove && event.flag == Some(true);
        range.pooled = event.pooled.or(range.pooled);
        if matches!(event.kind, Kind::UnmapMappings | Kind::MemremapRelease | Kind::Kill) {
            // A task that is adding a range takes these steps only to clean up.
            range.refused |=
                adding.is_some_and(|adding| adding.generation == generation && adding.pid == pid(event));
        }
        if event.kind == Kind::Kill {
            range.counted = Some(Counted {
                at,
                bytes: event.allocated,
                refs: event.refs,
                dead: false,
                known: held.references,
                unknown: self.ledger.unknown(span),
            });
            range.reference = range.reference.or(event.reference);
            if let Some(reference) = range.reference {
                context.range_index.kill(reference, (context.device, generation));
            }
            if again {
                range.more_kills += 1;
                context.report(ChangeKind::KilledAgain(range.id));
            }
        }
        Some(range.id)
    }

    /// Processes a step of the device's pool.
    fn device_step(&mut self, event: &Event, context: &mut Context<'_>) {
        match event.kind {
            Kind::Release => {
                for range in self.ranges.iter_mut().filter(|range| range.stage() < Stage::Released) {
                    range.steps.release = range.steps.release.or(Some(context.at));
                }
                if event.allocated == Some(0) {
                    self.ledger.close_all(context);
                }
            }
            Kind::Released => {
                for range in self.ranges.iter_mut().filter(|range| range.stage() < Stage::Released) {
                    range.steps.released = Some(context.at);
                }
                self.ledger.close_all(context);
                self.mappings = Mappings::default();
                self.attempts.clear();
                self.published = None;
                self.bypassed = false;
                self.baseline = Baseline::PoolGone(context.at);
                self.uncertainties.settle(context.at.time_ns);
            }
            _ => {}
        }
    }

    fn teardown_step(
        &mut self,
        event: &Event,
        range: Option<RangeId>,
        armed_since_ns: Option<u64>,
        context: &mut Context<'_>,
    ) {
        let kind = event.kind;
        let step =
            Step { kind, at: context.at, task: event.task, range, stack: event.stack.as_slice().into() };
        if self.step_behind_release(&step, context) {
            return;
        }
        let Some(pending) = &mut self.teardown else {
            if !teardown::is_closing(kind) {
                let mut teardown = Teardown::new(step);
                teardown.lost_steps = self.uncertainties.rare.is_some();
                teardown.armed = armed_since_ns.map(|from_ns| Armed { from_ns, to_ns: None });
                self.teardown = Some(teardown);
                context.report(ChangeKind::Step);
            } else if let Some(last) = self.teardowns.back_mut().filter(|last| last.is_open(&step)) {
                report_step(last.push(step), context);
            }
            if kind == Kind::Released {
                self.end_teardown(Ended::Released, context);
            }
            return;
        };
        let is_closed = pending.is_closed_by(&step);
        report_step(pending.push(step), context);
        if kind == Kind::Released {
            self.end_teardown(Ended::Released, context);
        } else if is_closed {
            self.end_torn_down(context);
            self.end_teardown(Ended::Unbound, context);
        }
    }

    /// The driver core has let go of the device: ranges in teardown are gone, although their release was not
    /// observed.
    fn end_torn_down(&mut self, context: &mut Context<'_>) {
        let is_going =
            |range: &Range| !range.refused && (range.stage() > Stage::Live || range.steps.release.is_some());
        let going: Vec<_> = self.ranges.not_over().filter(|range| is_going(range)).collect();
        let going: Vec<_> = going.iter().map(|range| range.id.generation).collect();
        for generation in going {
            self.end_unseen(generation, context);
            self.ledger.close_range(generation, context);
        }
    }

    /// Processes a step of the latest teardown, whose memory is released while the driver core has yet to let
    /// go of the device. If the step does not belong to it, the end of that teardown was missed.
    fn step_behind_release(&mut self, step: &Step, context: &mut Context<'_>) -> bool {
        let Some(last) = self.teardowns.back_mut().filter(|last| last.outlasts_release()) else {
            return false;
        };
        if !last.continues_with(step) {
            last.bracket = Bracket::Unseen;
            return false;
        }
        if last.is_closed_by(step) {
            last.bracket = Bracket::Closed(step.at);
        }
        report_step(last.push(step.clone()), context);
        true
    }

    /// Ends the pending teardown. A bracket that did not reach p2p memory is not a teardown: a `remove`
    /// through sysfs has more than one bracket.
    pub(super) fn end_teardown(&mut self, how: Ended, context: &mut Context<'_>) {
        let Some(mut teardown) = self.teardown.take() else {
            return;
        };
        if !teardown.touches_memory() {
            return;
        }
        if how == Ended::Released {
            teardown.release();
        }
        teardown.ended = Some((how, context.at));
        if let Some(armed) = &mut teardown.armed {
            armed.to_ns = armed.to_ns.or(Some(context.at.time_ns));
        }
        if self.teardowns.len() == MAX_TEARDOWNS {
            let forgotten = self.teardowns.pop_front().filter(|teardown| !teardown.is_complete());
            let ended_ns = forgotten.and_then(|teardown| teardown.ended).map(|(_, at)| at.time_ns);
            self.forgotten_ns = self.forgotten_ns.max(ended_ns);
        }
        self.teardowns.push_back(teardown);
        context.report(ChangeKind::TornDown(how));
    }

    /// The driver core must have let go of the device.
    pub(super) fn close_bracket_unseen(&mut self) {
        if let Some(last) = self.teardowns.back_mut().filter(|last| last.outlasts_release()) {
            last.bracket = Bracket::Unseen;
        }
    }

    /// Records of a ring were lost.
    pub(super) fn mark_uncertain(&mut self, ring: Ring, uncertainty: Uncertainty) {
        self.uncertainties.add(ring, uncertainty);
        if ring == Ring::Hot {
            self.lost_until_ns = self.lost_until_ns.max(Some(uncertainty.until_ns));
        }
        if let Some(teardown) = self.unbinding_mut().filter(|_| ring == Ring::Rare) {
            teardown.lost_steps = true;
        }
        if let Some(adding) = self.adding.as_mut().filter(|_| ring == Ring::Rare) {
            adding.may_be_over = true;
        }
    }

    /// All armed hooks have been attached, or are no longer attached.
    pub(super) fn arm(&mut self, since_ns: Option<u64>, now_ns: u64) {
        let Some(teardown) = &mut self.teardown else {
            return;
        };
        match (&mut teardown.armed, since_ns) {
            (None, Some(from_ns)) => teardown.armed = Some(Armed { from_ns, to_ns: None }),
            (Some(armed), None) => armed.to_ns = armed.to_ns.or(Some(now_ns)),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
}

fn report_step(reached: Option<Limit>, context: &mut Context<'_>) {
    if let Some(limit) = reached {
        context.report(ChangeKind::Reached(limit));
    }
    context.report(ChangeKind::Step);
}

fn pid(event: &Event) -> Option<u32> {
    event.task.map(|task| task.pid)
}
