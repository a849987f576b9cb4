//! What the rules can see: which hooks are there, and what was lost.

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

/// Whether a hook sees what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    NotAskedFor,
    Absent,
    Failed,
    /// While a teardown is pending.
    Armed,
    Sees,
}

/// Records lost of one ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// How many.
    pub count: u64,
    /// All of them were begun by this time.
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
    hooks: [Sight; HOOKS],
    /// Hooks of which the kernel skips runs and does not count them.
    uncounted: [bool; HOOKS],
    /// Whether it counts those of kprobes.
    missed: MissedQuality,
    /// Of what a rule rests on.
    lost: [Lost; 2],
    /// Of whatever.
    told: [Lost; 2],
    /// Of these, runs that were skipped, by hook: which rules they touch is for [`super::skips`] to say.
    skipped: [u64; HOOK_SLOTS],
    /// Maps and unmaps can have been missed until then.
    unmapped_ns: u64,
    /// What else makes every rule unsure.
    uncertainties: Vec<String>,
    /// What was on its way when the trace, or its dump, begins has come by then.
    settled_ns: u64,
}

/// A free is told when it begins, and a burst of them when something else happens: so long it can take.
const ON_ITS_WAY_NS: u64 = 2 * GRACE_NS;

/// Doubts about everything that are kept.
const MAX_UNCERTAINTIES: usize = 16;

impl Coverage {
    /// For a run with these hooks.
    pub(crate) fn new(hooks: &[HookStatus], missed: MissedQuality) -> Self {
        let mut coverage = Self {
            hooks: [Sight::NotAskedFor; HOOKS],
            uncounted: [false; HOOKS],
            missed,
            lost: [Lost::default(); 2],
            told: [Lost::default(); 2],
            skipped: [0; HOOK_SLOTS],
            unmapped_ns: 0,
            uncertainties: Vec::new(),
            settled_ns: 0,
        };
        coverage.set(hooks);
        coverage
    }

    /// The hooks have changed. One that failed once has failed for the run.
    pub(super) fn set(&mut self, hooks: &[HookStatus]) {
        for status in hooks {
            // What the kernel skips of fentry it counts wherever it skips any (`recursion_misses` came with the check, 5.12).
            let is_kprobe = status.method == Some(Method::Kprobe);
            self.uncounted[status.hook as usize] = is_kprobe && self.missed == MissedQuality::Unknown;
            let sight = &mut self.hooks[status.hook as usize];
            if *sight == Sight::Failed {
                continue;
            }
            *sight = match status.state {
                // An armed one is told to be attached while it is.
                HookState::Attached if *sight == Sight::Armed => Sight::Armed,
                HookState::Attached => Sight::Sees,
                HookState::Armed => Sight::Armed,
                HookState::Absent => Sight::Absent,
                HookState::Failed => Sight::Failed,
            };
        }
    }

    /// It was asked for and could not be attached.
    pub(super) fn has_failed(&self, hook: Hook) -> bool {
        self.sight(hook).0 == Sight::Failed
    }

    /// The kernel skips runs of it and does not count them.
    pub(super) const fn is_uncounted(&self, hook: Hook) -> bool {
        self.uncounted[hook as usize]
    }

    /// It sees what happens, or will when it is armed.
    pub(crate) fn sees(&self, hook: Hook) -> bool {
        matches!(self.sight(hook).0, Sight::Sees | Sight::Armed)
    }

    /// What it sees, and the hook to which that is due: one that writes only after another one has run sees no more than that.
    fn sight(&self, hook: Hook) -> (Sight, Hook) {
        let own = self.hooks[hook as usize];
        let noting = Companions::noting(hook).map(|noting| (self.hooks[noting as usize], noting));
        noting
            .filter(|&(sight, _)| matches!(own, Sight::Sees | Sight::Armed) && sight != Sight::Sees)
            .unwrap_or((own, hook))
    }

    /// A hook was attached or detached because a teardown was pending or was over.
    pub(super) fn arm(&mut self, hook: Hook) {
        let sight = &mut self.hooks[hook as usize];
        if *sight == Sight::Sees {
            *sight = Sight::Armed;
        }
    }

    /// Records of a ring were lost, whichever.
    pub(super) fn lose(&mut self, ring: Ring, count: u64, until_ns: u64) {
        for lost in [&mut self.lost, &mut self.told] {
            lost[ring as usize].add(count, until_ns);
        }
        self.unmapped_ns = self.unmapped_ns.max(until_ns);
    }

    /// Runs of a hook were skipped.
    pub(super) fn skip(&mut self, hook: Hook, runs: u64, until_ns: u64) {
        let row = SkipRow::of(hook);
        self.told[row.ring as usize].add(runs, until_ns);
        self.skipped[hook as usize] = self.skipped[hook as usize].saturating_add(runs);
        match row.affected {
            Affected::Allocated | Affected::Inserted | Affected::Ranges | Affected::Teardown => {
                self.lost[row.ring as usize].add(runs, until_ns);
            }
            Affected::Mapped => self.unmapped_ns = self.unmapped_ns.max(until_ns),
            Affected::Bracket | Affected::Used | Affected::Nothing => {}
        }
    }

    /// Goes on from what had been lost. What a rule rests on can have been among all of it.
    pub(super) fn resume_losses(&mut self, judged: &RuleState) {
        for (ring, lost) in [(Ring::Hot, judged.lost_hot), (Ring::Rare, judged.lost_rare)] {
            self.lose(ring, lost.count, lost.until_ns);
        }
        for &Skipped { hook, runs } in &judged.skipped {
            let sum = &mut self.skipped[hook as usize];
            *sum = sum.saturating_add(runs);
        }
    }

    /// No rule can be sure.
    pub(super) fn mark_uncertain(&mut self, why: String) {
        if self.uncertainties.len() < MAX_UNCERTAINTIES && !self.uncertainties.contains(&why) {
            self.uncertainties.push(why);
        }
    }

    /// What was before this time is not told; what was out then is known.
    pub(super) const fn resume(&mut self, time_ns: u64) {
        self.settled_ns = time_ns.saturating_add(ON_ITS_WAY_NS);
    }

    /// What is given back at `now_ns` can have been on its way since before the dump begins.
    pub(crate) const fn is_unsettled(&self, now_ns: u64) -> bool {
        now_ns < self.settled_ns
    }

    /// Something was lost, or is not known.
    pub(crate) fn is_inconclusive(&self) -> bool {
        !self.uncertainties.is_empty() || Ring::ALL.into_iter().any(|ring| self.lost(ring).count > 0)
    }

    /// What was lost of a ring so far that a rule can rest on, whatever has made up for it.
    #[must_use]
    pub const fn lost(&self, ring: Ring) -> Lost {
        self.lost[ring as usize]
    }

    /// All that was lost of a ring so far.
    pub(super) const fn told(&self, ring: Ring) -> Lost {
        self.told[ring as usize]
    }

    /// Of that, runs that were skipped, by hook.
    pub(super) fn skipped(&self) -> impl Iterator<Item = Skipped> {
        let of = |&hook: &Hook| Skipped { hook, runs: self.skipped[hook as usize] };
        Hook::ALL.iter().map(of).filter(|skipped| skipped.runs > 0)
    }

    /// When the latest map or unmap can have been missed.
    pub(super) const fn unmapped_ns(&self) -> u64 {
        self.unmapped_ns
    }

    /// How many records of a ring were lost of which it is not known what they were.
    fn unknown(&self, ring: Ring) -> u64 {
        let known: u64 =
            self.skipped().filter(|of| SkipRow::of(of.hook).ring == ring).map(|of| of.runs).sum();
        self.told(ring).count.saturating_sub(known)
    }

    /// What the rule comes to where it has found nothing, and why: by its hooks and by losses at any time.
    pub(crate) fn answer(&self, rule: RuleId) -> (Answer, Vec<String>) {
        let spec = rule.spec();
        let unchecked = |group: &&[Hook]| self.unchecked(group, spec.throughout);
        let unchecked: Vec<_> = spec.needs.iter().filter_map(unchecked).collect();
        if !unchecked.is_empty() {
            return (Answer::NotChecked, unchecked);
        }
        let mut uncertainties = self.unseen(spec);
        let answer = if uncertainties.is_empty() { Answer::Holds } else { Answer::Inconclusive };
        uncertainties.extend(self.not_asked_for(spec.parts));
        if spec.hiders().any(|hook| self.sees(hook) && self.is_uncounted(hook)) {
            uncertainties.push("this kernel does not count the runs of kprobes that it skips".to_owned());
        }
        (answer, uncertainties)
    }

    /// What makes every rule unsure, beside losses, in sentences.
    #[must_use]
    pub fn uncertainties(&self) -> &[String] {
        &self.uncertainties
    }

    /// Why nothing of a group can be seen, where that was not asked for or cannot be.
    fn unchecked(&self, group: &[Hook], throughout: bool) -> Option<String> {
        let can = |&hook: &Hook| match self.sight(hook).0 {
            Sight::Sees | Sight::Failed => true,
            Sight::Armed => !throughout,
            Sight::Absent | Sight::NotAskedFor => false,
        };
        if group.iter().any(can) {
            return None;
        }
        let due: Vec<_> = group.iter().map(|&hook| self.sight(hook)).collect();
        let absent = due.iter().find(|&&(sight, _)| sight == Sight::Absent);
        Some(absent.map_or_else(
            || {
                let hooks: Vec<_> = due.iter().map(|&(_, hook)| hook).collect();
                format!("the hook {} was not asked for", names(&hooks))
            },
            |(_, hook)| format!("this kernel does not have what the hook {} is on", hook.name()),
        ))
    }

    /// Why the rule cannot believe what it finds: something that would explain it is not seen.
    pub(super) fn disbelief(&self, rule: RuleId) -> Option<String> {
        let spec = rule.spec();
        let can_be = |&hook: &Hook| self.sight(hook).0 != Sight::Absent;
        let blind = |group: &&&[Hook]| !group.iter().any(|&hook| self.sees(hook)) && group.iter().any(can_be);
        let group = spec.needs.iter().chain(spec.believes).find(blind)?;
        Some(format!("what seems to violate it can have an explanation that only {} would see", names(group)))
    }

    /// What was asked for and not seen.
    fn unseen(&self, spec: &Spec) -> Vec<String> {
        let all = spec.needs.iter().copied().flatten().chain(spec.parts);
        let mut failed = Vec::new();
        for (sight, hook) in all.map(|&hook| self.sight(hook)) {
            if sight == Sight::Failed && !failed.contains(&hook) {
                failed.push(hook);
            }
        }
        let failed = failed.iter().map(|hook| format!("the hook {} could not be attached", hook.name()));
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

    /// Which of the hooks were not asked for. What this kernel does not have cannot happen on it.
    fn not_asked_for(&self, hooks: &[Hook]) -> Option<String> {
        let missing: Vec<_> =
            hooks.iter().filter(|&&hook| self.hooks[hook as usize] == Sight::NotAskedFor).copied().collect();
        (!missing.is_empty()).then(|| format!("not asked for: {}", names(&missing)))
    }
}

fn names(hooks: &[Hook]) -> String {
    let names: Vec<_> = hooks.iter().map(|hook| hook.name()).collect();
    names.join(", ")
}
