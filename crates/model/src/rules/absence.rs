//! What a finding rests on that was not recorded. A record that is merely missing would explain it, so that it is suspected
//! first, believed once the losses up to then are known, and withdrawn when a loss comes to light that covers it.

use p2p_trace_common::{Hook, hook::HOOKS};

use crate::event::{Loss, SkipRow};

/// No record of these hooks was seen since a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Absence {
    hooks: &'static [Hook],
    since_ns: u64,
    /// One missing record would explain what seems to be wrong; else it would take several.
    is_one_enough: bool,
}

impl Absence {
    /// One missing record of any of these hooks explains it all.
    pub(super) const fn of_one(hooks: &'static [Hook], since_ns: u64) -> Self {
        Self { hooks, since_ns, is_one_enough: true }
    }

    /// Missing records of several of these hooks explain it, and no single one.
    pub(super) const fn of_several(hooks: &'static [Hook], since_ns: u64) -> Self {
        Self { hooks, since_ns, is_one_enough: false }
    }

    /// A loss can have cost such a record, of something that was found at `found_ns`.
    pub(super) fn is_covered(self, loss: &Loss, found_ns: u64) -> bool {
        let in_time = loss.to_ns >= self.since_ns && loss.from_ns <= found_ns;
        in_time && self.hooks.iter().any(|&hook| can_cost(loss, hook))
    }
}

/// A loss can have cost a record of this hook.
pub(super) fn can_cost(loss: &Loss, hook: Hook) -> bool {
    loss.hook.map_or_else(|| SkipRow::of(hook).ring == loss.ring, |skipped| skipped == hook)
}

/// When records can have been missed, and of which hooks nobody knows.
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
    /// Records were lost, or a hook's runs skipped.
    pub(super) fn add(&mut self, loss: &Loss) {
        let latest = match loss.hook {
            Some(hook) => &mut self.hooks[hook as usize],
            None => &mut self.rings[loss.ring as usize],
        };
        *latest = (*latest).max(Some(loss.to_ns));
    }

    /// The kernel does not count the runs of this hook that it skips, or does.
    pub(super) const fn set_uncounted(&mut self, hook: Hook, is_uncounted: bool) {
        self.uncounted[hook as usize] = is_uncounted;
    }

    /// Why what was found now and rests on an absence cannot be believed.
    pub(super) fn explains(&self, absence: Absence) -> Option<String> {
        let uncounted = absence.hooks.iter().find(|&&hook| self.uncounted[hook as usize]);
        if let Some(hook) = uncounted.filter(|_| absence.is_one_enough) {
            return Some(format!(
                "this kernel does not count the runs of {} that it skips, one of which would explain what seems to violate it",
                hook.name()
            ));
        }
        let is_since = |latest: Option<u64>| latest.is_some_and(|to_ns| to_ns >= absence.since_ns);
        let skipped = absence.hooks.iter().find(|&&hook| is_since(self.hooks[hook as usize]));
        let lost = absence.hooks.iter().find(|&&hook| is_since(self.rings[SkipRow::of(hook).ring as usize]));
        skipped.map(|&hook| skipped_run(hook)).or_else(|| lost.map(|&hook| lost_record(hook)))
    }
}

/// Why a loss explains what rests on the absence of a record.
pub(super) fn explained_by(loss: &Loss, absence: Absence) -> String {
    let hook = absence.hooks.iter().copied().find(|&hook| can_cost(loss, hook));
    match (loss.hook, hook) {
        (Some(hook), _) => skipped_run(hook),
        (None, Some(hook)) => lost_record(hook),
        (None, None) => "records were lost".to_owned(),
    }
}

fn skipped_run(hook: Hook) -> String {
    format!("a run of {} was skipped that would explain what seemed to violate it", hook.name())
}

fn lost_record(hook: Hook) -> String {
    format!("records were lost, and one of {} would explain what seemed to violate it", hook.name())
}
