//! The absence of records that a finding rests on.
//!
//! A missing record would explain such a finding. So it is suspected first, confirmed once all losses up to then are known,
//! and withdrawn if a loss that covers it is reported later.

use p2p_trace_common::{Hook, hook::HOOKS};

use crate::event::{Loss, SkipRow};

/// The absence of records of these hooks since a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Absence {
    hooks: &'static [Hook],
    since_ns: u64,
    /// One missing record would explain the apparent violation; otherwise it takes several.
    is_one_enough: bool,
}

impl Absence {
    /// One missing record of any of these hooks would explain the apparent violation.
    pub(super) const fn of_one(hooks: &'static [Hook], since_ns: u64) -> Self {
        Self { hooks, since_ns, is_one_enough: true }
    }

    /// Missing records of several of these hooks would explain the apparent violation, a single one would not.
    pub(super) const fn of_several(hooks: &'static [Hook], since_ns: u64) -> Self {
        Self { hooks, since_ns, is_one_enough: false }
    }

    /// Returns true if the loss may include such a record, for a violation found at `found_ns`.
    pub(super) fn is_covered(self, loss: &Loss, found_ns: u64) -> bool {
        let in_time = loss.to_ns >= self.since_ns && loss.from_ns <= found_ns;
        in_time && self.hooks.iter().any(|&hook| can_cost(loss, hook))
    }
}

/// Returns true if the loss may include a record of this hook.
pub(super) fn can_cost(loss: &Loss, hook: Hook) -> bool {
    loss.hook.map_or_else(|| SkipRow::of(hook).ring == loss.ring, |skipped| skipped == hook)
}

/// The latest time at which records may have been missed, and the hooks whose skipped runs are not counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missed {
    hooks: [Option<u64>; HOOKS],
    rings: [Option<u64>; 2],
    uncounted: [bool; HOOKS],
}

impl Default for Missed {
    fn default() -> Self {
        Self { hooks: [None; HOOKS], rings: [None; 2], uncounted: [false; HOOKS] }
    }
}

impl Missed {
    /// Notes lost records, or skipped runs of a hook.
    pub(super) fn add(&mut self, loss: &Loss) {
        let latest = match loss.hook {
            Some(hook) => &mut self.hooks[hook as usize],
            None => &mut self.rings[loss.ring as usize],
        };
        *latest = (*latest).max(Some(loss.to_ns));
    }

    /// Sets whether the kernel leaves skipped runs of this hook uncounted.
    pub(super) const fn set_uncounted(&mut self, hook: Hook, is_uncounted: bool) {
        self.uncounted[hook as usize] = is_uncounted;
    }

    /// Why a violation that was found now and rests on an absence cannot be confirmed.
    pub(super) fn explains(&self, absence: Absence) -> Option<String> {
        let uncounted = absence.hooks.iter().find(|&&hook| self.uncounted[hook as usize]);
        if let Some(hook) = uncounted.filter(|_| absence.is_one_enough) {
            return Some(format!(
                "this kernel does not count skipped runs of {}, and one would explain the apparent violation",
                hook.name()
            ));
        }
        let is_since = |latest: Option<u64>| latest.is_some_and(|to_ns| to_ns >= absence.since_ns);
        let skipped = absence.hooks.iter().find(|&&hook| is_since(self.hooks[hook as usize]));
        let lost = absence.hooks.iter().find(|&&hook| is_since(self.rings[SkipRow::of(hook).ring as usize]));
        skipped.map(|&hook| skipped_run(hook)).or_else(|| lost.map(|&hook| lost_record(hook)))
    }
}

/// Why a loss explains a violation that rests on the absence of a record.
pub(super) fn explained_by(loss: &Loss, absence: Absence) -> String {
    let hook = absence.hooks.iter().copied().find(|&hook| can_cost(loss, hook));
    match (loss.hook, hook) {
        (Some(hook), _) => skipped_run(hook),
        (None, Some(hook)) => lost_record(hook),
        (None, None) => "records were lost".to_owned(),
    }
}

fn skipped_run(hook: Hook) -> String {
    format!("a skipped run of {} would explain the apparent violation", hook.name())
}

fn lost_record(hook: Hook) -> String {
    format!("records were lost, and one of {} would explain the apparent violation", hook.name())
}
