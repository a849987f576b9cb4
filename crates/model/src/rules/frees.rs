//! Code shared by the rules on frees: the free itself, and whether it can be evaluated.

use p2p_trace_common::{Hook, Kind, Ring};

use super::{
    absence::Absence,
    context::RuleContext,
    findings::{Findings, Subject},
    rule::{ALLOCATES, RuleId},
};
use crate::{
    event::Event,
    state::{At, Baseline, Change, ChangeKind, Device, FreeMatch, Range},
    units,
};

/// An apparent violation by a free rests on all earlier records of allocations and frees.
pub(super) const UNSEEN_ALLOCATION: Absence = Absence::of_one(ALLOCATES, 0);

/// A free of an allocation or scatter list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Free<'a> {
    pub(super) device: &'a Device,
    pub(super) event: &'a Event,
    pub(super) at: At,
    pub(super) was: FreeMatch,
}

impl<'a> Free<'a> {
    /// The free that this change stands for, if allocations of its kind are traced.
    pub(super) fn of(context: &RuleContext<'a>, change: &Change) -> Option<Self> {
        let ChangeKind::Freed(was) = change.kind else {
            return None;
        };
        let event = context.event?;
        // The free of a scatter list can be evaluated only if its allocation would be seen.
        let is_traced = event.kind != Kind::SglFree || context.coverage.sees(Hook::SglAlloc);
        is_traced.then_some(Self { device: context.device(change)?, event, at: context.at()?, was })
    }

    /// Why not all outstanding memory is known, so that the free may be right.
    pub(super) fn unknown(&self, context: &RuleContext<'_>) -> Option<&'static str> {
        // A snapshot shows which memory is allocated, but not to which scatter list it belongs.
        let is_list = self.event.kind == Kind::SglFree;
        let older_list = is_list && self.device.preexisting_bytes() > 0;
        if is_list && context.coverage.lost(Ring::Hot).count > 0 {
            return Some("records of scatter lists were lost");
        }
        let range = self.event.addr.and_then(|addr| self.device.range_at(addr));
        unknown(context, self.device, range).or_else(|| older_list.then_some(ALLOCATED_BEFORE))
    }

    /// The subject of a violation, by address and thread.
    pub(super) fn subject(&self, rule: RuleId) -> Subject {
        Subject {
            rule,
            device: self.device.address(),
            case: self.event.addr.or(self.event.sgl).unwrap_or_default(),
            pid: self.event.task.map(|task| task.pid),
        }
    }

    /// The kernel function that freed.
    pub(super) const fn function(&self) -> &'static str {
        match self.event.kind {
            Kind::SglFree => "pci_p2pmem_free_sgl",
            _ => "pci_free_p2pmem",
        }
    }

    /// The freed memory, as far as it is known, such as `64 KiB at 0xffff888140000000`.
    pub(super) fn memory(&self) -> String {
        let addr = self.event.addr.or(self.event.sgl);
        let size = self.event.size.map(units::bytes);
        match (size, addr) {
            (Some(size), Some(addr)) => format!("{size} at {addr:#x}"),
            (Some(size), None) => size,
            (None, Some(addr)) if self.event.kind == Kind::SglFree => format!("the scatter list {addr:#x}"),
            (None, Some(addr)) => format!("memory at {addr:#x}"),
            (None, None) => "memory".to_owned(),
        }
    }

    /// Marks a rule uncertain because of this free.
    pub(super) fn mark_uncertain(&self, rule: RuleId, why: &str, findings: &mut Findings) {
        findings.mark_uncertain(rule, self.device.address(), why);
    }
}

const ALLOCATED_BEFORE: &str = "memory was freed that may have been allocated before the trace";

/// Why not all outstanding memory of a range is known, or of the device if the range is not known.
pub(super) fn unknown(
    context: &RuleContext<'_>,
    device: &Device,
    range: Option<&Range>,
) -> Option<&'static str> {
    if context.coverage.is_unsettled(context.now_ns) {
        return Some("memory was freed whose free may have been in flight when the dump began");
    }
    if device.uncertain().hot.is_some() {
        return Some("records of allocations or frees were lost");
    }
    // All allocations are known if the range was seen being added, or the pool was seen to be empty, when the hooks on
    // allocations were attached already.
    let since_ns = context.model.hooks().allocations_seen_since_ns();
    let added = range.and_then(|range| range.steps.added).filter(|added| added.time_ns >= since_ns);
    if context.coverage.lost(Ring::Rare).count > 0 && !context.is_unbroken(added) {
        return Some("records of added or removed ranges were lost");
    }
    let is_known = added.is_some()
        || match device.baseline() {
            Baseline::Unknown => false,
            Baseline::SnapshotEnd(_) => true,
            Baseline::PoolGone(at) => at.time_ns >= since_ns,
        };
    (!is_known).then_some(ALLOCATED_BEFORE)
}
