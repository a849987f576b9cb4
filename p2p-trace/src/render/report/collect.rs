//! Listens to a run, and keeps what a report tells of it.

use std::collections::{BTreeMap, HashSet};

use anyhow::Result;
use p2p_trace_common::Kind;
use p2p_trace_dump::Header;
use p2p_trace_model::{
    event::{DeviceAddress, Event, Id},
    holders::Holders,
    pipeline::{Closing, Pipeline, Step},
    rules::Rule,
    state::{At, Device, Model, Range, RangeId, Teardown, What},
    stream::assemble::Element,
};
use p2p_trace_probe::kernel::tasks::UnbindStep;

use super::{
    lanes::Lanes,
    sentence,
    story::{DeviceStory, Losses, MAX_LANES, MAX_LOSSES, MAX_TEARDOWNS, Out, Story, TeardownStory, Use},
    uses::{count_uses, is_removed, is_use, use_of},
};
use crate::{
    holders::step_after,
    render::check::CheckReport,
    run::{Ending, Next, Sink},
};

/// Teardowns that are kept of a device while the run goes on.
const KEPT: usize = 64;
/// Uses that are kept of a teardown. Only those that a finding names are told.
const MAX_USES: usize = 4096;

/// What a report is about, beside what is listened to.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    /// What the rules came to.
    pub(crate) check: CheckReport,
    /// The run, with what was traced and how at its end.
    pub(crate) header: Header,
}

#[derive(Debug, Default)]
pub(crate) struct Collector {
    devices: BTreeMap<DeviceAddress, Followed>,
    losses: Losses,
    evidence: HashSet<Id>,
    /// What was true at the end.
    last: Option<Model>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Followed {
    teardowns: Vec<Watch>,
    left_out: u64,
    /// The device has no new memory since its latest teardown began: what happens belongs to that.
    is_open: bool,
}

#[derive(Clone, Debug)]
struct Watch {
    first: At,
    lanes: Lanes,
    at_kill: Option<Out>,
    uses: Vec<Use>,
    /// A finding came up during it.
    is_noted: bool,
    /// As it was when it ended, or the run did.
    kept: Option<Kept>,
}

/// A teardown as it was last.
#[derive(Clone, Debug)]
struct Kept {
    teardown: Teardown,
    ranges: Vec<Range>,
    wrong: Vec<(usize, &'static str)>,
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
                self.devices
                    .entry(change.device)
                    .or_default()
                    .change(device, &change.what, model.now_ns());
            }
        }
        for finding in step.findings {
            if finding.rule == Rule::UseAfterRemoval {
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

    /// What was true at the end.
    #[cfg(test)]
    pub(super) fn last(&mut self, model: Model) {
        self.last = Some(model);
    }

    pub(crate) fn finish(mut self, subject: Subject) -> Story {
        let Subject { check, header } = subject;
        let last = self.last.take().unwrap_or_default();
        for finding in &check.findings {
            if finding.rule == Rule::UseAfterRemoval {
                self.evidence.extend(finding.evidence.iter().map(|id| id.0));
            }
        }
        let status = header.status;
        let mut devices = Vec::new();
        for device in last.devices() {
            let mut followed = self.devices.remove(&device.address()).unwrap_or_default();
            let (mut teardowns, teardowns_left_out) = followed.finish(device, &last, &self.evidence);
            count_uses(&mut teardowns, device.address(), &check);
            let names = status
                .devices
                .iter()
                .find(|found| found.device == device.address());
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
                teardowns_left_out,
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
            self.losses.hooks = hooks
                .filter(|hook| is_short(hook.lost, hook.missed))
                .cloned()
                .collect();
        }
        self.losses
            .contradictions
            .clone_from(&closing.outcome.contradictions);
        Ok(())
    }
}

impl Followed {
    fn change(&mut self, device: &Device, what: &What, now_ns: u64) {
        match what {
            What::Step => self.step(device, now_ns),
            What::TornDown(_) => {
                if let Some((watch, teardown)) = self.open().zip(device.teardowns().next_back()) {
                    watch.keep(device, teardown);
                }
            }
            What::Taken(key) => {
                if let Some((watch, reference)) = self.open().zip(device.reference(*key)) {
                    watch.lanes.taken(device, reference);
                }
            }
            What::Closed(closed) => {
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
        // A late step of one that has ended.
        if teardown.ended.is_some()
            && let Some(watch) = self.open()
        {
            watch.keep(device, teardown);
        }
    }

    fn begin(&mut self, first: At, device: &Device) {
        // One that came to nothing is forgotten.
        if self.teardowns.last().is_some_and(Watch::is_empty) {
            self.teardowns.pop();
        }
        if self.teardowns.len() == KEPT {
            let plain = self.teardowns.iter().position(|watch| !watch.is_noted);
            self.teardowns.remove(plain.unwrap_or(0));
            self.left_out += 1;
        }
        let mut lanes = Lanes::default();
        lanes.begin(device);
        self.is_open = true;
        self.teardowns.push(Watch {
            first,
            lanes,
            at_kill: None,
            uses: Vec::new(),
            is_noted: false,
            kept: None,
        });
    }

    /// The teardowns that matter most, oldest first, and how many there are besides.
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
        let mut told: Vec<_> = watches
            .into_iter()
            .filter_map(|watch| {
                let is_noted = watch.is_noted;
                Some((is_noted, watch.finish(device, model, evidence)?))
            })
            .collect();
        while told.len() > MAX_TEARDOWNS {
            let plain = told.iter().position(|(is_noted, _)| !is_noted);
            told.remove(plain.unwrap_or(0));
            self.left_out += 1;
        }
        (told.into_iter().map(|(_, story)| story).collect(), self.left_out)
    }
}

impl Watch {
    /// It has ended without coming to p2p memory.
    const fn is_empty(&self) -> bool {
        self.kept.is_none() && self.at_kill.is_none()
    }

    fn keep(&mut self, device: &Device, teardown: &Teardown) {
        let mut ids: Vec<RangeId> = teardown.steps.iter().filter_map(|step| step.range).collect();
        ids.sort_unstable();
        ids.dedup();
        let ranges = ids
            .into_iter()
            .filter_map(|id| device.range(id))
            .cloned()
            .collect();
        let wrong = (0..teardown.steps.len())
            .filter_map(|at| Some((at, device.misplaced(teardown, at)?)))
            .collect();
        self.kept = Some(Kept {
            teardown: teardown.clone(),
            ranges,
            wrong,
        });
    }

    fn finish(self, device: &Device, model: &Model, evidence: &HashSet<Id>) -> Option<TeardownStory> {
        let Kept {
            teardown,
            ranges,
            wrong,
        } = self.kept?;
        let is_pending = teardown.ended.is_none();
        let pending = teardown.last_step().filter(|_| is_pending).map(|step| {
            let draining = device.ranges().filter(|range| range.is_draining());
            let killed_ns = draining
                .filter_map(|range| range.steps.killed)
                .map(|at| at.time_ns)
                .min();
            // A drain is waited for, whatever was seen of other ranges since.
            killed_ns.map_or_else(
                || (step_after(step).to_string(), step.at.time_ns),
                |killed_ns| (UnbindStep::WaitForDrain.to_string(), killed_ns),
            )
        });
        let (lanes, lanes_left_out) = self.lanes.finish(MAX_LANES);
        let uses: Vec<_> = self
            .uses
            .into_iter()
            .filter(|used| evidence.contains(&used.at.id))
            .collect();
        let latest_ns = uses.iter().map(|used| used.at.time_ns).max().unwrap_or(0);
        let step_ns = teardown.last_step().map_or(0, |step| step.at.time_ns);
        Some(TeardownStory {
            until_ns: if is_pending {
                model.now_ns()
            } else {
                latest_ns.max(step_ns)
            },
            teardown,
            wrong,
            ranges,
            pending,
            at_kill: self.at_kill,
            lanes,
            lanes_left_out,
            uses,
            uses_left_out: 0,
        })
    }
}

/// What is out of a device now.
fn out(device: &Device, now_ns: u64) -> Out {
    let held = Holders::of(device, None);
    Out {
        at_ns: now_ns,
        holders: held.named,
        more: held.left_out,
        references: held.references,
        bytes: held.bytes,
        unsure: held.unsure,
        unknown_bytes: device.preexisting_bytes(),
    }
}
