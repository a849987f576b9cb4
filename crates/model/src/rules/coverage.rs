//! Coverage of the rules: which hooks are attached, and which records were lost.

use p2p_trace_common::{
    Hook, Ring,
    hook::{HOOK_SLOTS, HOOKS},
};

use super::{
    rule::{RuleId, Spec},
    rule_state::{RuleState, Skipped},
    verdict::Answer,
};
use crate::{
    accounting::{HookState, HookStatus, MissedQuality},
    event::{Affected, Companions, Method, SkipRow, names::ring_name},
    state::GRACE_NS,
};

/// Whether a hook is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attachment {
    NotEnabled,
    /// This kernel lacks its function.
    Absent,
    Failed,
    /// Attached while a teardown is pending.
    Armed,
    Attached,
}

/// Lost records of one ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Number of lost records.
    pub count: u64,
    /// All of them were begun by this time, `CLOCK_BOOTTIME` in nanoseconds.
    pub until_ns: u64,
}

impl Lost {
    fn add(&mut self, count: u64, until_ns: u64) {
        self.count = self.count.saturating_add(count);
        self.until_ns = self.until_ns.max(until_ns);
    }
}

/// Hooks and losses of a run.
#[derive(Clone, Debug)]
pub struct Coverage {
    hooks: [Attachment; HOOKS],
    /// Hooks whose skipped runs the kernel does not count.
    uncounted: [bool; HOOKS],
    /// Whether the kernel counts skipped runs of kprobes.
    missed: MissedQuality,
    /// Losses that rules depend on, by ring.
    lost: [Lost; 2],
    /// All losses, by ring.
    reported: [Lost; 2],
    /// The part of `reported` that was skipped runs, by hook; [`super::skips`] knows which rules they affect.
    skipped: [u64; HOOK_SLOTS],
    /// Maps and unmaps may have been missed until this time.
    unmapped_ns: u64,
    /// Other reasons why every rule is uncertain.
    uncertainties: Vec<String>,
    /// Everything that was in flight when the trace, or its dump, began has arrived by this time.
    settled_ns: u64,
}

/// The longest time that a free can be in flight. A free is recorded when it begins, and a burst of page frees when another
/// event follows.
const IN_FLIGHT_NS: u64 = 2 * GRACE_NS;

/// Limit on uncertainties that concern every rule.
const MAX_UNCERTAINTIES: usize = 16;

impl Coverage {
    /// For a run with these hooks.
    pub(crate) fn new(hooks: &[HookStatus], missed: MissedQuality) -> Self {
        let mut coverage = Self {
            hooks: [Attachment::NotEnabled; HOOKS],
            uncounted: [false; HOOKS],
            missed,
            lost: [Lost::default(); 2],
            reported: [Lost::default(); 2],
            skipped: [0; HOOK_SLOTS],
            unmapped_ns: 0,
            uncertainties: Vec::new(),
            settled_ns: 0,
        };
        coverage.set(hooks);
        coverage
    }

    /// Updates the state of the hooks. A hook that failed once counts as failed for the run.
    pub(super) fn set(&mut self, hooks: &[HookStatus]) {
        for status in hooks {
            // Every kernel that skips fentry runs counts them (`recursion_misses` came with the check, 5.12).
            let is_kprobe = status.method == Some(Method::Kprobe);
            self.uncounted[status.hook as usize] = is_kprobe && self.missed == MissedQuality::Unknown;
            let attachment = &mut self.hooks[status.hook as usize];
            if *attachment == Attachment::Failed {
                continue;
            }
            *attachment = match status.state {
                // While an armed hook is attached, its state is `Attached`.
                HookState::Attached if *attachment == Attachment::Armed => Attachment::Armed,
                HookState::Attached => Attachment::Attached,
                HookState::Armed => Attachment::Armed,
                HookState::Absent => Attachment::Absent,
                HookState::Failed => Attachment::Failed,
            };
        }
    }

    /// The hook was enabled and could not be attached.
    pub(super) fn has_failed(&self, hook: Hook) -> bool {
        self.attachment(hook).0 == Attachment::Failed
    }

    /// The kernel does not count skipped runs of the hook.
    pub(super) const fn is_uncounted(&self, hook: Hook) -> bool {
        self.uncounted[hook as usize]
    }

    /// The hook is attached, or is armed when needed.
    pub(crate) fn sees(&self, hook: Hook) -> bool {
        matches!(self.attachment(hook).0, Attachment::Attached | Attachment::Armed)
    }

    /// The hook's attachment, and the hook that determines it: a hook that writes only after another one has run sees no
    /// more than that one.
    fn attachment(&self, hook: Hook) -> (Attachment, Hook) {
        let own = self.hooks[hook as usize];
        let noting = Companions::noting(hook).map(|noting| (self.hooks[noting as usize], noting));
        noting
            .filter(|&(of_noting, _)| {
                matches!(own, Attachment::Attached | Attachment::Armed) && of_noting != Attachment::Attached
            })
            .unwrap_or((own, hook))
    }

    /// Notes that a hook was attached or detached because a teardown began or ended.
    pub(super) fn arm(&mut self, hook: Hook) {
        let attachment = &mut self.hooks[hook as usize];
        if *attachment == Attachment::Attached {
            *attachment = Attachment::Armed;
        }
    }

    /// Notes a loss of unknown records of a ring.
    pub(super) fn lose(&mut self, ring: Ring, count: u64, until_ns: u64) {
        for lost in [&mut self.lost, &mut self.reported] {
            lost[ring as usize].add(count, until_ns);
        }
        self.unmapped_ns = self.unmapped_ns.max(until_ns);
    }

    /// Notes skipped runs of a hook.
    pub(super) fn skip(&mut self, hook: Hook, runs: u64, until_ns: u64) {
        let row = SkipRow::of(hook);
        self.reported[row.ring as usize].add(runs, until_ns);
        self.skipped[hook as usize] = self.skipped[hook as usize].saturating_add(runs);
        match row.affected {
            Affected::Allocated | Affected::Inserted | Affected::Ranges | Affected::Teardown => {
                self.lost[row.ring as usize].add(runs, until_ns);
            }
            Affected::Mapped => self.unmapped_ns = self.unmapped_ns.max(until_ns),
            Affected::Bracket | Affected::Used | Affected::Nothing => {}
        }
    }

    /// Continues from earlier losses. Rules may depend on any of them.
    pub(super) fn resume_losses(&mut self, earlier: &RuleState) {
        for (ring, lost) in [(Ring::Hot, earlier.lost_hot), (Ring::Rare, earlier.lost_rare)] {
            self.lose(ring, lost.count, lost.until_ns);
        }
        for &Skipped { hook, runs } in &earlier.skipped {
            let sum = &mut self.skipped[hook as usize];
            *sum = sum.saturating_add(runs);
        }
    }

    /// Makes every rule uncertain, for this reason.
    pub(super) fn mark_uncertain(&mut self, why: String) {
        if self.uncertainties.len() < MAX_UNCERTAINTIES && !self.uncertainties.contains(&why) {
            self.uncertainties.push(why);
        }
    }

    /// Continues from this time: earlier events are not in the stream, but the memory outstanding then is known.
    pub(super) const fn resume(&mut self, time_ns: u64) {
        self.settled_ns = time_ns.saturating_add(IN_FLIGHT_NS);
    }

    /// A free at `now_ns` may have been in flight since before the dump began.
    pub(crate) const fn is_unsettled(&self, now_ns: u64) -> bool {
        now_ns < self.settled_ns
    }

    /// Records were lost, or every rule is uncertain for another reason.
    pub(crate) fn is_inconclusive(&self) -> bool {
        !self.uncertainties.is_empty() || Ring::ALL.into_iter().any(|ring| self.lost(ring).count > 0)
    }

    /// The losses of a ring so far that rules depend on, including those that were settled later.
    #[must_use]
    pub const fn lost(&self, ring: Ring) -> Lost {
        self.lost[ring as usize]
    }

    /// All losses of a ring so far.
    pub(super) const fn reported(&self, ring: Ring) -> Lost {
        self.reported[ring as usize]
    }

    /// The part of [`Self::reported`] that was skipped runs, by hook.
    pub(super) fn skipped(&self) -> impl Iterator<Item = Skipped> {
        let of = |&hook: &Hook| Skipped { hook, runs: self.skipped[hook as usize] };
        Hook::ALL.iter().map(of).filter(|skipped| skipped.runs > 0)
    }

    /// The latest time at which a map or unmap may have been missed.
    pub(super) const fn unmapped_ns(&self) -> u64 {
        self.unmapped_ns
    }

    /// The number of lost records of a ring whose hook is not known.
    fn unknown(&self, ring: Ring) -> u64 {
        let known: u64 =
            self.skipped().filter(|of| SkipRow::of(of.hook).ring == ring).map(|of| of.runs).sum();
        self.reported(ring).count.saturating_sub(known)
    }

    /// The answer of a rule without findings, with its reasons, as far as hooks and losses at any time determine it.
    pub(crate) fn answer(&self, rule: RuleId) -> (Answer, Vec<String>) {
        let spec = rule.spec();
        let unchecked = |group: &&[Hook]| self.unchecked(group, spec.throughout);
        let unchecked: Vec<_> = spec.needs.iter().filter_map(unchecked).collect();
        if !unchecked.is_empty() {
            return (Answer::NotChecked, unchecked);
        }
        let mut uncertainties = self.unseen(spec);
        let answer = if uncertainties.is_empty() { Answer::Holds } else { Answer::Inconclusive };
        uncertainties.extend(self.not_enabled(spec.parts));
        if spec.hiders().any(|hook| self.sees(hook) && self.is_uncounted(hook)) {
            uncertainties.push("this kernel does not count skipped kprobe runs".to_owned());
        }
        (answer, uncertainties)
    }

    /// The reasons other than losses why every rule is uncertain.
    #[must_use]
    pub fn uncertainties(&self) -> &[String] {
        &self.uncertainties
    }

    /// Why no hook of a group can see anything, if none is enabled or this kernel lacks their functions.
    fn unchecked(&self, group: &[Hook], throughout: bool) -> Option<String> {
        let can = |&hook: &Hook| match self.attachment(hook).0 {
            Attachment::Attached | Attachment::Failed => true,
            Attachment::Armed => !throughout,
            Attachment::Absent | Attachment::NotEnabled => false,
        };
        if group.iter().any(can) {
            return None;
        }
        let attachments: Vec<_> = group.iter().map(|&hook| self.attachment(hook)).collect();
        let absent = attachments.iter().find(|&&(attachment, _)| attachment == Attachment::Absent);
        Some(absent.map_or_else(
            || {
                let hooks: Vec<_> = attachments.iter().map(|&(_, hook)| hook.name()).collect();
                format!("hook {} not enabled", hooks.join(" or "))
            },
            |(_, hook)| format!("this kernel lacks the function of hook {}", hook.name()),
        ))
    }

    /// Why the rule cannot confirm an apparent violation: a record that would explain it cannot be seen.
    pub(super) fn blind_spot(&self, rule: RuleId) -> Option<String> {
        let spec = rule.spec();
        let can_be = |&hook: &Hook| self.attachment(hook).0 != Attachment::Absent;
        let blind = |group: &&&[Hook]| !group.iter().any(|&hook| self.sees(hook)) && group.iter().any(can_be);
        let group = spec.needs.iter().chain(spec.confirmed_by).find(blind)?;
        Some(format!("an apparent violation may have an explanation that only {} would show", names(group)))
    }

    /// Enabled coverage that was not complete: failed hooks, losses, and other uncertainties.
    fn unseen(&self, spec: &Spec) -> Vec<String> {
        let all = spec.needs.iter().copied().flatten().chain(spec.parts);
        let mut failed = Vec::new();
        for (attachment, hook) in all.map(|&hook| self.attachment(hook)) {
            if attachment == Attachment::Failed && !failed.contains(&hook) {
                failed.push(hook);
            }
        }
        let failed = failed.iter().map(|hook| format!("hook {} could not be attached", hook.name()));
        let mut uncertainties: Vec<_> = failed.collect();
        for &ring in spec.rings {
            let lost = self.unknown(ring);
            if lost > 0 {
                uncertainties.push(format!("{lost} {} records were lost", ring_name(ring)));
            }
        }
        uncertainties.extend(self.uncertainties.iter().cloned());
        uncertainties
    }

    /// The hooks that were not enabled. A function that this kernel lacks cannot run on it, so its hook is not listed.
    fn not_enabled(&self, hooks: &[Hook]) -> Option<String> {
        let missing: Vec<_> = hooks
            .iter()
            .filter(|&&hook| self.hooks[hook as usize] == Attachment::NotEnabled)
            .copied()
            .collect();
        (!missing.is_empty()).then(|| format!("not enabled: {}", names(&missing)))
    }
}

fn names(hooks: &[Hook]) -> String {
    let names: Vec<_> = hooks.iter().map(|hook| hook.name()).collect();
    names.join(", ")
}
