//! The rules against the simulated kernel: runs that are right or have a fault, and what the rules make of them.

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

/// A model and the rules that have seen some elements.
pub struct Run {
    pub model: Model,
    pub rules: Rules,
    /// What was reported, as it was.
    pub reported: Vec<Finding>,
}

impl Run {
    /// Every skipped run is counted.
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

    /// The run comes to its end.
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

    /// What was found and not withdrawn.
    pub fn standing(&self) -> impl Iterator<Item = &Finding> {
        self.rules.findings().iter().filter(|finding| finding.withdrawn.is_none())
    }

    /// The rules that are violated, of any device.
    pub fn violated(&self) -> BTreeSet<RuleId> {
        self.standing().map(|finding| finding.rule).collect()
    }

    /// The one finding of a rule.
    pub fn only(&self, rule: RuleId) -> &Finding {
        let of: Vec<_> = self.rules.findings().iter().filter(|finding| finding.rule == rule).collect();
        assert_eq!(of.len(), 1, "{}: {of:#?}", rule.name());
        of[0]
    }
}

/// The state of one hook.
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

/// Every hook is there, but for these.
pub fn hooks_except(others: &[(Hook, HookState)]) -> Vec<HookStatus> {
    let state = |hook: Hook| {
        let other = others.iter().find(|&&(other, _)| other == hook);
        let usual = if ARMED.contains(&hook) { HookState::Armed } else { HookState::Attached };
        other.map_or(usual, |&(_, state)| state)
    };
    Hook::ALL.iter().map(|&hook| status(hook, state(hook))).collect()
}

/// What the rules come to, with every hook there.
pub fn evaluate(elements: &[Element]) -> Run {
    let mut run = Run::new(Options::default(), &hooks_except(&[]));
    run.feed(elements);
    run.end();
    run
}

/// The rules that a fault violates: its own first, then those that follow from it.
pub const fn rules_of(fault: Fault) -> &'static [RuleId] {
    match fault {
        // Its late free is of memory that is gone.
        Fault::RemovedFirst => {
            &[RuleId::RemovedBeforeDrained, RuleId::DrainedAfterRemoval, RuleId::UseAfterRemoval]
        }
        // The memory is out at the removal, too.
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

/// A run in which nothing is wrong.
pub fn clean(acts: &[Act], nested_frees: bool) -> Kernel {
    let mut kernel = play::watched();
    kernel.nested_frees = nested_frees;
    interleave(&mut kernel, acts);
    kernel.flush();
    kernel
}

/// A run with a fault in the middle, of which the first own record is at this place.
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

/// Violations that can follow from a fault later, beside its own.
pub const fn aftermath(fault: Fault) -> &'static [RuleId] {
    match fault {
        // The rest has no reference, and is not waited for, even if it is mapped. Its free can come at any time.
        Fault::FreeLess => &[RuleId::PoolDestroyedInUse, RuleId::MapImbalance, RuleId::UseAfterRemoval],
        _ => &[],
    }
}
