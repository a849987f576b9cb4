//! What the rules on frees have in common: what a free was, and whether it can be judged.

use p2p_trace_common::{Hook, Kind, Ring};

use super::{
    absence::Absence,
    context::RuleContext,
    findings::{Findings, Subject},
    rule::{RuleId, TAKES},
};
use crate::{
    event::Event,
    state::{At, Baseline, Change, ChangeKind, Device, FreeMatch, Range},
    units,
};

/// What a free seems to do wrong rests on every record of memory that was taken or given back before.
pub(super) const UNSEEN_ALLOCATION: Absence = Absence::of_one(TAKES, 0);

/// A free of an allocation or scatter list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Free<'a> {
    pub(super) device: &'a Device,
    pub(super) event: &'a Event,
    pub(super) at: At,
    pub(super) was: FreeMatch,
}

impl<'a> Free<'a> {
    /// The change is one, and what it may give back is watched.
    pub(super) fn of(context: &RuleContext<'a>, change: &Change) -> Option<Self> {
        let ChangeKind::Freed(was) = change.kind else {
            return None;
        };
        let event = context.event?;
        // A list's free can be told only where its allocation is.
        let is_judged = event.kind != Kind::SglFree || context.coverage.sees(Hook::SglAlloc);
        is_judged.then_some(Self { device: context.device(change)?, event, at: context.at()?, was })
    }

    /// Why not all that is out is known; then the free may well be right.
    pub(super) fn unknown(&self, context: &RuleContext<'_>) -> Option<&'static str> {
        // A pull read tells what memory is taken, and of no list.
        let is_list = self.event.kind == Kind::SglFree;
        let older_list = is_list && self.device.preexisting_bytes() > 0;
        if is_list && context.coverage.lost(Ring::Hot).count > 0 {
            return Some("records of scatter lists were lost");
        }
        let range = self.event.addr.and_then(|addr| self.device.range_at(addr));
        unknown(context, self.device, range).or_else(|| older_list.then_some(ALLOCATED_BEFORE))
    }

    /// Each free is a case of its own, by address.
    pub(super) fn subject(&self, rule: RuleId) -> Subject {
        Subject {
            rule,
            device: self.device.address(),
            case: self.event.addr.or(self.event.sgl).unwrap_or_default(),
            pid: self.event.task.map(|task| task.pid),
        }
    }

    /// The function that was called.
    pub(super) const fn function(&self) -> &'static str {
        match self.event.kind {
            Kind::SglFree => "pci_p2pmem_free_sgl",
            _ => "pci_free_p2pmem",
        }
    }

    /// `64 KiB at 0xffff888140000000`, as far as it is told.
    pub(super) fn what(&self) -> String {
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

    /// The rule cannot tell.
    pub(super) fn mark_uncertain(&self, rule: RuleId, why: &str, findings: &mut Findings) {
        findings.mark_uncertain(rule, self.device.address(), why);
    }
}

const ALLOCATED_BEFORE: &str = "memory was given back that may have been taken before the trace";

/// Why not all that is out of a range is known, or of the device where it is not known which range it is.
pub(super) fn unknown(
    context: &RuleContext<'_>,
    device: &Device,
    range: Option<&Range>,
) -> Option<&'static str> {
    if context.coverage.is_unsettled(context.now_ns) {
        return Some("memory was given back that may have been on its way when the dump begins");
    }
    if device.uncertain().hot.is_some() {
        return Some("records of allocations or frees were lost");
    }
    // What is taken of a range that was seen being added, or of a pool that was seen to be empty, was seen being taken, once it
    // could be.
    let since_ns = context.model.hooks().allocations_seen_since_ns();
    let added = range.and_then(|range| range.steps.added).filter(|added| added.time_ns >= since_ns);
    if context.coverage.lost(Ring::Rare).count > 0 && !context.is_unbroken(added) {
        return Some("records of ranges that came and went were lost");
    }
    let is_known = added.is_some()
        || match device.baseline() {
            Baseline::Unknown => false,
            Baseline::SnapshotEnd(_) => true,
            Baseline::PoolGone(at) => at.time_ns >= since_ns,
        };
    (!is_known).then_some(ALLOCATED_BEFORE)
}
