//! Runs the rules against the simulated kernel: correct runs, runs with a fault, and the expected findings.

use std::collections::BTreeSet;

use p2p_trace_common::Hook;
use proptest::prelude::*;

use super::simulate::{
    ARMED, Fault, Kernel,
    play::{self, Act, interleave},
};
use crate::{
    accounting::{HookState, HookStatus, MissedQuality},
    event::{DeviceAddress, user},
    rules::{Answer, Finding, Options, RuleId, Rules, Verdict},
    state::Model,
    stream::assemble::Element,
    text::Text,
};

/// A model, and rules that have read the same elements.
pub struct Run {
    pub model: Model,
    pub rules: Rules,
    /// Findings as they were reported.
    pub reported: Vec<Finding>,
}

impl Run {
    /// A run in which every skipped run of a hook is counted.
    pub fn new(options: Options, hooks: &[HookStatus]) -> Self {
        Self::of(options, hooks, MissedQuality::Counted)
    }

    pub fn of(options: Options, hooks: &[HookStatus], missed: MissedQuality) -> Self {
        let mut model = Model::new();
        model.set_armed(hooks);
        Self { model, rules: Rules::new(options, hooks, missed), reported: Vec::new() }
    }

    pub fn feed(&mut self, elements: &[Element]) {
        for element in elements {
            self.model.apply(element);
            self.reported.extend(self.rules.apply(&self.model, element));
        }
    }

    /// Ends the run.
    pub fn end(&mut self) {
        let end = user::Writer::new(0).end(self.model.now_ns());
        self.feed(&[Element::User(end)]);
    }

    pub fn verdict(&self, rule: RuleId, device: DeviceAddress) -> Verdict {
        let mut verdicts = self.rules.verdicts(&self.model).into_iter();
        verdicts.find(|verdict| verdict.rule == rule && verdict.device == device).unwrap()
    }

    pub fn answer(&self, rule: RuleId, device: DeviceAddress) -> Answer {
        self.verdict(rule, device).answer
    }

    /// Findings that were not withdrawn.
    pub fn standing(&self) -> impl Iterator<Item = &Finding> {
        self.rules.findings().iter().filter(|finding| finding.withdrawn.is_none())
    }

    /// The rules that are violated, on any device.
    pub fn violated(&self) -> BTreeSet<RuleId> {
        self.standing().map(|finding| finding.rule).collect()
    }

    /// The only finding of a rule.
    pub fn only(&self, rule: RuleId) -> &Finding {
        let of: Vec<_> = self.rules.findings().iter().filter(|finding| finding.rule == rule).collect();
        assert_eq!(of.len(), 1, "{}: {of:#?}", rule.name());
        of[0]
    }
}

/// The status of one hook.
pub fn status(hook: Hook, state: HookState) -> HookStatus {
    HookStatus {
        hook,
        function: None,
        method: None,
        state,
        required: false,
        error: None,
        lost_without: Text::default(),
    }
}

/// All hooks in their usual state, except for these.
pub fn hooks_except(others: &[(Hook, HookState)]) -> Vec<HookStatus> {
    let state = |hook: Hook| {
        let other = others.iter().find(|&&(other, _)| other == hook);
        let usual = if ARMED.contains(&hook) { HookState::Armed } else { HookState::Attached };
        other.map_or(usual, |&(_, state)| state)
    };
    Hook::ALL.iter().map(|&hook| status(hook, state(hook))).collect()
}

/// Evaluates the rules with every hook attached.
pub fn evaluate(elements: &[Element]) -> Run {
    let mut run = Run::new(Options::default(), &hooks_except(&[]));
    run.feed(elements);
    run.end();
    run
}

/// The rules that a fault violates: its own first, then those that follow from it.
pub const fn rules_of(fault: Fault) -> &'static [RuleId] {
    match fault {
        // The late free is of removed memory.
        Fault::RemovedFirst => {
            &[RuleId::RemovedBeforeDrained, RuleId::DrainedAfterRemoval, RuleId::UseAfterRemoval]
        }
        // The memory is also outstanding at the removal.
        Fault::DestroyedInUse => &[RuleId::PoolDestroyedInUse, RuleId::RemovedBeforeDrained],
        Fault::KilledTwice => &[RuleId::DoubleKill],
        Fault::DeadChunkAlloc
        | Fault::DeadChunkServedElsewhere
        | Fault::DeadChunkMmap
        | Fault::DeadChunkCrash => &[RuleId::AllocOnDeadChunk],
        Fault::AllocAfterDrain | Fault::MmapAfterDrain => &[RuleId::AllocAfterKill],
        Fault::FreeNeverAllocated | Fault::PagesNeverAllocated => &[RuleId::UnmatchedFree],
        Fault::FreeTwice | Fault::ListFreeTwice => &[RuleId::DoubleFree],
        Fault::FreeMore | Fault::FreeLess => &[RuleId::SizeMismatch],
        Fault::Overlap => &[RuleId::OverlappingRanges],
        Fault::RemovedWhileMapped | Fault::UnmapNotMapped => &[RuleId::MapImbalance],
        Fault::MapRemoved | Fault::VirtToBusRemoved => &[RuleId::UseAfterRemoval],
        // A range that is removed has drained, or should have.
        Fault::AllocRemoved | Fault::MmapRemoved => &[RuleId::UseAfterRemoval, RuleId::AllocAfterKill],
        Fault::Stray => &[RuleId::UnexplainedReference],
        Fault::MmapLeaks => &[RuleId::LeakedReference],
        // The unbind waits for the drain.
        Fault::LateDrain => &[RuleId::StalledDrain, RuleId::StalledUnbind],
        Fault::SlowRemove => &[RuleId::StalledUnbind],
    }
}

/// A run without faults.
pub fn clean(acts: &[Act], nested_frees: bool) -> Kernel {
    let mut kernel = play::watched();
    kernel.nested_frees = nested_frees;
    interleave(&mut kernel, acts);
    kernel.flush();
    kernel
}

/// A run with a fault in the middle, and the index of the first element of the fault.
pub fn broken(before: &[Act], fault: Fault, after: &[Act]) -> (Kernel, usize) {
    let mut kernel = clean(before, false);
    let place = kernel.inject(fault, 0);
    interleave(&mut kernel, after);
    kernel.flush();
    (kernel, place)
}

pub fn fault() -> impl Strategy<Value = Fault> {
    proptest::sample::select(&Fault::ALL[..])
}

/// Violations that may follow later from a fault, in addition to its own.
pub const fn aftermath(fault: Fault) -> &'static [RuleId] {
    match fault {
        // The rest has no reference, so nothing waits for it, even if it is mapped. It can be freed at any
        // time.
        Fault::FreeLess => &[RuleId::PoolDestroyedInUse, RuleId::MapImbalance, RuleId::UseAfterRemoval],
        _ => &[],
    }
}
