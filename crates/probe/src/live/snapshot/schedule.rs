//! When snapshots are taken: at the start, when a device gets memory, on demand, after a loss, and during a teardown. Pure.

use std::collections::{BTreeMap, BTreeSet};

use p2p_trace_common::{Kind, Record, state, valid};
use p2p_trace_model::{event::DeviceAddress, state::GRACE_NS};

/// Time from a first snapshot to the second one that confirms it: anything that was in flight for the model at the first one no
/// longer is.
const CONFIRM_NS: u64 = GRACE_NS + 100_000_000;
/// Interval between snapshots of a device in a teardown, in the first minute and later.
const PENDING_NS: [u64; 2] = [1_000_000_000, 10_000_000_000];
/// Times of the snapshots of a device that got memory: after its driver's initial allocations, and again to confirm.
const BORN_NS: [u64; 2] = [200_000_000, 200_000_000 + CONFIRM_NS];
/// How long a teardown counts as young.
const YOUNG_NS: u64 = 60_000_000_000;

/// The devices to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Every device.
    All,
    /// Devices that got memory, or that are in a teardown.
    Some(Vec<DeviceAddress>),
}

/// A teardown that has not ended.
#[derive(Clone, Copy, Debug)]
struct Pending {
    since_ns: u64,
    next_ns: u64,
}

/// The schedule.
#[derive(Debug)]
pub(super) struct Schedule {
    /// When all devices are read next.
    all_ns: Option<u64>,
    /// That snapshot will be confirmed by another one.
    confirm: bool,
    pending: BTreeMap<DeviceAddress, Pending>,
    /// Snapshots of single devices.
    single: BTreeSet<(u64, DeviceAddress)>,
}

impl Schedule {
    /// All devices are due at once.
    pub(super) const fn new(now_ns: u64) -> Self {
        Self { all_ns: Some(now_ns), confirm: true, pending: BTreeMap::new(), single: BTreeSet::new() }
    }

    /// A snapshot was requested.
    pub(super) const fn demand(&mut self, now_ns: u64) {
        self.all_ns = Some(now_ns);
    }

    /// Records were lost.
    pub(super) const fn lose(&mut self, now_ns: u64) {
        self.all_ns = Some(now_ns);
        self.confirm = true;
    }

    /// Updates the schedule from a record.
    pub(super) fn follow(&mut self, record: &Record) {
        if !record.has(valid::DEVICE) {
            return;
        }
        let device = DeviceAddress::from_devfn(record.domain, record.bus, record.devfn);
        match record.kind() {
            // If adding the resource failed, the device keeps the memory that it had.
            Some(Kind::AddResource) => self.gain_memory(device, record.time_ns),
            Some(Kind::Unbind | Kind::DriverRemove | Kind::Kill) => self.begin(device, record.time_ns),
            // The teardown began before the tracer started.
            Some(Kind::RangeState)
                if record.has(valid::STATE)
                    && record.small & state::DEAD != 0
                    && record.small & state::EXITED == 0 =>
            {
                self.begin(device, record.time_ns);
            }
            Some(Kind::Unbound | Kind::DriverRemoved | Kind::Released) => {
                self.pending.remove(&device);
            }
            _ => {}
        }
    }

    fn gain_memory(&mut self, device: DeviceAddress, time_ns: u64) {
        self.single.retain(|&(_, other)| other != device);
        self.single.extend(BORN_NS.map(|after| (time_ns + after, device)));
    }

    fn begin(&mut self, device: DeviceAddress, time_ns: u64) {
        let next_ns = time_ns + PENDING_NS[0];
        self.pending.entry(device).or_insert(Pending { since_ns: time_ns, next_ns });
    }

    /// The devices that are due; they count as read from now on.
    pub(super) fn due(&mut self, now_ns: u64) -> Option<Due> {
        let all = self.all_ns.is_some_and(|at| at <= now_ns);
        if all {
            // Relative to this snapshot, since attaching may have taken longer than that after the start.
            self.all_ns = self.confirm.then_some(now_ns + CONFIRM_NS);
            self.confirm = false;
        }
        let mut some = Vec::new();
        while let Some(&first) = self.single.first().filter(|&&(at_ns, _)| at_ns <= now_ns) {
            self.single.remove(&first);
            some.push(first.1);
        }
        for (device, pending) in &mut self.pending {
            if all || pending.next_ns <= now_ns {
                let young = now_ns.saturating_sub(pending.since_ns) < YOUNG_NS;
                pending.next_ns = now_ns + PENDING_NS[usize::from(!young)];
                some.push(*device);
            }
        }
        some.sort_unstable();
        some.dedup();
        match (all, some.is_empty()) {
            (true, _) => Some(Due::All),
            (false, false) => Some(Due::Some(some)),
            (false, true) => None,
        }
    }

    /// Devices in a teardown, which sysfs may no longer list.
    pub(super) fn pending(&self) -> impl Iterator<Item = DeviceAddress> {
        self.pending.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2p_trace_model::event::user::blank;

    const SECOND: u64 = 1_000_000_000;

    fn record(kind: Kind, time_ns: u64) -> Record {
        Record { kind: kind as u8, time_ns, valid: valid::DEVICE, bus: 3, ..blank(1) }
    }

    /// A schedule after the snapshots at the start.
    fn started() -> Schedule {
        let mut schedule = Schedule::new(0);
        assert!(schedule.due(0).is_some() && schedule.due(CONFIRM_NS).is_some());
        schedule
    }

    #[test]
    fn reads_twice_at_the_start_and_after_a_loss() {
        let mut schedule = Schedule::new(0);
        assert_eq!(schedule.due(5 * SECOND), Some(Due::All));
        assert_eq!(schedule.due(6 * SECOND), None);
        assert_eq!(schedule.due(7 * SECOND), Some(Due::All));
        assert_eq!(schedule.due(9 * SECOND), None);
        schedule.lose(10 * SECOND);
        schedule.lose(10 * SECOND);
        assert_eq!(schedule.due(10 * SECOND), Some(Due::All));
        assert_eq!(schedule.due(12 * SECOND), Some(Due::All));
        assert_eq!(schedule.due(20 * SECOND), None);
        schedule.demand(20 * SECOND);
        assert_eq!(schedule.due(20 * SECOND), Some(Due::All));
    }

    #[test]
    fn reads_a_device_twice_when_it_gets_memory() {
        let mut schedule = started();
        let device = DeviceAddress::from_devfn(0, 3, 0);
        schedule.follow(&record(Kind::AddResource, 5 * SECOND));
        schedule.follow(&record(Kind::AddResource, 5 * SECOND + 1));
        assert_eq!(schedule.due(5 * SECOND), None);
        let due = Some(Due::Some(vec![device]));
        assert_eq!(schedule.due(5 * SECOND + BORN_NS[0] + 1), due);
        assert_eq!(schedule.due(5 * SECOND + BORN_NS[0] + 2), None);
        assert_eq!(schedule.due(5 * SECOND + BORN_NS[1] + 1), due);
        assert_eq!(schedule.due(9 * SECOND), None);
    }

    #[test]
    fn reads_during_a_teardown_less_often_once_it_is_old() {
        let mut schedule = started();
        let device = DeviceAddress::from_devfn(0, 3, 0);
        schedule.follow(&record(Kind::Unbind, 5 * SECOND));
        schedule.follow(&record(Kind::Kill, 5 * SECOND));
        assert_eq!(schedule.due(5 * SECOND), None);
        assert_eq!(schedule.due(6 * SECOND), Some(Due::Some(vec![device])));
        assert_eq!(schedule.due(6 * SECOND), None);
        assert_eq!(schedule.due(70 * SECOND), Some(Due::Some(vec![device])));
        assert_eq!(schedule.due(75 * SECOND), None);
        assert_eq!(schedule.pending().collect::<Vec<_>>(), [device]);
        schedule.follow(&record(Kind::Released, 76 * SECOND));
        assert_eq!(schedule.due(100 * SECOND), None);
    }

    #[test]
    fn a_teardown_that_began_before_the_start_is_pending() {
        let mut schedule = started();
        let state =
            |small| Record { small, valid: valid::DEVICE | valid::STATE, ..record(Kind::RangeState, SECOND) };
        schedule.follow(&state(state::ATOMIC));
        schedule.follow(&state(state::DEAD | state::EXITED));
        assert_eq!(schedule.due(9 * SECOND), None);
        schedule.follow(&state(state::DEAD));
        assert!(schedule.due(9 * SECOND).is_some());
    }
}
