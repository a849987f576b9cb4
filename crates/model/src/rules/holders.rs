//! Who took what is out, for a finding: groups of references, as findings name them.

use std::{cmp::Reverse, collections::HashMap};

use super::finding::{Holder, MAX_HOLDERS};
use crate::{
    event::Task,
    state::{Device, RangeId, Reference, TakenBy},
};

/// Who took what of a range, or of the device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// The largest groups.
    pub named: Vec<Holder>,
    /// How many groups there are besides.
    pub left_out: u64,
    /// References of all groups.
    pub references: u64,
    /// Bytes of all groups.
    pub bytes: u64,
    /// References of which it is not sure that they are still those of whoever took them.
    pub unsure: u64,
}

type Group = (&'static str, Option<Task>, Option<u64>, Option<u64>);

/// The references of a range that are known and sure; of all ranges if none is named.
pub(super) fn holders(device: &Device, range: Option<RangeId>) -> Holders {
    let mut groups = HashMap::<Group, Holder>::new();
    let mut all = Holders::default();
    for (_, reference) in device.references() {
        let its = device.range_of(reference).map(|range| range.id);
        if reference.bytes() == 0 || range.is_some() && its != range {
            continue;
        }
        if !device.is_sure(reference) {
            all.unsure = all.unsure.saturating_add(reference.count());
            continue;
        }
        all.references = all.references.saturating_add(reference.count());
        all.bytes = all.bytes.saturating_add(reference.bytes());
        let new = of(reference, &device.taken_by(reference));
        groups
            .entry((new.kind, new.task, new.caller, new.gone_since_ns))
            .and_modify(|group| add(group, &new))
            .or_insert(new);
    }
    all.named = groups.into_values().collect();
    all.named
        .sort_by_key(|holder| (Reverse(holder.bytes), holder.since_ns, holder.record));
    all.left_out = all.named.len().saturating_sub(MAX_HOLDERS) as u64;
    all.named.truncate(MAX_HOLDERS);
    all
}

/// The one that took a reference, which may have ended.
pub(super) const fn of(reference: &Reference, taken_by: &TakenBy<'_>) -> Holder {
    Holder {
        kind: reference.taken.name(),
        task: taken_by.task,
        caller: taken_by.caller,
        cgroup: taken_by.cgroup,
        references: reference.count(),
        bytes: reference.bytes(),
        since_ns: reference.at.time_ns,
        record: reference.at.id,
        gone_since_ns: taken_by.gone_since_ns,
    }
}

fn add(group: &mut Holder, other: &Holder) {
    group.references = group.references.saturating_add(other.references);
    group.bytes = group.bytes.saturating_add(other.bytes);
    if (other.since_ns, other.record) < (group.since_ns, group.record) {
        (group.since_ns, group.record) = (other.since_ns, other.record);
    }
}
