//! `double-kill`: `percpu_ref_kill` of a dead reference drops one count too many, so that the range drains while it is still
//! in use. The kernel warns about it (`percpu_ref_kill_and_confirm`). Up to Linux 5.17 a driver can give two ranges the same
//! reference, which is then killed once for each.

use p2p_trace_common::Kind;

use super::{
    context::{Rule, RuleContext, UNSEEN_CREATION, blank, by_range},
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
                      memunmap_pages itself; the stack shows the caller.";

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
            // It may be another range at the same place.
            findings.mark_uncertain(RULE, device.address(), "records of a teardown were lost");
            return;
        }
        let address = device.address();
        if context.can_be_another(range) {
            findings.mark_uncertain(RULE, address, UNSEEN_CREATION);
            return;
        }
        let absence = context.replaced(range.steps.killed.map_or(0, |killed| killed.time_ns));
        findings.happened_unless(absence, by_range(RULE, address, range), at.id, at.time_ns, || {
            let before = range.steps.killed.map_or_else(String::new, |killed| {
                format!(", {} after the first kill", words::between(killed.time_ns, at.time_ns))
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
                check_shared(context, device, event, (range, at), (first, other, killed), findings);
                return;
            }
        }
    }
}

/// The earlier range and its kill, if both ranges have the same reference. A reference inside its own range's `dev_pagemap`
/// cannot belong to another range; equal low halves of addresses are weaker evidence than that.
fn shared<'a>(first: &'a Range, range: &Range) -> Option<(&'a Range, At)> {
    let reference = range.reference?;
    let killed = first.steps.killed?;
    let is_same = first.id != range.id && first.reference == Some(reference);
    (is_same && !(is_own(first, reference) && is_own(range, reference))).then_some((first, killed))
}

/// An upper bound on the size of a `struct dev_pagemap`, in bytes.
const PGMAP: u32 = 512;

/// The reference lies within the range's `dev_pagemap`.
const fn is_own(range: &Range, reference: u32) -> bool {
    reference.wrapping_sub(range.id.pgmap as u32) < PGMAP
}

fn check_shared(
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
        // The range was added after that kill, which initialized the reference again.
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
        findings.mark_uncertain(RULE, address, UNSEEN_CREATION);
        return;
    }
    findings.happened(by_range(RULE, address, range), at.id, at.time_ns, || {
        let message = format!(
            "memunmap_pages, in {}, killed the reference of {} again, which it shares with {}, {} after the kill for that range",
            words::task(event.task.as_ref()),
            words::range(range, address),
            words::range(first, of.address()),
            words::between(killed.time_ns, at.time_ns),
        );
        blank(RULE, address, at, message, ADVICE).about(range).shown_by([Some(killed)]).in_stack(&event.stack)
    });
}

/// Why the rule is uncertain about a range that was first seen after the kill of another one.
const UNSEEN_LIFE: &str =
    "it is not known whether a range existed when another range with the same reference was killed";
