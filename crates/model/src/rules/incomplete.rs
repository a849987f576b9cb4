//! Incomplete teardowns: a range that ended without a step that every teardown has.
//!
//! The record of the step is missing, whether or not a loss was reported: the trace began too late, the kernel skipped a run
//! and does not count skipped runs, or its table of notes was full. The rules that depend on the step are uncertain then.

use p2p_trace_common::{Hook, Kind};

use super::{
    context::{Rule, RuleContext, UNSEEN_CREATION},
    findings::Findings,
    rule::RuleId,
    words,
};
use crate::{
    event::Event,
    state::{Change, ChangeKind, Device, Range, Steps},
};

/// The steps of a range that every teardown has.
const STEPS: [Hook; 4] = [Hook::Kill, Hook::Drained, Hook::Remove, Hook::Unmapped];

#[derive(Debug, Default)]
pub(super) struct Incomplete;

impl Rule for Incomplete {
    fn change(&mut self, context: &RuleContext<'_>, change: &Change, findings: &mut Findings) {
        if let (ChangeKind::SnapshotEnd(_), Some(device)) = (change.kind, context.device(change)) {
            let is_found_killed = |range: &&Range| range.snapshot_end.is_some();
            device
                .ranges()
                .filter(is_found_killed)
                .for_each(|range| unnoted(context, device, range, findings));
        }
        let (ChangeKind::RangeEndedUnseen(id) | ChangeKind::KilledAgain(id)) = change.kind else {
            return;
        };
        let Some((device, range)) =
            context.device(change).and_then(|device| Some((device, device.range(id)?)))
        else {
            return;
        };
        match change.kind {
            // Steps of the two ranges cannot be distinguished.
            ChangeKind::KilledAgain(_) if context.can_be_another(range) => {
                for rule in STEPS.into_iter().flat_map(RuleId::hidden_by) {
                    findings.mark_uncertain(rule, change.device, UNSEEN_CREATION);
                }
            }
            ChangeKind::KilledAgain(_) => {}
            _ => uncertainty(context, device, range, findings),
        }
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Drained, Kind::Released]
    }

    fn event(&mut self, context: &RuleContext<'_>, device: &Device, _event: &Event, findings: &mut Findings) {
        let released = context.at();
        for range in device.ranges().filter(|range| range.steps.drained == released) {
            unnoted(context, device, range, findings);
        }
        for range in device.ranges().filter(|range| range.steps.released == released) {
            uncertainty(context, device, range, findings);
        }
    }
}

/// Marks rules uncertain for a range whose kill was before the trace, or was missed: its removal is not recorded then, and may
/// have happened already.
fn unnoted(context: &RuleContext<'_>, device: &Device, range: &Range, findings: &mut Findings) {
    let is_noted = range.steps.killed.is_some() || range.refused || !range.is_named();
    if is_noted || !context.coverage.sees(Hook::Remove) {
        return;
    }
    let name = words::range(range, device.address());
    let why = format!("the kill of {name} was not seen, so its removal is not recorded");
    for rule in RuleId::hidden_by(Hook::Remove) {
        findings.mark_uncertain(rule, device.address(), why.clone());
    }
}

/// Marks rules uncertain for a range that ended without a step they depend on.
fn uncertainty(context: &RuleContext<'_>, device: &Device, range: &Range, findings: &mut Findings) {
    if range.refused {
        return;
    }
    let Steps { killed, drained, removed, unmapped, .. } = range.steps;
    let all = STEPS.into_iter().zip([killed, drained, removed, unmapped]);
    let missing = all.filter(|&(hook, step)| step.is_none() && context.coverage.sees(hook));
    for (hook, _) in missing {
        let name = words::range(range, device.address());
        let why = match killed {
            None => format!(
                "step {} of {name} was not seen: the trace began later, or missed the kill",
                hook.name()
            ),
            Some(_) => format!("step {} of {name} was not seen", hook.name()),
        };
        for rule in RuleId::hidden_by(hook) {
            findings.mark_uncertain(rule, device.address(), why.clone());
        }
    }
}
