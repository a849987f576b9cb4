//! Observes a run, and keeps the contents of its report.

use std::collections::{BTreeMap, HashSet};

use anyhow::Result;
use p2p_trace_common::Kind;
use p2p_trace_dump::Header;
use p2p_trace_model::{
    event::{DeviceAddress, Event, Id},
    pipeline::{Closing, Pipeline, Step},
    rules::RuleId,
    state::{At, ChangeKind, Device, Model},
    stream::assemble::Element,
};

use super::{
    sentence,
    story::{DeviceStory, Losses, MAX_LOSSES, MAX_TEARDOWNS, Story, TeardownStory},
    uses::{count_uses, is_removed, is_use, use_of},
    watch::{Watch, out},
};
use crate::{
    render::check::CheckReport,
    run::{Ending, Next, Sink},
};

/// Teardowns that are kept per device during the run.
const KEPT: usize = 64;
/// Uses that are kept per teardown. Only those that a finding names are reported.
const MAX_USES: usize = 4096;

/// The subject of a report, besides the observed stream.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// The results of the rules.
    pub(crate) check: CheckReport,
    /// The run, with its status at the end.
    pub(crate) header: Header,
}

#[derive(Debug, Default)]
pub(crate) struct Collector {
    devices: BTreeMap<DeviceAddress, Followed>,
    losses: Losses,
    evidence: HashSet<Id>,
    /// The state at the end.
    last: Option<Model>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Followed {
    teardowns: Vec<Watch>,
    omitted: u64,
    /// The device has no new memory since its latest teardown began, so events belong to that teardown.
    is_open: bool,
}

impl Collector {
    fn follow(&mut self, step: &Step<'_>) {
        let model = step.model;
        if let Element::Loss(loss) = step.element {
            if self.losses.first.len() < MAX_LOSSES {
                self.losses.first.push(*loss);
            } else {
                self.losses.more += 1;
            }
        }
        for change in model.changes() {
            if let Some(device) = model.device(change.device) {
                self.devices.entry(change.device).or_default().change(device, &change.kind, model.now_ns());
            }
        }
        for finding in step.findings {
            if finding.rule == RuleId::UseAfterRemoval {
                self.evidence.extend(&finding.evidence);
            }
            if let Some(watch) = self.latest(finding.device) {
                watch.is_noted = true;
            }
        }
        if let Element::Event(event) = step.element {
            self.event(event, model);
        }
    }

    fn latest(&mut self, device: DeviceAddress) -> Option<&mut Watch> {
        let followed = self.devices.get_mut(&device)?;
        followed.teardowns.last_mut().filter(|_| followed.is_open)
    }

    fn event(&mut self, event: &Event, model: &Model) {
        let address = event.device.or_else(|| model.owner(event.pgmap?));
        let Some(device) = address.and_then(|address| model.device(address)) else {
            return;
        };
        if event.kind == Kind::Memremap
            && let Some(followed) = self.devices.get_mut(&device.address())
        {
            followed.is_open = false;
        }
        let Some(watch) = self.latest(device.address()) else {
            return;
        };
        if is_use(event.kind) && watch.uses.len() < MAX_USES && device.ranges().any(is_removed) {
            watch.uses.push(use_of(event, device, model));
        }
    }

    /// The state at the end.
    #[cfg(test)]
    pub(super) fn last(&mut self, model: Model) {
        self.last = Some(model);
    }

    pub(crate) fn finish(mut self, subject: Subject) -> Story {
        let Subject { check, header } = subject;
        let last = self.last.take().unwrap_or_default();
        for finding in &check.findings {
            if finding.rule == RuleId::UseAfterRemoval {
                self.evidence.extend(finding.evidence.iter().map(|id| id.0));
            }
        }
        let status = header.status;
        let mut devices = Vec::new();
        for device in last.devices() {
            let mut followed = self.devices.remove(&device.address()).unwrap_or_default();
            let (mut teardowns, teardowns_omitted) = followed.finish(device, &last, &self.evidence);
            count_uses(&mut teardowns, device.address(), &check);
            let names = status.devices.iter().find(|found| found.device == device.address());
            let mut story = DeviceStory {
                device: device.address(),
                names: names.and_then(|found| {
                    let names = [found.name.as_deref(), found.driver.as_deref()];
                    let names: Vec<_> = names.into_iter().flatten().collect();
                    (!names.is_empty()).then(|| names.join(", "))
                }),
                answer: sentence::answer(device.address(), &check),
                sentence: String::new(),
                teardowns,
                teardowns_omitted,
                out: out(device, last.now_ns()),
            };
            story.sentence = sentence::sentence(&story, &check);
            devices.push(story);
        }
        Story {
            check,
            origin: header.origin,
            redacted: header.redacted,
            status,
            devices,
            losses: self.losses,
        }
    }
}

impl Sink for Collector {
    fn step(&mut self, step: &Step<'_>) -> Result<()> {
        self.follow(step);
        Ok(())
    }

    fn pause(&mut self, pipeline: &Pipeline) -> Result<Next> {
        if self.ended {
            self.last = Some(pipeline.model().clone());
        }
        Ok(Next::Go)
    }

    fn end(&mut self, closing: &Closing, ending: &Ending) -> Result<()> {
        self.ended = true;
        self.losses.is_counted = ending.is_whole;
        if ending.is_whole {
            let is_short = |lost: u64, missed: Option<u64>| lost > 0 || missed.is_some_and(|runs| runs > 0);
            let hooks = closing.outcome.hooks.iter();
            self.losses.hooks = hooks.filter(|hook| is_short(hook.lost, hook.missed)).cloned().collect();
        }
        self.losses.contradictions.clone_from(&closing.outcome.contradictions);
        Ok(())
    }
}

impl Followed {
    fn change(&mut self, device: &Device, what: &ChangeKind, now_ns: u64) {
        match what {
            ChangeKind::Step => self.step(device, now_ns),
            ChangeKind::TornDown(_) => {
                if let Some((watch, teardown)) = self.open().zip(device.teardowns().next_back()) {
                    watch.keep(device, teardown);
                }
            }
            ChangeKind::Allocated(key) => {
                if let Some((watch, reference)) = self.open().zip(device.reference(*key)) {
                    watch.lanes.allocated(device, reference);
                }
            }
            ChangeKind::Closed(closed) => {
                if let Some(watch) = self.open() {
                    watch.lanes.closed(closed);
                }
            }
            _ => {}
        }
    }

    fn open(&mut self) -> Option<&mut Watch> {
        self.teardowns.last_mut().filter(|_| self.is_open)
    }

    fn step(&mut self, device: &Device, now_ns: u64) {
        let Some(teardown) = device.teardowns().next_back() else {
            return;
        };
        let Some(first) = teardown.started() else { return };
        if self.teardowns.last().is_none_or(|watch| watch.first != first) {
            self.begin(first, device);
        }
        let is_kill = teardown.last_step().is_some_and(|step| step.kind == Kind::Kill);
        if let Some(watch) = self.open()
            && is_kill
        {
            if watch.at_kill.is_none() {
                watch.at_kill = Some(out(device, now_ns));
            }
            watch.lanes.killed(device);
        }
        // A late step of an ended teardown.
        if teardown.ended.is_some()
            && let Some(watch) = self.open()
        {
            watch.keep(device, teardown);
        }
    }

    fn begin(&mut self, first: At, device: &Device) {
        // A teardown that touched no p2p memory is dropped.
        if self.teardowns.last().is_some_and(Watch::is_empty) {
            self.teardowns.pop();
        }
        if self.teardowns.len() == KEPT {
            let plain = self.teardowns.iter().position(|watch| !watch.is_noted);
            self.teardowns.remove(plain.unwrap_or(0));
            self.omitted += 1;
        }
        self.is_open = true;
        self.teardowns.push(Watch::begin(first, device));
    }

    /// The most relevant teardowns, oldest first, and the number of the others.
    fn finish(
        &mut self,
        device: &Device,
        model: &Model,
        evidence: &HashSet<Id>,
    ) -> (Vec<TeardownStory>, u64) {
        let mut watches = std::mem::take(&mut self.teardowns);
        if let Some(watch) = watches.last_mut().filter(|_| self.is_open)
            && let Some(teardown) = device.teardowns().next_back()
            && teardown.started() == Some(watch.first)
            && (teardown.touches_memory() || teardown.ended.is_none())
        {
            watch.keep(device, teardown);
        }
        let mut stories: Vec<_> = watches
            .into_iter()
            .filter_map(|watch| {
                let is_noted = watch.is_noted;
                Some((is_noted, watch.finish(device, model, evidence)?))
            })
            .collect();
        while stories.len() > MAX_TEARDOWNS {
            let plain = stories.iter().position(|(is_noted, _)| !is_noted);
            stories.remove(plain.unwrap_or(0));
            self.omitted += 1;
        }
        (stories.into_iter().map(|(_, story)| story).collect(), self.omitted)
    }
}
