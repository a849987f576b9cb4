//! Pending teardowns: the current step, its start, and the holders that it waits for.

use p2p_trace_common::{Hook, Kind};
use p2p_trace_model::{
    event::Task,
    state::{Device, Hooks, Range, RangeId, Stage, Teardown},
};
use p2p_trace_probe::kernel::tasks::UnbindStep;

use super::holders::{HolderTable, Row};
use crate::device_report::{is_blocking, step_after};

#[derive(Clone, Debug)]
pub(crate) struct Pending {
    /// The time of the first observed step; `None` if the teardown began before tracing.
    pub(crate) since_ns: Option<u64>,
    /// Whether the teardown may have begun before `since_ns`.
    pub(crate) at_least: bool,
    /// The task that tears down, if known.
    pub(crate) task: Option<Task>,
    /// The current step.
    pub(crate) step: UnbindStep,
    pub(crate) step_since_ns: Option<u64>,
    /// Whether it is blocked: it waits for outstanding references.
    pub(crate) blocked: bool,
    /// The holders that it waits for, the largest first; empty if it waits for something else, or if none is known.
    pub(crate) waits_for: Vec<Row>,
    /// The number of further processes.
    pub(crate) omitted: usize,
    /// Remaining references by the kernel's own count.
    pub(crate) residual: Option<u64>,
}

pub(super) fn pending(device: &Device, holders: &HolderTable, now_ns: u64) -> Option<Pending> {
    let teardown = device.pending_teardown();
    let draining: Vec<_> = device.ranges().filter(|range| range.is_draining()).collect();
    if teardown.is_none() && draining.is_empty() {
        return None;
    }
    let lock = device.lock().and_then(|lock| lock.holder);
    let last = teardown.and_then(Teardown::last_step);
    let of_device = holders.devices.get(&device.address()).cloned().unwrap_or_default();
    let killed_ns = draining.iter().filter_map(|range| range.steps.killed).map(|at| at.time_ns).min();
    let (step, step_since_ns) = if draining.is_empty() {
        (last.map_or(UnbindStep::Unbind, step_after), last.map(|step| step.at.time_ns))
    } else {
        (UnbindStep::WaitForDrain, killed_ns)
    };
    Some(Pending {
        since_ns: teardown.and_then(Teardown::started).map(|at| at.time_ns),
        at_least: teardown.is_none_or(Teardown::steps_may_be_missing),
        task: teardown
            .and_then(|teardown| teardown.task().copied())
            .or(lock)
            .filter(|_| teardown.is_some() || !draining.is_empty()),
        step,
        step_since_ns,
        blocked: draining.iter().any(|range| is_blocking(range, now_ns)),
        waits_for: of_device.blocking,
        omitted: of_device.blocking_omitted,
        residual: draining
            .iter()
            .filter_map(|range| range.accounted())
            .map(|accounted| accounted.residual)
            .max(),
    })
}

/// A step of a teardown, and the hook that observes it.
type Shown = (Kind, Hook);

const BEFORE: [Shown; 4] = [
    (Kind::Unbind, Hook::Unbind),
    (Kind::DriverRemove, Hook::DriverRemove),
    (Kind::DriverRemoved, Hook::DriverRemoved),
    (Kind::DevresRelease, Hook::DevresRelease),
];
const OF_RANGE: [Shown; 6] = [
    (Kind::UnmapMappings, Hook::UnmapMappings),
    (Kind::MemremapRelease, Hook::MemremapRelease),
    (Kind::Kill, Hook::Kill),
    (Kind::Drained, Hook::Drained),
    (Kind::Remove, Hook::Remove),
    (Kind::Unmapped, Hook::Unmapped),
];
const AFTER: [Shown; 4] = [
    (Kind::Release, Hook::Release),
    (Kind::Released, Hook::Released),
    (Kind::DevresReleased, Hook::DevresReleased),
    (Kind::Unbound, Hook::Unbound),
];

/// The steps that a pending teardown still has to make, in the required order, as far as attached hooks can observe them.
pub(super) fn to_come(device: &Device, teardown: &Teardown, hooks: &Hooks) -> Vec<(Kind, Option<RangeId>)> {
    let seen = |kind: Kind| teardown.step(kind).is_some();
    let is_under_way = |range: &&Range| range.stage() < Stage::Released && !range.refused && range.is_named();
    let ranges: Vec<_> = device.ranges().rev().filter(is_under_way).collect();
    let is_past =
        |range: &&Range| range.stage() > Stage::Live || teardown.steps_of(range.id).next().is_some();
    let mut steps = Vec::new();
    // A teardown whose beginning was not observed has already made the first steps.
    if !teardown.began_unseen && !ranges.iter().any(is_past) && !AFTER.iter().any(|&(kind, _)| seen(kind)) {
        steps.extend(remaining(&BEFORE, seen).iter().map(|&shown| (shown, None)));
    }
    let (begun, fresh): (Vec<&Range>, Vec<&Range>) = ranges.into_iter().partition(|range| is_past(range));
    for range in begun.into_iter().chain(fresh) {
        let stage = range.stage();
        let is_made = |kind: Kind| {
            let made = teardown.steps_of(range.id).any(|step| step.kind == kind);
            made || match kind {
                Kind::Kill => stage >= Stage::Killed,
                Kind::Drained => range.steps.drained.is_some() || stage == Stage::Drained,
                Kind::Remove => stage >= Stage::Removed,
                Kind::Unmapped => range.steps.unmapped.is_some(),
                _ => false,
            }
        };
        // A range that was removed before it drained still has to drain.
        let late = (is_made(Kind::Remove) && !is_made(Kind::Drained)).then_some(OF_RANGE[3]);
        let rest = remaining(&OF_RANGE, is_made).iter().copied();
        steps.extend(late.into_iter().chain(rest).map(|shown| (shown, Some(range.id))));
    }
    let after = remaining(&AFTER, seen).iter().copied();
    steps.extend(after.map(|shown| (shown, None)));
    let can_be_seen = |&((_, hook), _): &(Shown, Option<RangeId>)| hooks.is_attached(hook);
    steps.into_iter().filter(can_be_seen).map(|((kind, _), range)| (kind, range)).collect()
}

/// The steps after the last one that was made.
fn remaining(order: &[Shown], made: impl Fn(Kind) -> bool) -> &[Shown] {
    let next = order.iter().rposition(|&(kind, _)| made(kind)).map_or(0, |last| last + 1);
    order.get(next..).unwrap_or_default()
}
