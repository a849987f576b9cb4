//! Code shared by the rules on surplus references: the kernel counts more references to a killed range than the allocations and
//! mappings that were seen explain.

use std::collections::HashMap;

use p2p_trace_common::{Hook, Ring};

use super::{
    context::{BYPASSED, Rule, RuleContext, by_range},
    finding::Finding,
    findings::Findings,
    frees::{UNSEEN_ALLOCATION, unknown},
    rule::RuleId,
};
use crate::{
    event::DeviceAddress,
    state::{Accounted, Change, ChangeKind, Device, Range, RangeId},
};

/// The number of consecutive readings that must show a surplus. A free is recorded before it drops its reference, so a single
/// reading may be too early.
const READINGS: u8 = 2;

/// A rule on surplus references.
#[derive(Debug)]
pub(super) struct Surplus {
    rule: RuleId,
    /// The number of surplus references that this rule reports.
    share: fn(&Reading<'_>, &mut Findings) -> u64,
    /// Makes the finding for this number of references.
    make: fn(&Reading<'_>, u64) -> Finding,
    /// The number of consecutive readings that showed a surplus.
    seen: HashMap<(DeviceAddress, RangeId), u8>,
}

/// One reading of a range.
pub(super) struct Reading<'a> {
    pub(super) device: &'a Device,
    pub(super) range: &'a Range,
    pub(super) accounted: Accounted,
    /// The least number of references that are not explained.
    pub(super) least: u64,
}

impl Surplus {
    pub(super) fn of(
        rule: RuleId,
        share: fn(&Reading<'_>, &mut Findings) -> u64,
        make: fn(&Reading<'_>, u64) -> Finding,
    ) -> Self {
        Self { rule, share, make, seen: HashMap::new() }
    }
}

impl Rule for Surplus {
    /// Evaluates a snapshot.
    fn change(&mut self, context: &RuleContext<'_>, change: &Change, findings: &mut Findings) {
        let ChangeKind::SnapshotEnd(snapshot_end) = change.kind else { return };
        let Some(device) = context.device(change).filter(|_| snapshot_end.reconciled) else {
            return;
        };
        for range in device.ranges().filter(|range| range.is_draining() && !range.refused) {
            let Some(accounted) = range.accounted() else {
                continue;
            };
            let key = (change.device, range.id);
            let least = *accounted.unexplained.start();
            if least == 0 || !sees_all(context) {
                self.seen.remove(&key);
                continue;
            }
            let bypassed = range.is_bypassed().then_some(BYPASSED);
            if let Some(why) =
                bypassed.or_else(|| unknown(context, device, Some(range))).or_else(|| lost(context))
            {
                findings.mark_uncertain(self.rule, change.device, why);
                continue;
            }
            let readings = self.seen.entry(key).or_default();
            *readings = readings.saturating_add(1);
            if *readings < READINGS {
                continue;
            }
            let reading = Reading { device, range, accounted, least };
            let share = (self.share)(&reading, findings);
            if share > 0 {
                let subject = by_range(self.rule, change.device, range);
                findings.suspect_lasting(subject, UNSEEN_ALLOCATION, context.now_ns, || {
                    (self.make)(&reading, share)
                });
            }
        }
    }

    /// Ends the findings of ranges that no longer drain.
    fn pass(&mut self, context: &RuleContext<'_>, device: &Device, findings: &mut Findings) {
        if self.seen.is_empty() {
            return;
        }
        let address = device.address();
        for range in device.ranges().filter(|range| !range.is_draining()) {
            if self.seen.remove(&(address, range.id)).is_some() {
                let drained = range.steps.drained;
                let end_ns = drained.map_or(context.now_ns, |at| at.time_ns);
                findings.end(by_range(self.rule, address, range), drained.map(|at| at.id), end_ns);
            }
        }
    }
}

/// Returns true if all allocations are traced. For user mappings, this needs the two hooks that show their pages.
fn sees_all(context: &RuleContext<'_>) -> bool {
    let sees = |hooks: &[Hook]| hooks.iter().all(|&hook| context.coverage.sees(hook));
    let sees_mappings = !sees(&[Hook::Mmap]) || sees(&[Hook::MmapEnter, Hook::InsertPage]);
    sees(&[Hook::SglAlloc, Hook::SglFree]) && sees_mappings
}

/// Why allocations may have changed holders: records were lost.
fn lost(context: &RuleContext<'_>) -> Option<&'static str> {
    (context.coverage.lost(Ring::Hot).count > 0).then_some("records of allocations or frees were lost")
}
