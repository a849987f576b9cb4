//! Applies each event to its device.

use p2p_trace_common::Kind;

use super::{
    change::ChangeKind,
    device::{Adding, Device},
    failed_mmap::FailedMmap,
    ledger::{Context, Held},
    limit::Limit,
    range::{RangeId, Stage},
    reference::NO_RANGE,
    teardown::{self, Ended},
};
use crate::event::{self, Event};

impl Device {
    /// Applies an event of this device.
    pub(super) fn event(&mut self, event: &Event, armed_since_ns: Option<u64>, context: &mut Context<'_>) {
        match event.kind {
            Kind::Alloc => {
                self.attempt_returned(event, context);
                if !event.failed {
                    self.ledger.alloc(event, &self.ranges, context);
                }
            }
            Kind::AllocAttempt => self.attempt(event, context),
            Kind::Free => self.ledger.free(event, context),
            Kind::SglAlloc if !event.failed => self.ledger.alloc_list(event, context),
            Kind::SglFree => self.ledger.free_list(event, context),
            Kind::Mmap => {
                self.attempt_returned(event, context);
                self.mmap(event, context);
            }
            Kind::PageFree => self.ledger.free_pages(event, context),
            // Uses that the armed hooks observe are observed by other hooks, too.
            Kind::Map if !event.armed => self.mappings.map(event, context.at),
            Kind::Unmap if !event.armed => self.mappings.unmap(event, context.at),
            Kind::Publish => self.published = event.flag.map(|flag| (flag, context.at)),
            Kind::Memremap => self.memremap(event, context),
            Kind::AddResource => self.add_resource(event, context),
            Kind::RangeState => self.range_state(event, context),
            Kind::DeviceState => self.device_state(event, context),
            kind if teardown::is_step(kind) => self.step(event, armed_since_ns, context),
            _ => {}
        }
    }

    fn mmap(&mut self, event: &Event, context: &mut Context<'_>) {
        self.mapped_ns = Some(context.at.time_ns);
        let failed = FailedMmap::of(event, context.at);
        if event.count.is_none_or(|pages| pages == 0) && failed.is_none() {
            return;
        }
        let generation = event.pgmap.map(|pgmap| self.current_or_new(pgmap, context));
        let range = generation.and_then(|generation| self.ranges.get_mut(generation));
        if let Some((range, failed)) = range.zip(failed)
            && !range.failed_mmaps.add(failed)
        {
            context.report(ChangeKind::Reached(Limit::FailedMmaps));
        }
        let range = generation.and_then(|generation| self.ranges.get(generation));
        let physical = range.and_then(|range| range.physical);
        if let Some((page, physical)) = event.page.zip(physical) {
            context.geometry.learn_page(page, physical);
        }
        self.ledger.mmap(event, generation.unwrap_or(NO_RANGE), context);
    }

    /// The generation of this pgmap's range in use; a new range if none is known.
    pub(super) fn current_or_new(&mut self, pgmap: u64, context: &mut Context<'_>) -> u32 {
        match self.ranges.current(pgmap) {
            Some(range) => range.id.generation,
            None => self.new_range(pgmap, context),
        }
    }

    pub(super) fn new_range(&mut self, pgmap: u64, context: &mut Context<'_>) -> u32 {
        let ledger = &self.ledger;
        if self.ranges.prune(|generation| ledger.held(generation) != Held::default()) {
            context.report(ChangeKind::Reached(Limit::EndedRanges));
        }
        if self.ranges.make_room() {
            context.report(ChangeKind::Reached(Limit::Ranges));
        }
        let id = self.ranges.add(pgmap, context.at);
        context.range_index.own(pgmap, context.device);
        context.report(ChangeKind::RangeSeen(id));
        id.generation
    }

    /// Records the location of a range, as far as a record has it.
    pub(super) fn place(
        &mut self,
        generation: u32,
        physical: Option<event::Range>,
        base: Option<u64>,
        context: &mut Context<'_>,
    ) {
        let Some(range) = self.ranges.get_mut(generation) else {
            return;
        };
        let (before, was_placed) = (range.span(), range.physical.is_some());
        range.place(physical, base, context.geometry);
        let (physical, span) = (range.physical.filter(|_| !was_placed), range.span());
        if let Some(physical) = physical {
            let is_over = |other| self.ranges.get(other).is_none_or(|other| other.stage() == Stage::Released);
            context.range_index.place(physical, (context.device, generation), is_over);
        }
        if let Some(span) = span.filter(|_| before.is_none()) {
            self.ledger.place(&span, &self.ranges);
        }
    }

    /// A range is over, although its end was not observed.
    pub(super) fn end_unseen(&mut self, generation: u32, context: &mut Context<'_>) {
        let Some(range) = self.ranges.get_mut(generation) else {
            return;
        };
        if range.stage() < Stage::Released {
            range.ended_unseen = Some(context.at);
            let id = range.id;
            context.report(ChangeKind::RangeEndedUnseen(id));
        }
    }

    /// `devm_memremap_pages` returned. Its caller is `pci_p2pdma_add_resource`, which returns later.
    fn memremap(&mut self, event: &Event, context: &mut Context<'_>) {
        let Some(pgmap) = event.pgmap else { return };
        self.cleaning.retain(|&cleaning| cleaning != pgmap);
        let current = self.ranges.current(pgmap).map(|range| range.id.generation);
        if event.failed {
            if let Some(generation) = current {
                self.refuse(generation);
            }
            return;
        }
        if let Some(generation) = current {
            self.end_unseen(generation, context);
            self.ledger.close_range(generation, context);
        }
        // Memory is added under the device's lock, so a pending teardown is over.
        self.end_teardown(Ended::Unseen, context);
        self.close_bracket_unseen();
        let generation = self.new_range(pgmap, context);
        if let Some(range) = self.ranges.get_mut(generation) {
            range.steps.added = Some(context.at);
        }
        self.place(generation, event.range, event.addr, context);
        self.adding = Some(Adding { pid: event.task.map(|task| task.pid), generation, may_be_over: false });
    }

    fn add_resource(&mut self, event: &Event, context: &mut Context<'_>) {
        let pid = event.task.map(|task| task.pid);
        let adding = self.adding.take_if(|adding| adding.pid == pid);
        if !event.failed {
            let range = adding.and_then(|adding| self.ranges.get_mut(adding.generation));
            if let Some(range) = range {
                range.bar = event.bar;
            }
            return;
        }
        match adding {
            Some(adding) => self.refuse(adding.generation),
            None => self.refuse_unseen(pid),
        }
        self.cleaning.clear();
        context.report(ChangeKind::AddRefused);
    }

    /// Like [`Self::refuse`], if the start of the add was not observed. An apparent teardown by the adding
    /// task without an unbind was the clean-up of the failed add.
    fn refuse_unseen(&mut self, pid: Option<u32>) {
        let is_known = |id: RangeId, since_ns: u64| {
            let range = self.ranges.get(id.generation);
            range.is_none_or(|range| range.steps.added.is_some() || range.seen.time_ns < since_ns)
        };
        let since_ns = self.teardown.as_ref().and_then(teardown::Teardown::started).map(|at| at.time_ns);
        let is_its = |step: &teardown::Step| {
            let by = step.task.map(|task| task.pid);
            let of_other = step.range.zip(since_ns).is_some_and(|(id, since_ns)| is_known(id, since_ns));
            !teardown::is_bracket(step.kind) && (by == pid || step.kind == Kind::Drained) && !of_other
        };
        let is_clean_up =
            |teardown: &mut teardown::Teardown| !teardown.overflowed && teardown.steps.iter().all(is_its);
        let Some(teardown) = self.teardown.take_if(is_clean_up) else {
            return;
        };
        for generation in teardown.steps.iter().filter_map(|step| step.range).map(|id| id.generation) {
            if let Some(range) = self.ranges.get_mut(generation) {
                range.refused = true;
            }
        }
    }

    /// A range was never used: its kill was not a teardown of the device.
    fn refuse(&mut self, generation: u32) {
        let Some(range) = self.ranges.get_mut(generation) else {
            return;
        };
        range.refused = true;
        let id = range.id;
        let only_its =
            |teardown: &teardown::Teardown| teardown.steps.iter().all(|step| step.range == Some(id));
        self.teardown.take_if(|teardown| only_its(teardown));
    }
}
