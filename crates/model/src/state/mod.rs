//! The pure model: the state after event N.
//!
//! It consumes the elements of the decoded stream one by one, in time order, and has no other clock, no
//! input, and no output, so that a live run, a replay, and a recovery produce the same result. Per device it
//! tracks the ranges of p2p memory, the outstanding memory and who allocated it, memory whose holder is
//! unknown, and the teardowns. [`Model::changes`] has the meaning of each element, for rules to check.
//!
//! Missing knowledge is explicit: a [`Device`] is [uncertain](Device::uncertain) from a loss of records until
//! a snapshot or a complete teardown settles it, and has a [baseline](Device::baseline) from which on all
//! outstanding memory is known.
//!
//! It never panics, whatever the stream contains, and the state kept of ended objects is bounded: see the
//! `MAX_` constants.

mod allocating;
mod attempt;
mod change;
mod device;
mod dispatch;
mod failed_mmap;
mod freeing;
mod geometry;
mod history;
mod hooks;
mod keys;
mod ledger;
mod limit;
mod mappings;
mod mmaps;
mod origins;
mod pages;
mod preexisting;
mod range;
mod range_index;
mod ranges;
mod reconcile;
mod reference;
mod snapshot;
mod snapshot_end;
mod steps;
mod suspensions;
mod teardown;
#[cfg(test)]
mod tests;
mod uncertainty;

use std::{collections::BTreeMap, ops::Bound};

use p2p_trace_common::{Hook, Kind, Record, Ring};

pub use attempt::Attempt;
pub use change::{Change, ChangeKind, FreeMatch, PageMatch, SnapshotEnd};
pub use device::{Baseline, Device, MAX_TEARDOWNS};
pub use failed_mmap::{FailedMmap, FailedMmaps};
pub use geometry::{Geometry, PAGE_STRUCT_SIZE};
pub use history::GRACE_NS;
pub use hooks::{Attachment, Hooks};
pub use ledger::Held;
pub use limit::Limit;
pub use mappings::{Mapping, Mappings};
pub use pages::{Pages, page_of};
pub use preexisting::Run as Preexisting;
pub use range::{Accounted, Counted, NO_PGMAP, Range, RangeId, Stage, Steps};
pub use reference::{Allocated, AllocatedBy, At, Closed, ClosedBy, HolderKind, Key, Reference, whole_pages};
pub use snapshot::{LastSnapshot, Lock};
pub use suspensions::{Passed, Sleep};
#[cfg(any(test, feature = "testing"))]
pub(crate) use teardown::is_opening;
pub use teardown::{Armed, Bracket, Ended, MAX_STEPS, Step, Teardown};
pub use uncertainty::{Uncertainties, Uncertainty};

use crate::{
    accounting::HookStatus,
    event::{Affected, DeviceAddress, Event, Loss, decode, user},
    stream::assemble::Element,
};
use ledger::Context;
use range_index::RangeIndex;

/// Limit on the number of devices. Hosts that share memory between devices have a few dozen of them.
pub(crate) const MAX_DEVICES: usize = 1024;

/// All devices.
#[derive(Clone, Debug, Default)]
pub struct Model {
    devices: BTreeMap<DeviceAddress, Device>,
    range_index: RangeIndex,
    hooks: Hooks,
    geometry: Geometry,
    changes: Vec<Change>,
    now_ns: u64,
    suspensions: suspensions::Suspensions,
    ended: bool,
    /// Losses that may concern devices not seen yet.
    uncertainties: Uncertainties,
    /// The latest loss of inserted pages. It may concern a mapping whose record is yet to come.
    inserted: Option<Uncertainty>,
}

impl Model {
    /// A model before any event.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Records that these hooks are attached from the start, without a record in the stream: since `time_ns`,
    /// `CLOCK_BOOTTIME`.
    pub(crate) fn attached(&mut self, hooks: impl IntoIterator<Item = user::Change>, time_ns: u64) {
        for change in hooks {
            self.hooks.change(change, time_ns);
        }
    }

    /// Sets which hooks are attached while a teardown is pending, from their states.
    pub(crate) fn set_armed(&mut self, hooks: &[HookStatus]) {
        for status in hooks {
            if let Some(is_armed) = status.will_be_armed() {
                self.hooks.set_armed(status.hook, is_armed);
            }
        }
        self.armed(self.now_ns);
    }

    /// Applies the next element of the stream.
    pub fn apply(&mut self, element: &Element) {
        self.changes.clear();
        match element {
            Element::Event(event) => self.event(event),
            Element::Loss(loss) => self.loss(loss),
            Element::User(record) => self.user(record),
            Element::Unknown(error) => self.unknown(error),
        }
    }

    /// The changes and observations of the latest element, in order.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The current time of the stream, `CLOCK_BOOTTIME` in nanoseconds.
    #[must_use]
    pub const fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// How long the machine was awake and suspended between two times, as far as the ticks show.
    #[must_use]
    pub fn passed(&self, from_ns: u64, to_ns: u64) -> Passed {
        self.suspensions.passed(from_ns, to_ns)
    }

    /// The latest suspensions of the machine, oldest first.
    pub fn sleeps(&self) -> impl Iterator<Item = Sleep> {
        self.suspensions.sleeps()
    }

    /// The latest tick that has the time the machine has been suspended since boot, and that time.
    #[must_use]
    pub const fn asleep(&self) -> Option<(u64, u64)> {
        self.suspensions.latest_total()
    }

    /// Whether the run has ended: no elements follow.
    pub(crate) const fn ended(&self) -> bool {
        self.ended
    }

    /// All devices with events, by address.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.values()
    }

    /// Like [`Self::devices`], after this address.
    pub(crate) fn devices_after(&self, last: Option<DeviceAddress>) -> impl Iterator<Item = &Device> {
        let begin = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.devices.range((begin, Bound::Unbounded)).map(|(_, device)| device)
    }

    /// Returns a device.
    #[must_use]
    pub fn device(&self, address: DeviceAddress) -> Option<&Device> {
        self.devices.get(&address)
    }

    /// Which hooks are attached.
    #[must_use]
    pub const fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    /// Known locations of the kernel's `struct page`s and direct map.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn event(&mut self, event: &Event) {
        self.now_ns = self.now_ns.max(event.time_ns);
        if event.kind == Kind::Stack {
            return;
        }
        let Some(address) = event.device.or_else(|| self.owner(event.pgmap?)) else {
            // The event names no device, and its range is unknown.
            return;
        };
        let at = At { time_ns: event.time_ns, id: event.id };
        let armed_since_ns = self.hooks.armed_since_ns();
        let is_birth = matches!(event.kind, Kind::Memremap | Kind::AddResource);
        let is_born = is_birth && !self.devices.contains_key(&address);
        self.with_device(address, at, |device, context| {
            if is_born {
                // Losses from before the device had memory do not concern it.
                device.uncertainties.settle(event.time_ns);
            }
            device.event(event, armed_since_ns, context);
        });
        let is_under_way =
            |uncertainty: &Uncertainty| event.time_ns <= uncertainty.until_ns.saturating_add(GRACE_NS);
        if event.kind == Kind::Mmap
            && let Some(uncertainty) = self.inserted.filter(is_under_way)
        {
            self.mark_device_uncertain(address, Ring::Hot, uncertainty);
        }
    }

    /// The device with a range in use of this pgmap.
    pub fn owner(&self, pgmap: u64) -> Option<DeviceAddress> {
        let has = |device: &&Device| device.ranges.current(pgmap).is_some();
        let owners = self.range_index.owners(pgmap).filter_map(|address| self.device(address));
        owners.filter(has).map(Device::address).next()
    }

    /// The ranges of any device that may overlap this one, and possibly others.
    pub(crate) fn near(&self, range: crate::event::Range) -> impl Iterator<Item = (&Device, &Range)> {
        self.range_index.near(range).filter_map(|named| self.named(named))
    }

    /// The ranges of any device whose kill named this reference, by device, the latest first.
    pub(crate) fn sharing(&self, reference: u32) -> impl Iterator<Item = (&Device, &Range)> {
        self.range_index.sharing(reference).into_iter().filter_map(|named| self.named(named))
    }

    fn named(&self, (address, generation): (DeviceAddress, u32)) -> Option<(&Device, &Range)> {
        let device = self.device(address)?;
        Some((device, device.ranges.get(generation)?))
    }

    fn with_device(
        &mut self,
        address: DeviceAddress,
        at: At,
        then: impl FnOnce(&mut Device, &mut Context<'_>),
    ) {
        if self.devices.len() >= MAX_DEVICES && !self.devices.contains_key(&address) {
            self.changes.push(Change { device: address, kind: ChangeKind::Reached(Limit::Devices) });
            return;
        }
        let uncertainties = self.uncertainties;
        let device = self.devices.entry(address).or_insert_with(|| {
            let mut device = Device::new(address);
            device.uncertainties = uncertainties;
            device
        });
        let mut context = Context {
            device: address,
            at,
            geometry: &mut self.geometry,
            range_index: &mut self.range_index,
            changes: &mut self.changes,
        };
        then(device, &mut context);
        self.range_index.sweep(&self.devices);
    }

    fn user(&mut self, record: &Record) {
        self.now_ns = self.now_ns.max(record.time_ns);
        let at = At { time_ns: record.time_ns, id: decode::id(record) };
        match record.kind() {
            Some(Kind::Attach) => {
                if let Some(change) = user::change(record) {
                    self.hooks.change(change, record.time_ns);
                    if matches!(change.hook, Hook::MapSg | Hook::UnmapSg) {
                        // Maps and unmaps can be paired only while both are observed.
                        for device in self.devices.values_mut() {
                            device.mappings = Mappings::default();
                        }
                    }
                    self.armed(record.time_ns);
                }
            }
            Some(Kind::AllocatedRun) => {
                if let Some(run) = user::run(record) {
                    self.with_device(run.device, at, |device, _| device.snapshot.run(at.time_ns, run));
                }
            }
            Some(Kind::SnapshotEnd) => {
                if let Some(snapshot_end) = user::snapshot_end(record) {
                    self.with_device(snapshot_end.device, at, |device, context| {
                        device.snapshot_end(&snapshot_end, context);
                    });
                }
            }
            Some(Kind::HolderExited) => {
                if let Some(task) = user::gone(record) {
                    for device in self.devices.values_mut() {
                        device.ledger.exited(&task, user::exited_before_ns(record), record.time_ns);
                    }
                }
            }
            Some(Kind::Tick) => self.suspensions.tick(record.time_ns, user::asleep_ns(record)),
            Some(Kind::End) => self.ended = true,
            _ => {}
        }
    }

    fn armed(&mut self, now_ns: u64) {
        let since_ns = self.hooks.armed_since_ns();
        for device in self.devices.values_mut() {
            device.arm(since_ns, now_ns);
        }
    }

    fn loss(&mut self, loss: &Loss) {
        self.now_ns = self.now_ns.max(loss.from_ns);
        let uncertainty =
            Uncertainty { since_ns: loss.from_ns, until_ns: loss.to_ns, lost: loss.count(), unreadable: 0 };
        match loss.affected() {
            None | Some(Affected::Allocated | Affected::Ranges | Affected::Teardown) => {
                self.mark_uncertain(loss.ring, uncertainty);
            }
            Some(Affected::Inserted) => {
                // The record of a mapping that was in progress comes later.
                self.inserted = Some(uncertainty);
                for device in self.devices.values_mut() {
                    if device.mapped_ns.is_some_and(|at| at >= uncertainty.since_ns) {
                        device.mark_uncertain(loss.ring, uncertainty);
                        self.changes.push(Change { device: device.address, kind: ChangeKind::Uncertain });
                    }
                }
            }
            Some(Affected::Bracket) => {
                for teardown in self.devices.values_mut().filter_map(Device::unbinding_mut) {
                    teardown.lost_brackets = true;
                }
            }
            // Known state is kept; the rules report that uses may have been missed.
            Some(Affected::Nothing | Affected::Mapped | Affected::Used) => {}
        }
    }

    fn mark_device_uncertain(&mut self, address: DeviceAddress, ring: Ring, uncertainty: Uncertainty) {
        if let Some(device) = self.devices.get_mut(&address) {
            device.mark_uncertain(ring, uncertainty);
            self.changes.push(Change { device: address, kind: ChangeKind::Uncertain });
        }
    }

    fn unknown(&mut self, error: &decode::DecodeError) {
        let (decode::DecodeError::UnknownKind { id, .. } | decode::DecodeError::UnknownHook { id, .. }) =
            error;
        let uncertainty =
            Uncertainty { since_ns: self.now_ns, until_ns: self.now_ns, lost: 1, unreadable: 1 };
        self.mark_uncertain(id.ring(), uncertainty);
    }

    /// It may concern any device.
    fn mark_uncertain(&mut self, ring: Ring, uncertainty: Uncertainty) {
        self.uncertainties.add(ring, uncertainty);
        for device in self.devices.values_mut() {
            device.mark_uncertain(ring, uncertainty);
            self.changes.push(Change { device: device.address, kind: ChangeKind::Uncertain });
        }
    }
}
