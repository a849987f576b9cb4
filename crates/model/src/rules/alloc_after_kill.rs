//! `alloc-after-kill`: memory of a range that had drained, or was removed, before the allocation returned.
//!
//! An allocation that returns between the kill and the drain is legal: `percpu_ref_tryget_live_rcu` may have succeeded before the
//! kill was confirmed, and its reference delays the drain.

use p2p_trace_common::{Kind, Ring};

use super::{
    context::{Rule, RuleContext, UNSEEN_CREATION, blank},
    findings::{Findings, Subject},
    rule::RuleId,
    words,
};
use crate::{
    event::Event,
    state::{At, Change, ChangeKind, Device, Range},
};

const RULE: RuleId = RuleId::AllocAfterKill;
const ADVICE: &str = "The range of this memory has been torn down: the task must not use it. Report a kernel bug: a killed \
                      reference must refuse new users (percpu_ref_tryget_live_rcu in pci_alloc_p2pmem).";

#[derive(Debug, Default)]
pub(super) struct AllocAfterKill;

impl Rule for AllocAfterKill {
    fn change(&mut self, context: &RuleContext<'_>, change: &Change, findings: &mut Findings) {
        let Some(device) = context.device(change) else {
            return;
        };
        let has_drained = context.range_step(change, Kind::Drained).is_some();
        let uncertain = match change.kind {
            ChangeKind::Uncertain => {
                // A loss may be reported long after the range has ended.
                let over =
                    |range: &Range| range.steps.release.or(range.steps.released).or(range.ended_unseen);
                let hot = device.uncertain().hot;
                hot.is_some_and(|lost| {
                    device.ranges().any(|range| lost.overlaps(drained(range), over(range)))
                })
            }
            ChangeKind::Step if has_drained => context.coverage.lost(Ring::Hot).until_ns >= context.now_ns,
            _ => false,
        };
        if uncertain {
            findings.mark_uncertain(RULE, change.device, "records were lost after a range had drained");
        }
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Alloc, Kind::Mmap]
    }

    fn event(&mut self, context: &RuleContext<'_>, device: &Device, event: &Event, findings: &mut Findings) {
        let range = match event.kind {
            Kind::Alloc if !event.failed => event.addr.and_then(|addr| device.range_at(addr)),
            Kind::Mmap if event.ret == Some(0) => {
                let of = |range: &&Range| Some(range.id.pgmap) == event.pgmap;
                device.ranges().rev().find(of)
            }
            _ => None,
        };
        let Some((range, at)) = range.zip(context.at()) else {
            // The memory may belong to a drained range whose address is not known.
            let is_unplaced =
                |range: &Range| drained(range).is_some() && !is_over(range) && range.base.is_none();
            if event.kind == Kind::Alloc && !event.failed && device.ranges().any(is_unplaced) {
                findings.mark_uncertain(
                    RULE,
                    device.address(),
                    "the address of a drained range was not known",
                );
            }
            return;
        };
        let Some(gone) = drained(range).filter(|gone| gone.time_ns < event.time_ns) else {
            return;
        };
        let address = device.address();
        if !context.is_unbroken(Some(gone)) {
            findings.mark_uncertain(RULE, address, "records of added or removed ranges were lost");
            return;
        }
        if context.can_be_another(range) {
            findings.mark_uncertain(RULE, address, UNSEEN_CREATION);
            return;
        }
        let subject = Subject {
            rule: RULE,
            device: address,
            case: u64::from(range.id.generation),
            pid: event.task.map(|task| task.pid),
        };
        let absence = context.replaced(gone.time_ns);
        findings.happened_unless(absence, subject, at.id, at.time_ns, || {
            let end = if range.steps.drained == Some(gone) { "had drained" } else { "had been removed" };
            let message = format!(
                "{} allocated memory of {}, which {end} {} before",
                words::task(event.task.as_ref()),
                words::range(range, address),
                words::between(gone.time_ns, at.time_ns),
            );
            blank(RULE, address, at, message, ADVICE)
                .about(range)
                .shown_by([range.steps.killed, Some(gone)])
                .in_stack(&event.stack)
        });
    }
}

/// The time from which memory of the range must not be allocated.
fn drained(range: &Range) -> Option<At> {
    let (drained, removed) = (range.steps.drained, range.steps.removed);
    drained.into_iter().chain(removed).min_by_key(|at| at.time_ns)
}

/// The pool no longer refers to the range.
const fn is_over(range: &Range) -> bool {
    range.steps.release.is_some() || range.steps.released.is_some() || range.ended_unseen.is_some()
}
