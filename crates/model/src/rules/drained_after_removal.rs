//! `drained-after-removal`: the race of 2018, detected by the late drain.

use p2p_trace_common::Kind;

use super::{
    context::{Rule, RuleContext, UNSEEN_CREATION, blank, by_range},
    findings::Findings,
    rule::RuleId,
    words,
};
use crate::state::Change;

const RULE: RuleId = RuleId::DrainedAfterRemoval;
const ADVICE: &str = "Between the two, the struct pages were removed while one was still referenced: look for memory corruption \
                      since then, and report a kernel bug with this trace. See removed-before-drained.";

#[derive(Debug, Default)]
pub(super) struct DrainedAfterRemoval;

impl Rule for DrainedAfterRemoval {
    fn change(&mut self, context: &RuleContext<'_>, change: &Change, findings: &mut Findings) {
        let Some((device, step, range)) = context.range_step(change, Kind::Drained) else {
            return;
        };
        // Only the first drain counts: a second drain of a removed range can only be a mix-up.
        let Some(removed) = range
            .steps
            .removed
            .filter(|_| range.steps.drained == Some(step.at) && context.is_unbroken(range.steps.removed))
        else {
            return;
        };
        let address = device.address();
        if context.can_be_another(range) {
            findings.mark_uncertain(RULE, address, UNSEEN_CREATION);
            return;
        }
        let absence = context.replaced(removed.time_ns);
        findings.happened_unless(absence, by_range(RULE, address, range), step.at.id, step.at.time_ns, || {
            let message = format!(
                "the last reference of {} was dropped (dev_pagemap_percpu_release) {} after arch_remove_memory had removed \
                 its struct pages, in the context of {}",
                words::range(range, address),
                words::between(removed.time_ns, step.at.time_ns),
                words::task(step.task.as_ref()),
            );
            blank(RULE, address, step.at, message, ADVICE)
                .about(range)
                .shown_by([range.steps.killed, Some(removed)])
                .in_stack(&step.stack)
        });
    }
}
