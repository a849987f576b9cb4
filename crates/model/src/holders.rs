//! Who took what is out of a device: the one grouping of its references, for rules, reports and the dashboard.
//!
//! Who *took* memory is observed. Who uses or pins it now is not.

use std::{cmp::Reverse, collections::HashMap};

use crate::{
    event::{Id, Task},
    state::{AllocatedBy, Device, HolderKind, RangeId, Reference},
};

/// Groups of references that [`Holders`] names at most, the largest first.
pub const MAX_HOLDERS: usize = 32;

/// Memory that one task took in one way at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// In which way.
    pub kind: HolderKind,
    /// The task that took it.
    pub task: Option<Task>,
    /// Return address of the function that took it.
    pub caller: Option<u64>,
    /// The task's cgroup, by its id.
    pub cgroup: Option<u64>,
    /// By then its process had exited, `CLOCK_BOOTTIME` in nanoseconds; `None`: not found so.
    pub exited_since_ns: Option<u64>,
    /// Records were lost since: it may have changed hands ([`Device::is_sure`]).
    pub unsure: bool,
    /// How many allocations, lists or mmaps these are.
    pub count: u64,
    /// How many references to the range these are.
    pub references: u64,
    /// Bytes, in whole pages.
    pub bytes: u64,
    /// When the oldest was taken, `CLOCK_BOOTTIME` in nanoseconds.
    pub since_ns: u64,
    /// The record of that.
    pub record: Id,
    /// When the newest was taken.
    pub newest_ns: u64,
}

impl Holder {
    /// Of one reference, which may have ended.
    pub(crate) const fn of(reference: &Reference, allocated_by: &AllocatedBy<'_>, unsure: bool) -> Self {
        Self {
            kind: reference.allocated.kind(),
            task: allocated_by.task,
            caller: allocated_by.caller,
            cgroup: allocated_by.cgroup,
            exited_since_ns: allocated_by.exited_since_ns,
            unsure,
            count: 1,
            references: reference.count(),
            bytes: reference.bytes(),
            since_ns: reference.at.time_ns,
            record: reference.at.id,
            newest_ns: reference.at.time_ns,
        }
    }

    /// More that was taken in the same way.
    fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.references = self.references.saturating_add(other.references);
        self.bytes = self.bytes.saturating_add(other.bytes);
        if (other.since_ns, other.record) < (self.since_ns, self.record) {
            (self.since_ns, self.record) = (other.since_ns, other.record);
        }
        self.newest_ns = self.newest_ns.max(other.newest_ns);
    }
}

/// A holder, by one path of calls.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// What was taken on it, by whom.
    pub holder: Holder,
    /// Return addresses, innermost first; empty where stacks were not captured.
    pub stack: &'a [u64],
}

/// The references of a device in groups of those that were taken in the same way. A million of them make a few groups.
#[derive(Debug)]
pub struct Groups<'a> {
    device: &'a Device,
    all: Vec<Group<'a>>,
    numbers: HashMap<Key, u32>,
}

/// What references of one group have in common, in the terms of the device: short, since there can be a million of them.
type Key = (u32, u32, HolderKind, bool);

impl<'a> Groups<'a> {
    /// Of those references that count.
    #[must_use]
    pub fn of(device: &'a Device, counts: impl Fn(&Reference) -> bool) -> Self {
        let all = device.references().map(|(_, reference)| reference);
        Self::among(device, all.filter(|reference| counts(reference)))
    }

    fn among(device: &'a Device, references: impl Iterator<Item = &'a Reference>) -> Self {
        let mut groups = Self { device, all: Vec::new(), numbers: HashMap::new() };
        // Who takes much mostly takes it in a row.
        let mut latest: Option<(Key, u32)> = None;
        for reference in references {
            let key = groups.key(reference);
            let known = match latest {
                Some((same, number)) if same == key => Some(number),
                _ => groups.numbers.get(&key).copied(),
            };
            let number = known.unwrap_or_else(|| groups.begin(key));
            latest = Some((key, number));
            groups.add(number, reference, key.3);
        }
        groups
    }

    fn key(&self, reference: &Reference) -> Key {
        let (origin, pid) = reference.holder();
        (origin, pid, reference.allocated.kind(), !self.device.is_sure(reference))
    }

    /// A group of which there is no reference yet.
    fn begin(&mut self, key: Key) -> u32 {
        let number = self.numbers.len() as u32;
        self.numbers.insert(key, number);
        number
    }

    fn add(&mut self, number: u32, reference: &Reference, unsure: bool) {
        if let Some(group) = self.all.get_mut(number as usize) {
            // What is the same for all of the group is not looked up again.
            let more = Holder {
                count: 1,
                references: reference.count(),
                bytes: reference.bytes(),
                since_ns: reference.at.time_ns,
                record: reference.at.id,
                newest_ns: reference.at.time_ns,
                ..group.holder
            };
            group.holder.add(&more);
            return;
        }
        let allocated_by = self.device.allocated_by(reference);
        self.all
            .push(Group { holder: Holder::of(reference, &allocated_by, unsure), stack: allocated_by.stack });
    }

    /// Every group.
    #[must_use]
    pub fn all(&self) -> &[Group<'a>] {
        &self.all
    }

    /// The place in [`Groups::all`] of the group that a reference belongs to; `None` for one that does not count.
    #[must_use]
    pub fn place_of(&self, reference: &Reference) -> Option<usize> {
        self.numbers.get(&self.key(reference)).map(|&number| number as usize)
    }

    /// The groups without their stacks, the largest first.
    #[must_use]
    pub fn holders(&self) -> Vec<Holder> {
        type Same = (HolderKind, Option<Task>, Option<u64>, Option<u64>, Option<u64>, bool);
        let mut holders = HashMap::<Same, Holder>::new();
        for Group { holder, .. } in &self.all {
            let same = (
                holder.kind,
                holder.task,
                holder.caller,
                holder.cgroup,
                holder.exited_since_ns,
                holder.unsure,
            );
            holders.entry(same).and_modify(|known| known.add(holder)).or_insert(*holder);
        }
        let mut holders: Vec<_> = holders.into_values().collect();
        holders.sort_by_key(|holder| (Reverse(holder.bytes), holder.since_ns, holder.record));
        holders
    }
}

/// What is known to be out, for who cannot name a million holders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// The largest of those of whom it is sure.
    pub named: Vec<Holder>,
    /// How many there are besides.
    pub omitted: u64,
    /// References of all of them.
    pub references: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// References of which it is not sure that they are still those of whoever took them.
    pub unsure: u64,
}

impl Holders {
    /// Of a range; of the whole device if none is named.
    #[must_use]
    pub fn of(device: &Device, range: Option<RangeId>) -> Self {
        let counts = |reference: &Reference| reference.bytes() > 0;
        let groups = match range {
            None => Groups::of(device, counts),
            // A device can have a million references to others.
            Some(range) if device.range(range).is_some() => {
                Groups::among(device, device.references_of(range).filter(|reference| counts(reference)))
            }
            Some(_) => return Self::default(),
        };
        let (unsure, mut named): (Vec<_>, Vec<_>) =
            groups.holders().into_iter().partition(|holder| holder.unsure);
        let sum =
            |holders: &[Holder], of: fn(&Holder) -> u64| holders.iter().map(of).fold(0, u64::saturating_add);
        let (references, bytes) =
            (sum(&named, |holder| holder.references), sum(&named, |holder| holder.bytes));
        let omitted = named.len().saturating_sub(MAX_HOLDERS) as u64;
        named.truncate(MAX_HOLDERS);
        Self { named, omitted, references, bytes, unsure: sum(&unsure, |holder| holder.references) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{
        evaluation::{clean, evaluate},
        simulate::play::acts,
    };

    proptest! {
        #[test]
        fn every_reference_is_in_the_one_group_of_its_taker(acts in acts(), nested_frees: bool) {
            let run = evaluate(&clean(&acts, nested_frees).elements);
            for device in run.model.devices() {
                let groups = Groups::of(device, |reference| reference.bytes() > 0);
                let mut counts = vec![0; groups.all().len()];
                for (_, reference) in device.references().filter(|(_, reference)| reference.bytes() > 0) {
                    let place = groups.place_of(reference).unwrap();
                    let holder = groups.all()[place].holder;
                    prop_assert_eq!((holder.kind, holder.task), (reference.allocated.kind(), device.allocated_by(reference).task));
                    prop_assert!((holder.since_ns..=holder.newest_ns).contains(&reference.at.time_ns));
                    counts[place] += 1;
                }
                let told: Vec<_> = groups.all().iter().map(|group| group.holder.count).collect();
                prop_assert_eq!(told, counts);
                let holders = groups.holders();
                let held = device.held_in_all();
                let sum = |of: fn(&Holder) -> u64| holders.iter().map(of).sum::<u64>();
                prop_assert_eq!((sum(|one| one.references), sum(|one| one.bytes)), (held.references, held.bytes));
                prop_assert!(holders.is_sorted_by_key(|holder| Reverse(holder.bytes)));
            }
        }
    }
}
