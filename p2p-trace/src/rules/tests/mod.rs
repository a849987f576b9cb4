//! The rules against the simulated kernel.

mod coverage;
mod documented;
mod faults;
mod garbage;
mod lifecycle;
mod rotated;
mod stalls;

use std::{collections::BTreeSet, fmt::Write as _};

use p2p_trace_common::Hook;

use super::{Answer, Finding, Options, Rule, Rules, Verdict, words};
use crate::{
    account::{HookState, HookStatus},
    event::{DeviceAddress, Id, assemble::Element, user},
    model::{
        Model,
        simulate::{ARMED, Fault},
    },
    output::text::size,
};

/// A model and the rules that have seen some elements.
struct Run {
    model: Model,
    rules: Rules,
    /// What was told, as it was.
    told: Vec<Finding>,
}

impl Run {
    fn new(options: Options, hooks: &[HookStatus]) -> Self {
        Self {
            model: Model::new(),
            rules: Rules::new(options, hooks),
            told: Vec::new(),
        }
    }

    fn feed(&mut self, elements: &[Element]) {
        for element in elements {
            self.model.apply(element);
            self.told.extend(self.rules.apply(&self.model, element));
        }
    }

    /// The run comes to its end.
    fn end(&mut self) {
        let end = user::Writer::new(0).end(self.model.now_ns());
        self.feed(&[Element::User(end)]);
    }

    fn verdict(&self, rule: Rule, device: DeviceAddress) -> Verdict {
        let mut verdicts = self.rules.verdicts(&self.model).into_iter();
        verdicts
            .find(|verdict| verdict.rule == rule && verdict.device == device)
            .unwrap()
    }

    fn answer(&self, rule: Rule, device: DeviceAddress) -> Answer {
        self.verdict(rule, device).answer
    }

    /// The rules that are violated, of any device.
    fn violated(&self) -> BTreeSet<Rule> {
        self.rules.findings().iter().map(|finding| finding.rule).collect()
    }

    /// The one finding of a rule.
    fn only(&self, rule: Rule) -> &Finding {
        let of: Vec<_> = self
            .rules
            .findings()
            .iter()
            .filter(|finding| finding.rule == rule)
            .collect();
        assert_eq!(of.len(), 1, "{}: {of:#?}", rule.name());
        of[0]
    }
}

/// The state of one hook.
fn status(hook: Hook, state: HookState) -> HookStatus {
    HookStatus {
        hook,
        function: None,
        method: None,
        state,
        required: false,
        error: None,
        lost_without: String::new(),
    }
}

/// Every hook is there, but for these.
fn hooks_but(others: &[(Hook, HookState)]) -> Vec<HookStatus> {
    let state = |hook: Hook| {
        let other = others.iter().find(|&&(other, _)| other == hook);
        let usual = if ARMED.contains(&hook) {
            HookState::Armed
        } else {
            HookState::Attached
        };
        other.map_or(usual, |&(_, state)| state)
    };
    Hook::ALL.iter().map(|&hook| status(hook, state(hook))).collect()
}

/// What the rules come to, with every hook there.
fn judge(elements: &[Element]) -> Run {
    let mut run = Run::new(Options::default(), &hooks_but(&[]));
    run.feed(elements);
    run.end();
    run
}

/// The rules that a fault violates: its own first, then those that follow from it.
const fn rules_of(fault: Fault) -> &'static [Rule] {
    match fault {
        // Its late free is of memory that is gone.
        Fault::RemovedFirst => &[
            Rule::RemovedBeforeDrained,
            Rule::DrainedAfterRemoval,
            Rule::UseAfterRemoval,
        ],
        // The memory is out at the removal, too.
        Fault::Unwaited => &[Rule::PoolDestroyedInUse, Rule::RemovedBeforeDrained],
        Fault::KilledTwice => &[Rule::DoubleKill],
        Fault::AskedOfDead | Fault::ServedBesideDead | Fault::MmapBesideDead => &[Rule::AllocOnDeadChunk],
        Fault::AllocOfDrained | Fault::MmapOfDrained => &[Rule::AllocAfterKill],
        Fault::FreeNeverTaken | Fault::PagesNeverTaken => &[Rule::UnmatchedFree],
        Fault::FreeTwice | Fault::ListFreeTwice => &[Rule::DoubleFree],
        Fault::FreeMore | Fault::FreeLess => &[Rule::SizeMismatch],
        Fault::Overlap => &[Rule::OverlappingRanges],
        Fault::MapLeft | Fault::UnmapNotMapped => &[Rule::MapImbalance],
        Fault::MapRemoved | Fault::VirtToBusRemoved => &[Rule::UseAfterRemoval],
        // A range that is removed has drained, or should have.
        Fault::AllocRemoved | Fault::MmapRemoved => &[Rule::UseAfterRemoval, Rule::AllocAfterKill],
        Fault::Stray => &[Rule::UnexplainedReference],
        // The unbind waits for the drain.
        Fault::LateDrain => &[Rule::StalledDrain, Rule::StalledUnbind],
        Fault::LongRemove => &[Rule::StalledUnbind],
    }
}

/// A finding as a reader of a report has it, with its evidence told by what the records are.
fn shown(finding: &Finding, elements: &[Element]) -> String {
    let mut text = format!(
        "{}, {}: {}\n",
        finding.rule.name(),
        finding.severity.name(),
        finding.message
    );
    if finding.occurrences > 1 {
        writeln!(text, "  happened {} times", finding.occurrences).unwrap();
    }
    let evidence: Vec<_> = finding.evidence.iter().map(|&id| record(id, elements)).collect();
    writeln!(text, "  shown by: {}", evidence.join(", ")).unwrap();
    for holder in &finding.holders {
        writeln!(
            text,
            "  out: {} by {}, {}, {}",
            holder.kind,
            words::task(holder.task.as_ref()),
            words::counted(holder.references, "reference"),
            size::bytes(holder.bytes)
        )
        .unwrap();
    }
    if !finding.is_closed() {
        text += "  goes on\n";
    }
    writeln!(text, "  next: {}", finding.advice).unwrap();
    text
}

/// `kill by taskn (pid 91)`.
fn record(id: Id, elements: &[Element]) -> String {
    let event = elements.iter().find_map(|element| match element {
        Element::Event(event) if event.id == id => Some(event),
        _ => None,
    });
    event.map_or_else(
        || "a record of user space".to_owned(),
        |event| format!("{} by {}", event.kind.name(), words::task(event.task.as_ref())),
    )
}
