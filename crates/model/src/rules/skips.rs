//! Runs that the kernel skipped: which rules, of which devices, they leave inconclusive, and until when.
//!
//! What is in doubt after a skipped run of a hook stands in [`SkipRow`], which rules rest on that in
//! [`Spec::hidden_by`](super::Spec).

use std::collections::{BTreeMap, BTreeSet};

use p2p_trace_common::Hook;

use super::{rule::RuleId, words};
use crate::{
    event::{Affected, DeviceAddress, Loss, SkipRow},
    state::{ChangeKind, Device, Ended, Model, Range, SnapshotEnd, Teardown},
};

/// Skipped runs of one hook that nothing has made up for.
#[derive(Clone, Copy, Debug)]
struct Skip {
    since_ns: u64,
    until_ns: u64,
    runs: u64,
}

/// Skipped runs by device and hook.
#[derive(Debug, Default)]
pub(super) struct Skips {
    open: BTreeMap<(DeviceAddress, Hook), Skip>,
    /// How many runs something has made up for.
    made_up: BTreeMap<(DeviceAddress, Hook), u64>,
    /// What can be about devices not yet met.
    unmet: BTreeMap<Hook, Skip>,
    met: BTreeSet<DeviceAddress>,
}

impl Skip {
    fn add(&mut self, loss: &Loss) {
        self.since_ns = self.since_ns.min(loss.from_ns);
        self.until_ns = self.until_ns.max(loss.to_ns);
        self.runs = self.runs.saturating_add(loss.count());
    }
}

impl From<&Loss> for Skip {
    fn from(loss: &Loss) -> Self {
        Self { since_ns: loss.from_ns, until_ns: loss.to_ns, runs: loss.count() }
    }
}

impl Skips {
    /// Runs of a hook were skipped.
    pub(super) fn lose(&mut self, hook: Hook, loss: &Loss, model: &Model) {
        let new = Skip::from(loss);
        let mut keep = |key| {
            self.open.entry(key).and_modify(|skip| skip.add(loss)).or_insert(new);
        };
        for device in model.devices().filter(|device| is_meant(hook, &new, device)) {
            keep((device.address(), hook));
        }
        self.unmet.entry(hook).and_modify(|skip| skip.add(loss)).or_insert(new);
        self.met.extend(model.devices().map(Device::address));
    }

    /// Looks at what the latest element has shown.
    pub(super) fn follow(&mut self, model: &Model) {
        if self.unmet.is_empty() {
            return;
        }
        for change in model.changes() {
            let Some(device) = model.device(change.device) else {
                continue;
            };
            if self.met.insert(change.device) {
                self.meet(device);
            }
            match change.kind {
                ChangeKind::SnapshotEnd(snapshot_end) => {
                    self.settle(device, |skip, hook| is_read(hook, skip, device, &snapshot_end));
                }
                ChangeKind::TornDown(ended) => {
                    self.settle(device, |skip, hook| is_over(hook, skip, device, ended));
                }
                _ => {}
            }
        }
    }

    /// A device is seen for the first time: what was skipped before can have been of it, unless it had no memory then.
    fn meet(&mut self, device: &Device) {
        let mut ranges = device.ranges().peekable();
        let is_born = ranges.peek().is_some() && ranges.all(|range| range.steps.added.is_some());
        for (&hook, skip) in &self.unmet {
            let older = !is_born || SkipRow::of(hook).affected == Affected::Ranges;
            if older && is_meant(hook, skip, device) {
                self.open.insert((device.address(), hook), *skip);
            }
        }
    }

    fn settle(&mut self, device: &Device, is_settled: impl Fn(&Skip, Hook) -> bool) {
        let address = device.address();
        let made_up = &mut self.made_up;
        self.open.retain(|&(of, hook), skip| {
            let is_settled = of == address && is_settled(skip, hook);
            if is_settled {
                let runs = made_up.entry((of, hook)).or_default();
                *runs = runs.saturating_add(skip.runs);
            }
            !is_settled
        });
    }

    /// Why the rule cannot be sure about this device.
    pub(super) fn open(&self, rule: RuleId, device: DeviceAddress) -> impl Iterator<Item = String> {
        let skip = move |hook: Hook| Some((hook, self.open.get(&(device, hook))?.runs));
        let open = rule.spec().hiders().filter_map(skip);
        open.map(|(hook, runs)| skipped(hook, runs))
    }

    /// What made it unsure for a time.
    pub(super) fn made_up(&self, rule: RuleId, device: DeviceAddress) -> impl Iterator<Item = String> {
        let skip = move |hook: Hook| Some((hook, *self.made_up.get(&(device, hook))?));
        let made_up = rule.spec().hiders().filter_map(skip);
        made_up.map(|(hook, runs)| {
            let how = if SkipRow::of(hook).affected.is_read_anew() {
                "the kernel's state was read since"
            } else {
                "a later teardown was seen as a whole"
            };
            format!("{}; {how}", skipped(hook, runs))
        })
    }
}

/// `3 runs of kill were skipped`.
fn skipped(hook: Hook, runs: u64) -> String {
    let were = if runs == 1 { "was" } else { "were" };
    format!("{} of {} {were} skipped", words::counted(runs, "run"), hook.name())
}

/// It can have cost a record of this device.
fn is_meant(hook: Hook, skip: &Skip, device: &Device) -> bool {
    let affected = SkipRow::of(hook).affected;
    let Skip { since_ns, until_ns, .. } = *skip;
    let over = |range: &Range| range.steps.released.or(range.ended_unseen);
    let is_during = |range: &Range| {
        range.seen.time_ns <= until_ns && over(range).is_none_or(|over| over.time_ns >= since_ns)
    };
    let had_memory = || device.ranges().next().is_none() || device.ranges().any(is_during);
    match affected {
        Affected::Nothing => false,
        Affected::Ranges => true,
        Affected::Inserted => device.mapped_ns().is_some_and(|at| at >= since_ns) && had_memory(),
        Affected::Allocated | Affected::Mapped => had_memory(),
        Affected::Bracket | Affected::Teardown => had_memory() && !is_explained(affected, skip, device),
        Affected::Used => device.ranges().any(|range| {
            is_during(range) && range.steps.removed.is_some_and(|removed| removed.time_ns <= until_ns)
        }),
    }
}

/// A teardown fell into that time, was seen as a whole, and left nothing that a further one can have been of.
fn is_explained(affected: Affected, skip: &Skip, device: &Device) -> bool {
    let is_live = |range: &Range| range.steps.released.or(range.ended_unseen).is_none();
    let mut during =
        device.teardowns().filter(|teardown| teardown.overlaps(skip.since_ns, skip.until_ns)).peekable();
    let is_some = during.peek().is_some();
    is_some
        && device.knows_teardowns_since(skip.since_ns)
        && !device.ranges().any(is_live)
        && during.all(|teardown| match affected {
            Affected::Bracket => matches!(teardown.ended, Some((Ended::Released | Ended::Unbound, _))),
            _ => teardown.is_complete(),
        })
}

/// A pull read that began after it has made up for it.
fn is_read(hook: Hook, skip: &Skip, device: &Device, snapshot_end: &SnapshotEnd) -> bool {
    let Some(read) = device.last_snapshot().filter(|read| read.from_ns > skip.until_ns) else {
        return false;
    };
    let during = || device.teardowns().filter(|teardown| teardown.overlaps(skip.since_ns, read.from_ns));
    match SkipRow::of(hook).affected {
        Affected::Allocated | Affected::Inserted => snapshot_end.reconciled && snapshot_end.in_flight == 0,
        Affected::Ranges => snapshot_end.reconciled,
        Affected::Bracket => {
            device.lock().is_some_and(|lock| lock.at.time_ns > skip.until_ns && lock.holder.is_none())
        }
        Affected::Teardown => {
            let ended_unseen =
                |range: &Range| range.ended_unseen.is_some_and(|ended| ended.time_ns >= skip.since_ns);
            let all_known = device.knows_teardowns_since(skip.since_ns);
            snapshot_end.reconciled
                && all_known
                && during().all(Teardown::is_complete)
                && !device.ranges().any(ended_unseen)
        }
        Affected::Nothing | Affected::Mapped | Affected::Used => false,
    }
}

/// The teardown that has just ended has made up for it: it began later and nothing of it is missing, or nothing of it is missing
/// although it could.
fn is_over(hook: Hook, skip: &Skip, device: &Device, ended: Ended) -> bool {
    let Some(teardown) = device.teardowns().next_back() else {
        return false;
    };
    let is_later = teardown.started().is_some_and(|at| at.time_ns > skip.until_ns);
    let affected = SkipRow::of(hook).affected;
    match affected {
        Affected::Bracket => matches!(ended, Ended::Released | Ended::Unbound),
        Affected::Teardown => teardown.is_complete() && (is_later || is_explained(affected, skip, device)),
        _ => is_later && teardown.is_complete(),
    }
}
