//! Runs that the kernel skipped: which rules they make inconclusive, for which devices, and until when.
//!
//! [`SkipRow`] defines the state that a skipped run of a hook leaves unknown, and [`Spec::hidden_by`](super::Spec) the rules
//! that depend on it.

use std::collections::{BTreeMap, BTreeSet};

use p2p_trace_common::Hook;

use super::{rule::RuleId, words};
use crate::{
    event::{Affected, DeviceAddress, Loss, SkipRow},
    state::{ChangeKind, Device, Ended, Model, Range, SnapshotEnd, Teardown},
};

/// Skipped runs of one hook.
#[derive(Clone, Copy, Debug)]
struct Skip {
    since_ns: u64,
    until_ns: u64,
    runs: u64,
}

/// Skipped runs by device and hook.
#[derive(Debug, Default)]
pub(super) struct Skips {
    /// Runs that leave rules uncertain.
    open: BTreeMap<(DeviceAddress, Hook), Skip>,
    /// The number of runs that later facts have settled.
    settled: BTreeMap<(DeviceAddress, Hook), u64>,
    /// Runs that may concern devices not seen yet.
    unassigned: BTreeMap<Hook, Skip>,
    seen: BTreeSet<DeviceAddress>,
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
    /// Notes skipped runs of a hook.
    pub(super) fn lose(&mut self, hook: Hook, loss: &Loss, model: &Model) {
        let new = Skip::from(loss);
        let mut keep = |key| {
            self.open.entry(key).and_modify(|skip| skip.add(loss)).or_insert(new);
        };
        for device in model.devices().filter(|device| may_concern(hook, &new, device)) {
            keep((device.address(), hook));
        }
        self.unassigned.entry(hook).and_modify(|skip| skip.add(loss)).or_insert(new);
        self.seen.extend(model.devices().map(Device::address));
    }

    /// Applies the changes of the latest element.
    pub(super) fn follow(&mut self, model: &Model) {
        if self.unassigned.is_empty() {
            return;
        }
        for change in model.changes() {
            let Some(device) = model.device(change.device) else {
                continue;
            };
            if self.seen.insert(change.device) {
                self.add_device(device);
            }
            match change.kind {
                ChangeKind::SnapshotEnd(snapshot_end) => {
                    self.settle(device, |skip, hook| {
                        is_settled_by_snapshot(hook, skip, device, &snapshot_end)
                    });
                }
                ChangeKind::TornDown(ended) => {
                    self.settle(device, |skip, hook| is_settled_by_teardown(hook, skip, device, ended));
                }
                _ => {}
            }
        }
    }

    /// Adds a device that is seen for the first time: earlier skipped runs may concern it, unless it had no memory then.
    fn add_device(&mut self, device: &Device) {
        let mut ranges = device.ranges().peekable();
        let is_new = ranges.peek().is_some() && ranges.all(|range| range.steps.added.is_some());
        for (&hook, skip) in &self.unassigned {
            let is_older = !is_new || SkipRow::of(hook).affected == Affected::Ranges;
            if is_older && may_concern(hook, skip, device) {
                self.open.insert((device.address(), hook), *skip);
            }
        }
    }

    fn settle(&mut self, device: &Device, is_settled: impl Fn(&Skip, Hook) -> bool) {
        let address = device.address();
        let settled = &mut self.settled;
        self.open.retain(|&(of, hook), skip| {
            let is_settled = of == address && is_settled(skip, hook);
            if is_settled {
                let runs = settled.entry((of, hook)).or_default();
                *runs = runs.saturating_add(skip.runs);
            }
            !is_settled
        });
    }

    /// Why the rule is uncertain about this device.
    pub(super) fn open(&self, rule: RuleId, device: DeviceAddress) -> impl Iterator<Item = String> {
        let skip = move |hook: Hook| Some((hook, self.open.get(&(device, hook))?.runs));
        let open = rule.spec().hiders().filter_map(skip);
        open.map(|(hook, runs)| skipped(hook, runs))
    }

    /// Why the rule was uncertain for a time, and what settled it.
    pub(super) fn settled(&self, rule: RuleId, device: DeviceAddress) -> impl Iterator<Item = String> {
        let skip = move |hook: Hook| Some((hook, *self.settled.get(&(device, hook))?));
        let settled = rule.spec().hiders().filter_map(skip);
        settled.map(|(hook, runs)| {
            let how = if SkipRow::of(hook).affected.is_read_anew() {
                "a later snapshot settled this"
            } else {
                "a later complete teardown settled this"
            };
            format!("{}; {how}", skipped(hook, runs))
        })
    }
}

/// The reason for an uncertainty, such as `3 runs of kill were skipped`.
fn skipped(hook: Hook, runs: u64) -> String {
    let were = if runs == 1 { "was" } else { "were" };
    format!("{} of {} {were} skipped", words::counted(runs, "run"), hook.name())
}

/// Returns true if the skipped runs may have cost a record about this device.
fn may_concern(hook: Hook, skip: &Skip, device: &Device) -> bool {
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

/// Returns true if a teardown overlapped the skipped runs, was seen completely, and left no range that another teardown could have
/// been about.
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

/// Returns true if the snapshot began after the skipped runs and settles them.
fn is_settled_by_snapshot(hook: Hook, skip: &Skip, device: &Device, snapshot_end: &SnapshotEnd) -> bool {
    let Some(snapshot) = device.last_snapshot().filter(|snapshot| snapshot.from_ns > skip.until_ns) else {
        return false;
    };
    let during = || device.teardowns().filter(|teardown| teardown.overlaps(skip.since_ns, snapshot.from_ns));
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

/// Returns true if the teardown that has just ended settles the skipped runs: it is complete, and either began later or
/// overlapped them.
fn is_settled_by_teardown(hook: Hook, skip: &Skip, device: &Device, ended: Ended) -> bool {
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
