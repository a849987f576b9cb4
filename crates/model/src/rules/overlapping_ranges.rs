//! `overlapping-ranges`: two ranges in use share addresses. `memremap_pages` refuses this as far as struct pages are concerned.

use p2p_trace_common::Kind;

use super::{
    context::{Rule, RuleContext, blank, by_range},
    findings::Findings,
    rule::RuleId,
    words,
};
use crate::{
    event::Event,
    state::{Device, Limit, Range, Stage},
};

const RULE: RuleId = RuleId::OverlappingRanges;
const ADVICE: &str = "Two drivers, or one driver twice, added the same memory, and both pools will allocate it. Compare the size and \
                      offset of the pci_p2pdma_add_resource calls.";

/// The most ranges that a new one is compared with.
pub(super) const MAX_COMPARED: usize = 256;

/// The most overlaps that are counted for a new range; a finding names one.
const MAX_REPORTED: usize = 16;

#[derive(Debug, Default)]
pub(super) struct OverlappingRanges;

/// Why the rule is uncertain if the other range may have ended.
const UNSEEN_END: &str = "records of added or removed ranges were lost";

impl Rule for OverlappingRanges {
    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Memremap]
    }

    fn event(&mut self, context: &RuleContext<'_>, device: &Device, event: &Event, findings: &mut Findings) {
        if event.kind != Kind::Memremap || event.failed || event.ret.is_some_and(|ret| ret != 0) {
            return;
        }
        let added = |range: &&Range| Some(range.id.pgmap) == event.pgmap && is_used(range);
        let Some((range, at)) = device.ranges().rev().find(added).zip(context.at()) else {
            return;
        };
        let Some(physical) = range.physical else { return };
        let near: Vec<_> = context.model.near(physical).take(MAX_COMPARED + 1).collect();
        if near.len() > MAX_COMPARED {
            findings.mark_uncertain(RULE, device.address(), Limit::Compared.why());
        }
        let is_same = |of: &Device, other: &Range| of.address() == device.address() && other.id == range.id;
        let overlaps = |other: &Range| {
            let other = other.physical.filter(|_| is_used(other));
            other.is_some_and(|other| other.start <= physical.end && physical.start <= other.end)
        };
        let mut others: Vec<_> =
            near.into_iter().filter(|&(of, other)| overlaps(other) && !is_same(of, other)).collect();
        others.sort_by_key(|(of, other)| (of.address(), other.id.generation));
        for (other_device, other) in others.into_iter().take(MAX_REPORTED) {
            if !context.is_unbroken(Some(other.seen)) {
                findings.mark_uncertain(RULE, device.address(), UNSEEN_END);
                continue;
            }
            let address = device.address();
            findings.happened(by_range(RULE, address, range), at.id, at.time_ns, || {
                let message = format!(
                    "devm_memremap_pages by {} added {}, which overlaps {}",
                    words::task(event.task.as_ref()),
                    words::range(range, address),
                    words::range(other, other_device.address()),
                );
                blank(RULE, address, at, message, ADVICE)
                    .about(range)
                    .shown_by([other.steps.added])
                    .in_stack(&event.stack)
            });
        }
    }
}

fn is_used(range: &Range) -> bool {
    range.stage() < Stage::Removed && !range.refused
}
