//! The rules: what of all that happened must not be.
//!
//! Each rule is a file with one job, judges what the [model](crate::state) came to after each element of the stream, and
//! is pure: a live run, a replay and a recovery come to the same findings. What a rule depends on stands in its row of
//! [`TABLE`], from which follows whether it could be checked. The observed order decides, never the kernel's version.
//!
//! `docs/rules.md` says for each rule what it means and what to do.

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

/// All rules at work on one run.
#[derive(Debug)]
pub struct Rules {
    checks: Vec<Box<dyn Rule>>,
    /// Which of them judge events of a kind.
    by_kind: Vec<Vec<usize>>,
    /// Which of them judge frees, by [`Frees::of`].
    by_free: [Vec<usize>; 3],
    findings: Findings,
    coverage: Coverage,
    skips: Skips,
    options: Options,
    /// When the rules were last shown that time has passed.
    passed_ns: u64,
    /// Limits that were told.
    reached: BTreeSet<(Limit, DeviceAddress)>,
    /// The device that was looked at last.
    passed: Option<DeviceAddress>,
}

/// How often the rules are shown that time has passed.
const PASS_NS: u64 = 100_000_000;
/// Devices and ranges that are looked at after one element, beside those it is about: all of a host that has many. Where there are
/// more, the next elements go on with the others.
const PASS_WEIGHT: usize = 1024;

impl Rules {
    /// For a run with these hooks, and a kernel that counts the runs of kprobes that it skips, or does not.
    #[must_use]
    pub fn new(options: Options, hooks: &[HookStatus], missed: MissedQuality) -> Self {
        let checks: Vec<Box<dyn Rule>> = vec![
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
            Box::new(unexplained_reference::check()),
            Box::new(leaked_reference::check()),
            Box::<overlapping_ranges::OverlappingRanges>::default(),
            Box::<map_imbalance::MapImbalance>::default(),
            Box::<incomplete::Incomplete>::default(),
        ];
        let of = |judges: &dyn Fn(&dyn Rule) -> bool| -> Vec<usize> {
            let judging = checks.iter().enumerate().filter(|(_, check)| judges(check.as_ref()));
            judging.map(|(index, _)| index).collect()
        };
        let judges = |kind: Kind| of(&|check| check.kinds().contains(&kind));
        let last = Kind::ALL.iter().map(|&kind| kind as usize).max().unwrap_or_default();
        let by_kind =
            (0..=last).map(|number| Kind::from_u8(number as u8).map_or_else(Vec::new, judges)).collect();
        let by_free = [Frees::None, Frees::Unusual, Frees::All]
            .map(|least| of(&|check| check.frees() >= least && least > Frees::None));
        let coverage = Coverage::new(hooks, missed);
        let mut findings = Findings::default();
        findings.set_coverage(&coverage);
        Self {
            by_kind,
            by_free,
            checks,
            findings,
            coverage,
            skips: Skips::default(),
            options,
            passed_ns: 0,
            reached: BTreeSet::new(),
            passed: None,
        }
    }

    /// The hooks have changed.
    pub(crate) fn set_hooks(&mut self, hooks: &[HookStatus]) {
        self.coverage.set(hooks);
        self.findings.set_coverage(&self.coverage);
    }

    /// Something is not known, whatever the records tell: no rule can be sure.
    pub(crate) fn mark_uncertain(&mut self, why: impl Into<String>) {
        self.coverage.mark_uncertain(why.into());
    }

    /// A limit was reached that no record tells of.
    pub(crate) fn reach(&mut self, limit: Limit) {
        self.mark_uncertain(limit.why());
    }

    /// What can be seen.
    #[must_use]
    pub const fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// What they have come to so far, for whoever goes on from here.
    #[must_use]
    pub fn rule_state(&self, model: &Model) -> RuleState {
        RuleState {
            lost_hot: self.coverage.told(Ring::Hot),
            lost_rare: self.coverage.told(Ring::Rare),
            skipped: self.coverage.skipped().collect(),
            found: self.found(model),
        }
    }

    /// By rule and device, where there is anything to say. What is open is taken for doubtful: how it ends is not told here.
    fn found(&self, model: &Model) -> Vec<Found> {
        let mut found = Vec::new();
        for device in model.devices().map(Device::address) {
            for rule in RuleId::all() {
                let open = self.checks.iter().filter_map(|check| check.open(device));
                let mut uncertainties: Vec<_> = self.findings.uncertainties(rule, device).cloned().collect();
                uncertainties.extend(open.filter(|&(of, _)| of == rule).map(|(_, why)| why.to_owned()));
                uncertainties.extend(self.skips.open(rule, device));
                if self.findings.has_suspects(rule, device) {
                    uncertainties.push(
                        "what seemed to violate it when the file begins could not be confirmed".to_owned(),
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

    /// Goes on from what they had come to at `time_ns`. The model has been brought there already.
    pub fn resume(&mut self, rule_state: &RuleState, time_ns: u64) {
        self.coverage.resume_losses(rule_state);
        self.findings.resume(&rule_state.found, time_ns);
        self.coverage.resume(time_ns);
    }

    /// Records were lost, or something is not known, about whichever device.
    #[must_use]
    pub fn is_inconclusive(&self) -> bool {
        self.coverage.is_inconclusive()
    }

    /// Judges the element that the model has just taken in; gives the findings that are new or have changed.
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
                // Of which ring it is does not matter to what it can have been.
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
                    // Said once for the run: there is no place for each of those that are left out.
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
            if let ChangeKind::Freed(was) = &change.kind {
                for &index in &self.by_free[Frees::of(was) as usize] {
                    self.checks[index].change(&context, change, &mut self.findings);
                }
                continue;
            }
            for check in &mut self.checks {
                check.change(&context, change, &mut self.findings);
            }
        }
        let judges = event.and_then(|event| self.by_kind.get(event.kind as usize));
        if let Some(judges) = judges.filter(|judges| !judges.is_empty())
            && let Some((event, device)) = event.and_then(|event| Some((event, device_of(model, event)?)))
        {
            for &index in judges {
                self.checks[index].event(&context, device, event, &mut self.findings);
            }
        }
        let is_rare = event.is_none_or(|event| event.id.ring() == Ring::Rare);
        if is_rare || context.now_ns.saturating_sub(self.passed_ns) >= PASS_NS {
            self.passed_ns = context.now_ns;
            let mut look_at = |device: &Device| {
                for check in &mut self.checks {
                    check.pass(&context, device, &mut self.findings);
                }
            };
            let (mut weight, last) = (0, self.passed.take());
            for device in model.devices_after(last) {
                look_at(device);
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
                look_at(device);
            }
        }
        self.findings.settle(context.now_ns, model.ended());
        self.findings.take(context.now_ns, false)
    }

    /// The findings that have happened again since they were told, and what was found before and not again: at the end of a run.
    pub fn rest(&mut self, model: &Model) -> Vec<Finding> {
        self.findings.end_earlier();
        self.findings.take(model.now_ns(), true)
    }

    /// All findings of the run, oldest first.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        self.findings.all()
    }

    /// Findings beyond [`MAX_FINDINGS`], which are only counted.
    #[must_use]
    pub const fn omitted(&self) -> u64 {
        self.findings.omitted()
    }

    /// What every rule comes to for every device that was seen.
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
        let open = self.checks.iter().filter_map(|check| check.open(address));
        uncertainties.extend(open.filter(|&(of, _)| of == rule).map(|(_, why)| why.to_owned()));
        uncertainties.extend(self.skips.open(rule, address));
        if self.findings.omitted() > 0 {
            // Of which device they are is not kept.
            uncertainties.push(Limit::Findings.why());
        }
        if self.findings.has_suspects(rule, address) {
            uncertainties
                .push("the run broke off before what seems to violate it could be confirmed".to_owned());
        }
        if answer != Answer::NotChecked && !uncertainties.is_empty() {
            answer = Answer::Inconclusive;
            uncertainties.append(&mut reasons);
            reasons = uncertainties;
        }
        if answer == Answer::Holds {
            reasons.extend(self.skips.made_up(rule, address));
            reasons.extend(self.findings.remarks(rule, address));
        }
        if findings > 0 {
            answer = Answer::Violated;
            reasons.clear();
        }
        Verdict { rule, device: address, answer, reasons, findings }
    }
}

/// It was about a device that is not kept.
fn is_beyond_devices(model: &Model) -> bool {
    model.changes().iter().any(|change| change.kind == ChangeKind::Reached(Limit::Devices))
}

/// The device that an event is about.
fn device_of<'a>(model: &'a Model, event: &Event) -> Option<&'a Device> {
    let address = event.device.or_else(|| model.owner(event.pgmap?))?;
    model.device(address)
}
