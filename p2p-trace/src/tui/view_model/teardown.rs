//! Teardowns as timelines: the observed steps, compared with the required order, then the step that the teardown waits for,
//! and the coming steps.

use p2p_trace_common::Kind;
use p2p_trace_model::{
    event::{DeviceAddress, Task},
    state::{Device, Ended, Hooks, Model, RangeId, Step, Teardown},
    units::{bytes, duration},
};

use super::{
    holders::HolderTable,
    pending::{Pending, pending, to_come},
};
use crate::render::{text::action, words};

/// The maximum number of teardowns.
const MAX_TIMELINES: usize = 128;

#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    /// The device that provides the memory.
    pub(crate) device: DeviceAddress,
    /// When its first step was observed.
    pub(crate) started_ns: u64,
    /// Whether steps may be missing: the beginning was not observed, or records were lost.
    pub(crate) incomplete: bool,
    /// How and when it ended.
    pub(crate) ended: Option<(Ended, u64)>,
    /// The task that tears down.
    pub(crate) task: Option<Task>,
    /// The current step, if it has not ended.
    pub(crate) pending: Option<Pending>,
    /// Whether the order of the steps is wrong.
    pub(crate) wrong: bool,
    pub(crate) lines: Vec<Line>,
    /// The number of steps that were not kept.
    pub(crate) omitted: u64,
}

/// The state of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Made.
    Done,
    /// Made in the wrong order.
    Wrong,
    /// The next one, which the teardown waits for.
    Waits,
    /// A later one.
    Next,
}

#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) mark: Mark,
    /// The name of the step.
    pub(crate) name: &'static str,
    /// Whether it is one of the four steps whose order matters: kill, drain, remove, release.
    pub(crate) is_key: bool,
    pub(crate) time_ns: Option<u64>,
    /// The time since the previous step; of the step that the teardown waits for, the time waited so far.
    pub(crate) after_ns: Option<u64>,
    /// The task that made it.
    pub(crate) task: Option<Task>,
    /// Further notes, including the range if there are several.
    pub(crate) note: String,
}

/// The timelines: pending ones first, then the latest.
pub(super) fn timelines(model: &Model, holders: &HolderTable, now_ns: u64) -> Vec<Timeline> {
    let of_device = |device| {
        let timeline = move |teardown| Timeline::of(device, teardown, model.hooks(), holders, now_ns);
        Device::teardowns(device)
            .filter(|teardown| teardown.touches_memory() || teardown.ended.is_none())
            .map(timeline)
    };
    let mut all: Vec<_> = model.devices().flat_map(of_device).collect();
    all.sort_by_key(|timeline| {
        (timeline.ended.is_some(), std::cmp::Reverse(timeline.started_ns), timeline.device)
    });
    all.truncate(MAX_TIMELINES);
    all
}

impl Timeline {
    fn of(device: &Device, teardown: &Teardown, hooks: &Hooks, holders: &HolderTable, now_ns: u64) -> Self {
        let mut ranges: Vec<RangeId> = teardown.steps.iter().filter_map(|step| step.range).collect();
        ranges.sort_unstable();
        ranges.dedup();
        let is_pending = teardown.ended.is_none();
        let pending = is_pending.then(|| pending(device, holders, now_ns)).flatten();
        let coming = if is_pending { to_come(device, teardown, hooks) } else { Vec::new() };
        let several = ranges.len() > 1
            || coming.iter().filter_map(|(_, range)| *range).any(|range| !ranges.contains(&range));
        let mut lines: Vec<Line> = Vec::new();
        let mut before_ns = None;
        for (at, step) in teardown.steps.iter().enumerate() {
            let line = made(device, teardown, at, step, before_ns, several);
            before_ns = Some(step.at.time_ns);
            lines.push(line);
        }
        for (at, &(kind, range)) in coming.iter().enumerate() {
            let waits = at == 0;
            let mut notes: Vec<String> =
                several.then(|| range.map(|range| range_name(device, range))).flatten().into_iter().collect();
            if waits {
                notes.extend(pending.as_ref().map(waiting));
            }
            let since_ns = pending.as_ref().and_then(|pending| pending.step_since_ns);
            lines.push(Line {
                mark: if waits { Mark::Waits } else { Mark::Next },
                name: action(kind),
                is_key: is_key(kind),
                time_ns: None,
                after_ns: since_ns.filter(|_| waits).map(|since| now_ns.saturating_sub(since)),
                task: None,
                note: notes.join(", "),
            });
        }
        Self {
            device: device.address(),
            started_ns: teardown.started().map_or(0, |at| at.time_ns),
            incomplete: teardown.steps_may_be_missing(),
            ended: teardown.ended.map(|(how, at)| (how, at.time_ns)),
            task: teardown.task().copied(),
            pending,
            wrong: lines.iter().any(|line| line.mark == Mark::Wrong),
            lines,
            omitted: teardown.omitted,
        }
    }
}

const fn is_key(kind: Kind) -> bool {
    matches!(kind, Kind::Kill | Kind::Drained | Kind::Remove | Kind::Release)
}

fn made(
    device: &Device,
    teardown: &Teardown,
    at: usize,
    step: &Step,
    before_ns: Option<u64>,
    several: bool,
) -> Line {
    let wrong = device.misplaced(teardown, at);
    let range = step.range.filter(|_| several).map(|range| range_name(device, range));
    let armed =
        teardown.armed.filter(|_| step.kind == Kind::Kill && is_first(teardown, at, step)).map(|armed| {
            match armed.from_ns.checked_sub(step.at.time_ns).filter(|&gap_ns| gap_ns > 0) {
                Some(gap_ns) => format!("late-use hooks armed after {}", duration(gap_ns)),
                None => "late-use hooks armed".to_owned(),
            }
        });
    let notes: Vec<_> = [range, wrong.map(str::to_owned), armed].into_iter().flatten().collect();
    Line {
        mark: if wrong.is_some() { Mark::Wrong } else { Mark::Done },
        name: action(step.kind),
        is_key: is_key(step.kind),
        time_ns: Some(step.at.time_ns),
        after_ns: before_ns.map(|before| step.at.time_ns.saturating_sub(before)),
        task: step.task,
        note: notes.join(", "),
    }
}

fn is_first(teardown: &Teardown, at: usize, step: &Step) -> bool {
    !teardown.steps[..at].iter().any(|before| before.kind == step.kind)
}

fn range_name(device: &Device, id: RangeId) -> String {
    words::range(id, device.range(id).and_then(|range| range.physical))
}

/// Describes what a pending teardown waits for.
pub(super) fn waiting(pending: &Pending) -> String {
    let Some(first) = pending.waits_for.first() else {
        return match pending.residual.filter(|&left| left > 0) {
            Some(1) => "for 1 reference (holder unknown)".to_owned(),
            Some(left) => format!("for {left} references (holders unknown)"),
            None => pending.step.to_string(),
        };
    };
    let text = if first.holder == super::Holder::Preexisting {
        format!("for {} (holder unknown)", bytes(first.bytes))
    } else {
        format!("for {} held by {}", bytes(first.bytes), first.holder.name())
    };
    let more = pending.waits_for.len() - 1 + pending.omitted;
    if more > 0 { format!("{text} and {more} more") } else { text }
}
