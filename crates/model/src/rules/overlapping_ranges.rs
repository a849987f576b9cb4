//! `overlapping-ranges`: two ranges in use share addresses. `memremap_pages` refuses that, as far as struct pages go.

use p2p_trace_common::Kind;

use super::{
    findings::Findings,
    rule::Rule,
    scene::{Check, Scene, blank, by_range},
    words,
};
use crate::{
    event::Event,
    state::{Device, Range, Stage},
};

const RULE: Rule = Rule::OverlappingRanges;
const ADVICE: &str = "Two drivers, or one twice, offer the same memory: each will give it out. Compare the size and offset of \
                      the pci_p2pdma_add_resource calls.";

#[derive(Debug, Default)]
pub(super) struct OverlappingRanges;

/// The other range can be over.
const UNSEEN_END: &str = "records of ranges that came and went were lost";

impl Check for OverlappingRanges {
    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Memremap]
    }

    fn event(&mut self, scene: &Scene<'_>, device: &Device, event: &Event, findings: &mut Findings) {
        if event.kind != Kind::Memremap || event.failed || event.ret.is_some_and(|ret| ret != 0) {
            return;
        }
        let added = |range: &&Range| Some(range.id.pgmap) == event.pgmap && is_used(range);
        let Some((range, at)) = device.ranges().rev().find(added).zip(scene.at()) else {
            return;
        };
        let Some(physical) = range.physical else { return };
        for other_device in scene.model.devices() {
            for other in other_device.ranges().filter(|other| is_used(other)) {
                let is_same = other_device.address() == device.address() && other.id == range.id;
                let overlaps = other
                    .physical
                    .is_some_and(|other| other.start <= physical.end && physical.start <= other.end);
                if is_same || !overlaps {
                    continue;
                }
                if !scene.is_unbroken(Some(other.seen)) {
                    findings.doubt(RULE, device.address(), UNSEEN_END);
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
}

fn is_used(range: &Range) -> bool {
    range.stage() < Stage::Removed && !range.refused
}
