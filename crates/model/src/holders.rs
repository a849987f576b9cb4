//! Holders of a device's outstanding memory: the grouping of its references that rules, reports and the dashboard share.
//!
//! Who *allocated* memory is observed. Who uses or pins it now is not.

use std::{cmp::Reverse, collections::HashMap};

use crate::{
    event::{Id, Task},
    state::{AllocatedBy, Device, HolderKind, RangeId, Reference},
};

/// The most holders that [`Holders`] names, largest first.
pub const MAX_HOLDERS: usize = 32;

/// Outstanding memory of one kind that one task allocated from one caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The kind of memory.
    pub kind: HolderKind,
    /// The task that allocated the memory.
    pub task: Option<Task>,
    /// Return address into the function that allocated the memory.
    pub caller: Option<u64>,
    /// Id of the task's cgroup.
    pub cgroup: Option<u64>,
    /// A time at which the task's process had exited, `CLOCK_BOOTTIME` in nanoseconds; `None` if no exit was observed.
    pub exited_since_ns: Option<u64>,
    /// Records were lost since the allocation, so the memory may have changed holders ([`Device::is_sure`]).
    pub unsure: bool,
    /// Number of allocations, scatter lists or mmaps.
    pub count: u64,
    /// Number of references to the range.
    pub references: u64,
    /// Bytes, in whole pages.
    pub bytes: u64,
    /// Time of the oldest allocation, `CLOCK_BOOTTIME` in nanoseconds.
    pub since_ns: u64,
    /// Record of the oldest allocation.
    pub record: Id,
    /// Time of the newest allocation, `CLOCK_BOOTTIME` in nanoseconds.
    pub newest_ns: u64,
}

impl Holder {
    /// The holder of a single reference, which may have ended.
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

    /// Adds memory of the same holder.
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

/// The part of a holder's memory that was allocated with one call stack.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// The holder, with the memory of this group.
    pub holder: Holder,
    /// Return addresses, innermost first; empty where stacks were not captured.
    pub stack: &'a [u64],
}

/// The references of a device, grouped by holder and call stack. A million references usually form few groups.
#[derive(Debug)]
pub struct Groups<'a> {
    device: &'a Device,
    all: Vec<Group<'a>>,
    numbers: HashMap<Key, u32>,
}

/// The key of a group: origin, pid, kind, and whether it is unsure. It is short, because it is computed for a million references.
type Key = (u32, u32, HolderKind, bool);

impl<'a> Groups<'a> {
    /// Groups the references that `counts` accepts.
    #[must_use]
    pub fn of(device: &'a Device, counts: impl Fn(&Reference) -> bool) -> Self {
        let all = device.references().map(|(_, reference)| reference);
        Self::among(device, all.filter(|reference| counts(reference)))
    }

    fn among(device: &'a Device, references: impl Iterator<Item = &'a Reference>) -> Self {
        let mut groups = Self { device, all: Vec::new(), numbers: HashMap::new() };
        // A task that allocates much usually does so in sequence.
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

    /// Adds the number of a group that has no reference yet.
    fn begin(&mut self, key: Key) -> u32 {
        let number = self.numbers.len() as u32;
        self.numbers.insert(key, number);
        number
    }

    fn add(&mut self, number: u32, reference: &Reference, unsure: bool) {
        if let Some(group) = self.all.get_mut(number as usize) {
            // Data that is common to the group is not looked up again.
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

    /// The index in [`Groups::all`] of the group of a reference; `None` if the reference was not accepted.
    #[must_use]
    pub fn place_of(&self, reference: &Reference) -> Option<usize> {
        self.numbers.get(&self.key(reference)).map(|&number| number as usize)
    }

    /// The holders, with the groups of all their stacks merged; largest first.
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

/// Known outstanding memory, with a limited number of holders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// The largest holders that are certain.
    pub named: Vec<Holder>,
    /// The number of further certain holders.
    pub omitted: u64,
    /// References of all certain holders.
    pub references: u64,
    /// Bytes of all certain holders.
    pub bytes: u64,
    /// References that may no longer belong to the task that allocated them.
    pub unsure: u64,
}

impl Holders {
    /// The holders of a range, or of the device if `range` is `None`.
    #[must_use]
    pub fn of(device: &Device, range: Option<RangeId>) -> Self {
        let counts = |reference: &Reference| reference.bytes() > 0;
        let groups = match range {
            None => Groups::of(device, counts),
            // Other ranges of the device may have a million references.
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
        fn groups_each_reference_with_its_holder(acts in acts(), nested_frees: bool) {
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
                let reported: Vec<_> = groups.all().iter().map(|group| group.holder.count).collect();
                prop_assert_eq!(reported, counts);
                let holders = groups.holders();
                let held = device.held_in_all();
                let sum = |of: fn(&Holder) -> u64| holders.iter().map(of).sum::<u64>();
                prop_assert_eq!((sum(|one| one.references), sum(|one| one.bytes)), (held.references, held.bytes));
                prop_assert!(holders.is_sorted_by_key(|holder| Reverse(holder.bytes)));
            }
        }
    }
}
