//! `double-kill`: `percpu_ref_kill` of a reference that is dead takes one count too many, so that the range drains while
//! somebody still has it. The kernel warns of it (`percpu_ref_kill_and_confirm`). Up to Linux 5.17 a driver can give two ranges the same
//! reference, which is then killed once for each.

use p2p_trace_common::Kind;

use super::{
    context::{Rule, RuleContext, UNSEEN_MAKING, blank, by_range},
    findings::Findings,
    rule::RuleId,
    words,
};
use crate::{
    event::Event,
    state::{At, Change, ChangeKind, Device, Range},
};

const RULE: RuleId = RuleId::DoubleKill;
const ADVICE: &str = "Each range is torn down once, by devres. Look for a driver that calls devm_memunmap_pages or \
                      memunmap_pages itself; the stack says who did.";

#[derive(Debug, Default)]
pub(super) struct DoubleKill;

impl Rule for DoubleKill {
    fn change(&mut self, context: &RuleContext<'_>, change: &Change, findings: &mut Findings) {
        let ChangeKind::KilledAgain(id) = change.kind else {
            return;
        };
        let Some((device, event, at)) = context
            .device(change)
            .zip(context.event)
            .zip(context.at())
            .map(|((device, event), at)| (device, event, at))
        else {
            return;
        };
        let Some(range) = device.range(id) else { return };
        if !context.is_unbroken(range.steps.killed) {
            // It can be another range in the same place.
            findings.mark_uncertain(RULE, device.address(), "records of a teardown were lost");
            return;
        }
        let address = device.address();
        if context.can_be_another(range) {
            findings.mark_uncertain(RULE, address, UNSEEN_MAKING);
            return;
        }
        let absence = context.replaced(range.steps.killed.map_or(0, |killed| killed.time_ns));
        findings.happened_unless(absence, by_range(RULE, address, range), at.id, at.time_ns, || {
            let before = range.steps.killed.map_or_else(String::new, |killed| {
                format!(", {} after it was killed first", words::between(killed.time_ns, at.time_ns))
            });
            let message = format!(
                "memunmap_pages, in {}, killed the reference of {} again{before}",
                words::task(event.task.as_ref()),
                words::range(range, address),
            );
            blank(RULE, address, at, message, ADVICE)
                .about(range)
                .shown_by([range.steps.killed])
                .in_stack(&event.stack)
        });
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Kill]
    }

    fn event(&mut self, context: &RuleContext<'_>, device: &Device, event: &Event, findings: &mut Findings) {
        let Some(at) = context.at() else { return };
        let Some(range) = device.ranges().rev().find(|range| range.steps.killed == Some(at)) else { return };
        let Some(reference) = range.reference else { return };
        for (other, first) in context.model.sharing(reference) {
            if let Some((first, killed)) = shared(first, range) {
                judge_shared(context, device, event, (range, at), (first, other, killed), findings);
                return;
            }
        }
    }
}

/// The earlier range and its kill, if both have the same reference. One that is its range's own can be no other range's, and the low
/// half of an address tells less than that.
fn shared<'a>(first: &'a Range, range: &Range) -> Option<(&'a Range, At)> {
    let reference = range.reference?;
    let killed = first.steps.killed?;
    let is_same = first.id != range.id && first.reference == Some(reference);
    (is_same && !(is_own(first, reference) && is_own(range, reference))).then_some((first, killed))
}

/// Bytes of a `struct dev_pagemap`, and more.
const PGMAP: u32 = 512;

/// It lies within the `dev_pagemap`.
const fn is_own(range: &Range, reference: u32) -> bool {
    reference.wrapping_sub(range.id.pgmap as u32) < PGMAP
}

fn judge_shared(
    context: &RuleContext<'_>,
    device: &Device,
    event: &Event,
    (range, at): (&Range, At),
    (first, of, killed): (&Range, &Device, At),
    findings: &mut Findings,
) {
    let address = device.address();
    let lived = range.steps.added.unwrap_or(range.seen);
    if lived.time_ns > killed.time_ns {
        // Added since, it has had the reference initialized anew.
        if range.steps.added.is_none() {
            findings.mark_uncertain(RULE, address, UNSEEN_LIFE);
        }
        return;
    }
    if !context.is_unbroken(Some(lived)) {
        findings.mark_uncertain(RULE, address, "records of a teardown were lost");
        return;
    }
    if context.can_be_another(range) {
        findings.mark_uncertain(RULE, address, UNSEEN_MAKING);
        return;
    }
    findings.happened(by_range(RULE, address, range), at.id, at.time_ns, || {
        let message = format!(
            "memunmap_pages, in {}, killed the reference of {} again, which is that of {} too, {} after it was killed for that",
            words::task(event.task.as_ref()),
            words::range(range, address),
            words::range(first, of.address()),
            words::between(killed.time_ns, at.time_ns),
        );
        blank(RULE, address, at, message, ADVICE).about(range).shown_by([Some(killed)]).in_stack(&event.stack)
    });
}

/// Why it is unsure of a range that was seen only behind the kill of another one.
const UNSEEN_LIFE: &str =
    "it was not seen whether a range lived when another one with the same reference was killed";
