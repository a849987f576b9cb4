//! The rules: they evaluate the observed events and report violations.
//!
//! Each rule is one file. It evaluates the [model](crate::state) after each element of the stream, and is pure: a live run, a
//! replay and a recovery result in the same findings. The dependencies of a rule are in its row of [`TABLE`], which determines
//! whether it could be checked. Rules rely on the observed order of events, never on the kernel's version.
//!
//! `docs/rules.md` describes for each rule what it means and what to do.

mod absence;
mod alloc_after_kill;
mod alloc_on_dead_chunk;
mod context;
mod coverage;
mod double_free;
mod double_kill;
mod drained_after_removal;
mod finding;
mod findings;
mod frees;
mod incomplete;
mod leaked_reference;
mod limits;
mod map_imbalance;
pub mod names;
mod overlapping_ranges;
mod pool_destroyed_in_use;
mod removed_before_drained;
mod rule;
mod rule_state;
mod size_mismatch;
mod skips;
mod stalled_drain;
mod stalled_unbind;
mod surplus;
mod suspects;
#[cfg(test)]
mod tests;
mod unexplained_reference;
mod unmatched_free;
mod use_after_removal;
mod verdict;
mod words;

use std::collections::BTreeSet;

use p2p_trace_common::{Kind, Ring};

pub use context::Options;
pub use coverage::{Coverage, Lost};
pub use finding::Finding;
pub use findings::MAX_FINDINGS;
pub use rule::{RuleId, Severity, Spec, TABLE};
pub use rule_state::{Found, RuleState, Skipped};
pub use verdict::{Answer, Verdict};

use crate::{
    accounting::{HookStatus, MissedQuality},
    event::{DeviceAddress, Event, Loss, user},
    state::{ChangeKind, Device, Limit, Model},
    stream::assemble::Element,
    text::Text,
};
use context::{Frees, Rule, RuleContext, is_routine};
use findings::Findings;
use skips::Skips;

/// All rules, evaluating one run.
#[derive(Debug)]
pub struct Rules {
    all: Vec<Box<dyn Rule>>,
    /// Indexes of the rules that evaluate events, by kind.
    by_kind: Vec<Vec<usize>>,
    /// Indexes of the rules that evaluate frees, by [`Frees::of`].
    by_free: [Vec<usize>; 3],
    findings: Findings,
    coverage: Coverage,
    skips: Skips,
    options: Options,
    /// When [`Rule::pass`] was last called.
    passed_ns: u64,
    /// Limits that were reported.
    reached: BTreeSet<(Limit, DeviceAddress)>,
    /// The last device of an incomplete pass.
    passed: Option<DeviceAddress>,
}

/// How often [`Rule::pass`] is called, in the absence of rare events.
const PASS_NS: u64 = 100_000_000;
/// The number of devices and ranges in one pass, in addition to the device of the element. This covers all devices of a large
/// host; if there are more, the pass continues with the next elements.
const PASS_WEIGHT: usize = 1024;

impl Rules {
    /// Creates the rules for a run with these hooks; `missed` states whether the kernel counts skipped kprobe runs.
    #[must_use]
    pub fn new(options: Options, hooks: &[HookStatus], missed: MissedQuality) -> Self {
        let rules: Vec<Box<dyn Rule>> = vec![
            Box::<removed_before_drained::RemovedBeforeDrained>::default(),
            Box::<drained_after_removal::DrainedAfterRemoval>::default(),
            Box::<use_after_removal::UseAfterRemoval>::default(),
            Box::<alloc_on_dead_chunk::AllocOnDeadChunk>::default(),
            Box::<alloc_after_kill::AllocAfterKill>::default(),
            Box::<double_kill::DoubleKill>::default(),
            Box::<pool_destroyed_in_use::PoolDestroyedInUse>::default(),
            Box::<unmatched_free::UnmatchedFree>::default(),
            Box::<double_free::DoubleFree>::default(),
            Box::<size_mismatch::SizeMismatch>::default(),
            Box::<stalled_drain::StalledDrain>::default(),
            Box::<stalled_unbind::StalledUnbind>::default(),
            Box::new(unexplained_reference::rule()),
            Box::new(leaked_reference::rule()),
            Box::<overlapping_ranges::OverlappingRanges>::default(),
            Box::<map_imbalance::MapImbalance>::default(),
            Box::<incomplete::Incomplete>::default(),
        ];
        let indexes = |evaluates: &dyn Fn(&dyn Rule) -> bool| -> Vec<usize> {
            let matching = rules.iter().enumerate().filter(|(_, rule)| evaluates(rule.as_ref()));
            matching.map(|(index, _)| index).collect()
        };
        let of_kind = |kind: Kind| indexes(&|rule| rule.kinds().contains(&kind));
        let last = Kind::ALL.iter().map(|&kind| kind as usize).max().unwrap_or_default();
        let by_kind =
            (0..=last).map(|number| Kind::from_u8(number as u8).map_or_else(Vec::new, of_kind)).collect();
        let by_free = [Frees::None, Frees::Unusual, Frees::All]
            .map(|least| indexes(&|rule| rule.frees() >= least && least > Frees::None));
        let coverage = Coverage::new(hooks, missed);
        let mut findings = Findings::default();
        findings.set_coverage(&coverage);
        Self {
            by_kind,
            by_free,
            all: rules,
            findings,
            coverage,
            skips: Skips::default(),
            options,
            passed_ns: 0,
            reached: BTreeSet::new(),
            passed: None,
        }
    }

    /// Updates the state of the hooks.
    pub(crate) fn set_hooks(&mut self, hooks: &[HookStatus]) {
        self.coverage.set(hooks);
        self.findings.set_coverage(&self.coverage);
    }

    /// Makes every rule uncertain, for a reason that is not in the records.
    pub(crate) fn mark_uncertain(&mut self, why: impl Into<String>) {
        self.coverage.mark_uncertain(why.into());
    }

    /// Notes an exceeded limit that is not in the records.
    pub(crate) fn reach(&mut self, limit: Limit) {
        self.mark_uncertain(limit.why());
    }

    /// The attached hooks and the losses.
    #[must_use]
    pub const fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// The state of the rules, from which another reader can continue.
    #[must_use]
    pub fn rule_state(&self, model: &Model) -> RuleState {
        RuleState {
            lost_hot: self.coverage.reported(Ring::Hot),
            lost_rare: self.coverage.reported(Ring::Rare),
            skipped: self.coverage.skipped().collect(),
            found: self.found(model),
        }
    }

    /// Findings and uncertainties by rule and device; empty ones are omitted. Open questions count as uncertainties, because
    /// the reader that continues does not know how they end.
    fn found(&self, model: &Model) -> Vec<Found> {
        let mut found = Vec::new();
        for device in model.devices().map(Device::address) {
            for rule in RuleId::all() {
                let open = self.all.iter().filter_map(|rule| rule.open(device));
                let mut uncertainties: Vec<_> = self.findings.uncertainties(rule, device).cloned().collect();
                uncertainties.extend(open.filter(|&(of, _)| of == rule).map(|(_, why)| why.to_owned()));
                uncertainties.extend(self.skips.open(rule, device));
                if self.findings.has_suspects(rule, device) {
                    uncertainties.push(
                        "an apparent violation at the start of the file could not be confirmed".to_owned(),
                    );
                }
                let (findings, open) = self.findings.counts(rule, device);
                if findings > 0 || !uncertainties.is_empty() {
                    let uncertainties = uncertainties.into_iter().map(Text::from).collect();
                    found.push(Found { rule, device, findings, open, uncertainties });
                }
            }
        }
        found
    }

    /// Continues from an earlier state at `time_ns`. The model has been brought to that state already.
    pub fn resume(&mut self, rule_state: &RuleState, time_ns: u64) {
        self.coverage.resume_losses(rule_state);
        self.findings.resume(&rule_state.found, time_ns);
        self.coverage.resume(time_ns);
    }

    /// Records were lost, or every rule is uncertain for another reason.
    #[must_use]
    pub fn is_inconclusive(&self) -> bool {
        self.coverage.is_inconclusive()
    }

    /// Evaluates the element that the model has just applied, and returns the findings that are new or have changed.
    pub fn apply(&mut self, model: &Model, element: &Element) -> Vec<Finding> {
        match element {
            Element::Loss(loss) => {
                self.findings.lose(loss, model.now_ns());
                match loss.hook {
                    Some(hook) => {
                        self.coverage.skip(hook, loss.count(), loss.to_ns);
                        self.skips.lose(hook, loss, model);
                    }
                    None => self.coverage.lose(loss.ring, loss.count(), loss.to_ns),
                }
            }
            Element::Unknown(_) => {
                // An unknown record can be of any ring.
                let now_ns = model.now_ns();
                for ring in Ring::ALL {
                    self.coverage.lose(ring, 1, now_ns);
                    self.findings.lose(&Loss::skipped(ring, 1, now_ns, now_ns), now_ns);
                }
            }
            Element::User(record) => {
                if let Some(change) = user::change(record).filter(|change| change.armed) {
                    self.coverage.arm(change.hook);
                }
            }
            Element::Event(_) => {}
        }
        if is_beyond_devices(model) {
            self.coverage.mark_uncertain(Limit::Devices.why());
        }
        self.skips.follow(model);
        let event = match element {
            Element::Event(event) => Some(event.as_ref()),
            _ => None,
        };
        let context = RuleContext {
            model,
            event,
            coverage: &self.coverage,
            options: self.options,
            now_ns: model.now_ns(),
        };
        for change in model.changes().iter().filter(|change| !is_routine(&change.kind)) {
            if let ChangeKind::Reached(limit) = change.kind {
                if limit == Limit::Devices {
                    // Reported once per run, because omitted devices are not kept.
                    continue;
                }
                if !self.reached.insert((limit, change.device)) {
                    continue;
                }
                for rule in RuleId::all().filter(|&rule| limit.touches(rule)) {
                    self.findings.mark_uncertain(rule, change.device, limit.why());
                }
                continue;
            }
            if let ChangeKind::Freed(freed) = &change.kind {
                for &index in &self.by_free[Frees::of(freed) as usize] {
                    self.all[index].change(&context, change, &mut self.findings);
                }
                continue;
            }
            for rule in &mut self.all {
                rule.change(&context, change, &mut self.findings);
            }
        }
        let of_kind = event.and_then(|event| self.by_kind.get(event.kind as usize));
        if let Some(indexes) = of_kind.filter(|indexes| !indexes.is_empty())
            && let Some((event, device)) = event.and_then(|event| Some((event, device_of(model, event)?)))
        {
            for &index in indexes {
                self.all[index].event(&context, device, event, &mut self.findings);
            }
        }
        let is_rare = event.is_none_or(|event| event.id.ring() == Ring::Rare);
        if is_rare || context.now_ns.saturating_sub(self.passed_ns) >= PASS_NS {
            self.passed_ns = context.now_ns;
            let mut pass = |device: &Device| {
                for rule in &mut self.all {
                    rule.pass(&context, device, &mut self.findings);
                }
            };
            let (mut weight, last) = (0, self.passed.take());
            for device in model.devices_after(last) {
                pass(device);
                weight += device.weight();
                if weight >= PASS_WEIGHT && !model.ended() {
                    self.passed = Some(device.address());
                    break;
                }
            }
            if let Some(event) = event
                && last.or(self.passed).is_some()
                && let Some(device) = device_of(model, event)
            {
                pass(device);
            }
        }
        self.findings.settle(context.now_ns, model.ended());
        self.findings.take_changed(context.now_ns, false)
    }

    /// At the end of a run: findings that have happened again since they were reported, and earlier ones that were not found
    /// again.
    pub fn rest(&mut self, model: &Model) -> Vec<Finding> {
        self.findings.end_earlier();
        self.findings.take_changed(model.now_ns(), true)
    }

    /// All findings of the run, oldest first.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        self.findings.all()
    }

    /// The number of findings beyond [`MAX_FINDINGS`], which are only counted.
    #[must_use]
    pub const fn omitted(&self) -> u64 {
        self.findings.omitted()
    }

    /// The verdict of every rule for every device that was seen.
    #[must_use]
    pub fn verdicts(&self, model: &Model) -> Vec<Verdict> {
        let of = |device: &Device| RuleId::all().map(|rule| self.verdict(rule, device)).collect::<Vec<_>>();
        model.devices().flat_map(of).collect()
    }

    fn verdict(&self, rule: RuleId, device: &Device) -> Verdict {
        let address = device.address();
        let findings = self.findings.count(rule, address);
        let (mut answer, mut reasons) = self.coverage.answer(rule);
        let mut uncertainties: Vec<_> = self.findings.uncertainties(rule, address).cloned().collect();
        let open = self.all.iter().filter_map(|rule| rule.open(address));
        uncertainties.extend(open.filter(|&(of, _)| of == rule).map(|(_, why)| why.to_owned()));
        uncertainties.extend(self.skips.open(rule, address));
        if self.findings.omitted() > 0 {
            // The devices of omitted findings are not known.
            uncertainties.push(Limit::Findings.why());
        }
        if self.findings.has_suspects(rule, address) {
            uncertainties.push("the run ended before an apparent violation could be confirmed".to_owned());
        }
        if answer != Answer::NotChecked && !uncertainties.is_empty() {
            answer = Answer::Inconclusive;
            uncertainties.append(&mut reasons);
            reasons = uncertainties;
        }
        if answer == Answer::Holds {
            reasons.extend(self.skips.settled(rule, address));
            reasons.extend(self.findings.remarks(rule, address));
        }
        if findings > 0 {
            answer = Answer::Violated;
            reasons.clear();
        }
        Verdict { rule, device: address, answer, reasons, findings }
    }
}

/// The element was about a device that is not kept.
fn is_beyond_devices(model: &Model) -> bool {
    model.changes().iter().any(|change| change.kind == ChangeKind::Reached(Limit::Devices))
}

/// The device that an event is about.
fn device_of<'a>(model: &'a Model, event: &Event) -> Option<&'a Device> {
    let address = event.device.or_else(|| model.owner(event.pgmap?))?;
    model.device(address)
}
