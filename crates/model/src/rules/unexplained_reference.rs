//! `unexplained-reference`: the kernel counts more references of a killed range than the allocations and mappings that were
//! seen explain. Somebody took one of the range itself (`get_dev_pagemap`) or of a page, behind the allocator.

use std::collections::HashMap;

use p2p_trace_common::{Hook, Ring};

use super::{
    findings::Findings,
    frees::{UNSEEN_TAKE, unknown},
    rule::Rule,
    scene::{BYPASSED, Check, Scene, blank, by_range},
    words,
};
use crate::{
    event::DeviceAddress,
    holders::Holders,
    state::{At, Change, Device, Range, RangeId, What},
};

const RULE: Rule = Rule::UnexplainedReference;
const ADVICE: &str = "No allocation that was seen is behind it. Look for who takes references of pages or ranges: O_DIRECT or RDMA \
                      that pins pages (pin_user_pages), get_dev_pagemap without put_dev_pagemap, a page passed on. \
                      `p2p-trace holders` lists candidates.";
/// A free is recorded before it drops its reference: one reading may be too early for it.
const READINGS: u8 = 2;

#[derive(Debug, Default)]
pub(super) struct UnexplainedReference {
    /// Readings in a row that showed some.
    seen: HashMap<(DeviceAddress, RangeId), u8>,
}

impl Check for UnexplainedReference {
    fn change(&mut self, scene: &Scene<'_>, change: &Change, findings: &mut Findings) {
        let What::Pulled(pulled) = change.what else { return };
        let Some(device) = scene.device(change).filter(|_| pulled.reconciled) else {
            return;
        };
        let is_complete = [Hook::SglAlloc, Hook::SglFree].iter().all(|&hook| scene.coverage.sees(hook));
        for range in device.ranges().filter(|range| range.is_draining() && !range.refused) {
            let Some(accounted) = range.accounted() else {
                continue;
            };
            let key = (change.device, range.id);
            let least = *accounted.unexplained.start();
            if least == 0 || !is_complete {
                self.seen.remove(&key);
                continue;
            }
            let bypassed = range.is_bypassed().then_some(BYPASSED);
            if let Some(why) =
                bypassed.or_else(|| unknown(scene, device, Some(range))).or_else(|| lost(scene))
            {
                findings.doubt(RULE, change.device, why);
                continue;
            }
            let readings = self.seen.entry(key).or_default();
            *readings = readings.saturating_add(1);
            if *readings >= READINGS {
                add(device, range, accounted.at, accounted.residual, least, scene.now_ns, findings);
            }
        }
    }

    fn pass(&mut self, scene: &Scene<'_>, device: &Device, findings: &mut Findings) {
        if self.seen.is_empty() {
            return;
        }
        let address = device.address();
        for range in device.ranges().filter(|range| !range.is_draining()) {
            if self.seen.remove(&(address, range.id)).is_some() {
                let drained = range.steps.drained;
                let end_ns = drained.map_or(scene.now_ns, |at| at.time_ns);
                findings.end(by_range(RULE, address, range), drained.map(|at| at.id), end_ns);
            }
        }
    }
}

/// What was taken while records were lost can have changed hands.
fn lost(scene: &Scene<'_>) -> Option<&'static str> {
    (scene.coverage.lost(Ring::Hot).count > 0).then_some("records of allocations or frees were lost")
}

fn add(
    device: &Device,
    range: &Range,
    at: At,
    residual: u64,
    least: u64,
    now_ns: u64,
    findings: &mut Findings,
) {
    let address = device.address();
    findings.suspect_lasting(by_range(RULE, address, range), UNSEEN_TAKE, now_ns, || {
        let held = Holders::of(device, Some(range.id));
        let known = words::counted(held.references, "reference");
        let message = format!(
            "the kernel counts {} of {}, of which the allocations and mappings that are known explain {known}: at least {least} \
             came from elsewhere, as by get_dev_pagemap or a pinned page",
            words::counted(residual, "reference"),
            words::range(range, address),
        );
        blank(RULE, address, at, message, ADVICE)
            .about(range)
            .shown_by([range.steps.killed])
            .held_by(held)
    });
}
