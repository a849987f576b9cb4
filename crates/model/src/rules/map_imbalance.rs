//! `map-imbalance`: DMA mappings that outlive their range, and unmaps of memory that was not mapped. It is checked only if the
//! kernel has a function for both (`pci_p2pdma_unmap_sg_attrs`, up to 5.19) and both hooks are enabled.

use p2p_trace_common::{Hook, Kind, Ring};

use super::{
    absence::Absence,
    context::{Rule, RuleContext, blank, by_range},
    findings::{Findings, Subject},
    rule::RuleId,
    words,
};
use crate::{
    event::Event,
    state::{Change, Device, Mapping, Range},
};

const RULE: RuleId = RuleId::MapImbalance;
const NOT_MAPPED: &str = "The driver unmaps twice, or unmaps other memory than it mapped, and may remove another user's mapping: \
                          compare its dma_map and dma_unmap calls.";
const LEFT: &str = "The client device can still write to the addresses of this memory: look for the missing dma_unmap in its driver. \
                      (A map is recorded on entry: a failed map looks like one that was never unmapped.)";

#[derive(Debug, Default)]
pub(super) struct MapImbalance;

impl Rule for MapImbalance {
    fn change(&mut self, context: &RuleContext<'_>, change: &Change, findings: &mut Findings) {
        let Some((device, step, range)) = context.range_step(change, Kind::Remove) else {
            return;
        };
        let Some(mappings) = device.mappings(context.model.hooks()) else {
            findings.mark_uncertain(
                RULE,
                device.address(),
                "maps and unmaps were not both traced at a removal",
            );
            return;
        };
        // Memory that was mapped before a loss may have been unmapped in it. The loss itself makes the rule inconclusive.
        let lost_ns = lost_ns(context);
        let of_range =
            |mapping: &&Mapping| mapping.pgmap == Some(range.id.pgmap) && mapping.at.time_ns > lost_ns;
        let mut live: Vec<Mapping> = mappings.live().filter(of_range).copied().collect();
        live.sort_by_key(|mapping| (mapping.at.time_ns, mapping.at.id));
        let Some(first) = live.first() else {
            if !is_known_from_birth(context, Some(range)) {
                let why = "a range was removed that may have been mapped before the trace";
                findings.mark_uncertain(RULE, device.address(), why);
            }
            return;
        };
        let address = device.address();
        let client = first.client.map_or_else(|| "a device".to_owned(), |client| client.to_string());
        let message = format!(
            "arch_remove_memory removed {} while {} of it had not been unmapped; the first was made for {client} {} before",
            words::range(range, address),
            words::counted(live.len() as u64, "DMA mapping"),
            words::between(first.at.time_ns, step.at.time_ns),
        );
        let finding = blank(RULE, address, step.at, message, LEFT)
            .about(range)
            .shown_by(live.iter().take(8).map(|mapping| Some(mapping.at)))
            .in_stack(&step.stack);
        // A skipped unmap is reported later.
        findings.suspect(
            by_range(RULE, address, range),
            finding,
            Absence::of_one(&[Hook::UnmapSg], first.at.time_ns),
            context.now_ns,
        );
    }

    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Unmap]
    }

    fn event(&mut self, context: &RuleContext<'_>, device: &Device, event: &Event, findings: &mut Findings) {
        if event.kind != Kind::Unmap {
            return;
        }
        let Some((mappings, at)) = device.mappings(context.model.hooks()).zip(context.at()) else {
            return;
        };
        let range = event.pgmap.and_then(|pgmap| device.ranges().rev().find(|range| range.id.pgmap == pgmap));
        let added = range.and_then(|range| range.steps.added);
        if added.is_some_and(|added| added.time_ns <= lost_ns(context)) {
            return;
        }
        // This unmap has no map if it is the latest unmatched one.
        if mappings.latest_unmatched().next_back().map(|unmatched| unmatched.at) != Some(at) {
            return;
        }
        let address = device.address();
        if !is_known_from_birth(context, range) {
            findings.mark_uncertain(
                RULE,
                address,
                "memory was unmapped that may have been mapped before the trace",
            );
            return;
        }
        let subject = Subject {
            rule: RULE,
            device: address,
            case: event.page.unwrap_or_default(),
            pid: event.task.map(|task| task.pid),
        };
        let client = event.client.map_or_else(|| "a device".to_owned(), |client| client.to_string());
        let message = format!(
            "{} unmapped memory of {address} (pci_p2pdma_unmap_sg_attrs) that was not mapped for {client}",
            words::task(event.task.as_ref()),
        );
        // A skipped map is reported later.
        let finding = blank(RULE, address, at, message, NOT_MAPPED).in_stack(&event.stack);
        let since_ns = added.map_or(0, |added| added.time_ns);
        findings.suspect(subject, finding, Absence::of_one(&[Hook::MapSg], since_ns), context.now_ns);
    }
}

/// The time of the latest loss.
fn lost_ns(context: &RuleContext<'_>) -> u64 {
    let lost = Ring::ALL.into_iter().map(|ring| context.coverage.lost(ring).until_ns).max();
    lost.unwrap_or_default().max(context.coverage.unmapped_ns())
}

/// The range was added when maps and unmaps were traced already.
fn is_known_from_birth(context: &RuleContext<'_>, range: Option<&Range>) -> bool {
    let since = |hook| context.model.hooks().state(hook).map(|state| state.since_ns);
    let (Some(maps), Some(unmaps)) = (since(Hook::MapSg), since(Hook::UnmapSg)) else {
        return false;
    };
    let added = range.and_then(|range| range.steps.added);
    added.is_some_and(|added| added.time_ns >= maps.max(unmaps))
}
