//! //! An ongoing unbind or removal: its task, its step, and whether it is blocked.

use p2p_trace_common::Kind;
use p2p_trace_model::{
    event::{Task, names::RecordId},
    state::{Device, Range, Stage, Step, Teardown},
    text::Text,
};
use p2p_trace_probe::kernel::tasks::{Liveness, UnbindStep, unbind_step};

use super::{
    Facts,
    holders::task_line,
    report::{StepFrom, StepLine, UnbindReport},
};

/// An unbind that takes longer is blocked. A kill without outstanding references drains after a grace period of RCU,
/// tens of milliseconds later.
const PATIENCE_NS: u64 = 1_000_000_000;

/// The unbind of a device, if one is ongoing.
pub(super) fn unbind(device: &Device, facts: &Facts<'_>) -> Option<UnbindReport> {
    let teardown = device.pending_teardown();
    let lock = device.lock().filter(|lock| lock.holder.is_some());
    let holder = lock.and_then(|lock| lock.holder);
    // Several tasks can request an unbind; the one that holds the lock executes it.
    let task = teardown.and_then(|teardown| teardown.task().copied()).or(holder);
    let stack = task.map(|task| stack(&task, facts));
    let by_stack = stack.as_ref().and_then(|stack| step_of(stack.as_deref().ok()?));
    let by_state = device.ranges().filter_map(step_of_range).min();
    if teardown.is_none() && by_state.is_none() && by_stack.is_none() {
        return None;
    }
    let by_events = teardown.and_then(|teardown| teardown.last_step()).map(step_after);
    let known = [(by_stack, StepFrom::Stack), (by_events, StepFrom::Events), (by_state, StepFrom::State)];
    let known = known.into_iter().find_map(|(step, from)| step.map(|step| (step, from)));
    let waiting_ns = lock.filter(|lock| lock.holder == task).and_then(|lock| lock.waiting_ns);
    let since_ns = teardown.and_then(Teardown::pending_since_ns);
    let (stack, stack_error) = match stack {
        Some(Ok(stack)) => (stack, None),
        Some(Err(error)) => (Vec::new(), Some(error)),
        None => (Vec::new(), None),
    };
    Some(UnbindReport {
        blocked: waiting_ns.is_some_and(|ns| ns >= PATIENCE_NS)
            || device.ranges().any(|range| is_blocking(range, facts.now_ns)),
        since: since_ns.map(|ns| facts.clock.rfc3339(ns).into()),
        since_ns,
        waiting_ns,
        step: known.map(|(step, _)| step),
        step_from: known.map(|(_, from)| from),
        task: task.as_ref().map(task_line),
        stack,
        stack_error,
        steps_may_be_missing: teardown.is_none_or(Teardown::steps_may_be_missing),
        steps: teardown.map_or_else(Vec::new, |teardown| steps(teardown, facts)),
    })
}

/// The kernel stack of a task, or the reason why there is none.
fn stack(task: &Task, facts: &Facts<'_>) -> Result<Vec<Text>, Text> {
    let tasks = &facts.host.tasks;
    if let Some(hidden) = tasks.hidden() {
        return Err(hidden.to_string().into());
    }
    if tasks.liveness(task.tgid, facts.now_ns) == Liveness::Exited {
        return Err("the task has exited".into());
    }
    let stack = tasks.stack(task.tgid, task.pid).map_err(|error| Text::from(error.to_string()))?;
    Ok(stack.iter().map(|frame| frame.to_string().into()).collect())
}

fn step_of(stack: &[Text]) -> Option<UnbindStep> {
    let frames: Vec<_> = stack.iter().map(Text::as_str).collect();
    unbind_step(&frames)
}

/// The step that an unbind is in after this record.
pub(crate) const fn step_after(step: &Step) -> UnbindStep {
    match step.kind {
        Kind::DriverRemove => UnbindStep::DriverRemove,
        Kind::UnmapMappings => UnbindStep::RevokeMappings,
        Kind::MemremapRelease => UnbindStep::TearDownRange,
        Kind::Kill => UnbindStep::WaitForDrain,
        Kind::Drained | Kind::Remove => UnbindStep::RemovePages,
        Kind::Release => UnbindStep::ReleasePool,
        Kind::DriverRemoved | Kind::DevresRelease | Kind::Unmapped | Kind::Released => {
            UnbindStep::DevresRelease
        }
        _ => UnbindStep::Unbind,
    }
}

/// The step that the state of a range implies, no matter who observed it.
fn step_of_range(range: &Range) -> Option<UnbindStep> {
    match range.stage() {
        Stage::Killed => Some(UnbindStep::WaitForDrain),
        Stage::Drained => Some(UnbindStep::RemovePages),
        // After a range is removed, the teardown continues with the next range, or with the pool.
        Stage::Removed => Some(UnbindStep::DevresRelease),
        Stage::Live | Stage::Released => None,
    }
}

/// The range waits for a reference that is not dropped by itself, as far as is known.
pub(crate) fn is_blocking(range: &Range, now_ns: u64) -> bool {
    let killed_ns = range.steps.killed.map(|at| at.time_ns);
    range.is_draining()
        && (range.accounted().is_some_and(|accounted| accounted.residual > 0)
            || killed_ns.is_some_and(|ns| now_ns.saturating_sub(ns) >= PATIENCE_NS))
}

fn steps(teardown: &Teardown, facts: &Facts<'_>) -> Vec<StepLine> {
    let line = |step: &Step| StepLine {
        kind: step.kind.name().into(),
        time: facts.clock.rfc3339(step.at.time_ns).into(),
        time_ns: step.at.time_ns,
        record: RecordId(step.at.id),
    };
    teardown.steps.iter().map(line).collect()
}
