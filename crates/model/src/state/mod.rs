//! The pure model: what is true after event N.
//!
//! It takes the elements of the decoded stream one by one, in order of time, and has no other clock, no input and no
//! output, so that a live run, a replay and a recovery come to the same. Per device it knows the ranges of p2p memory,
//! what is out of them and who took it, memory that is out and was taken by nobody knows whom, and the teardowns. What
//! each element meant stands in [`Model::changes`], for rules to judge.
//!
//! What is not known is said: a [`Device`] is [uncertain](Device::uncertain) from a loss of records until a pull read
//! or a complete teardown has made up for it, and has a [baseline](Device::baseline) from which on everything that is
//! taken is known.
//!
//! It never panics, whatever the stream holds, and what is over takes a bounded place: see the `MAX_` constants.

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

/// Devices that are kept: hosts that share memory between devices have some dozens of them.
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
    /// Losses that can be about devices not yet met.
    uncertainties: Uncertainties,
    /// The latest loss of inserted pages: it can be about a mapping whose record is still to come.
    inserted: Option<Uncertainty>,
}

impl Model {
    /// Nothing has happened.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// These hooks are attached from the start, which no record of the stream tells: since `time_ns`, `CLOCK_BOOTTIME`.
    pub(crate) fn attached(&mut self, hooks: impl IntoIterator<Item = user::Change>, time_ns: u64) {
        for change in hooks {
            self.hooks.change(change, time_ns);
        }
    }

    /// Which hooks are attached while a teardown is pending, as far as their states tell.
    pub(crate) fn set_armed(&mut self, hooks: &[HookStatus]) {
        for status in hooks {
            if let Some(is_armed) = status.will_be_armed() {
                self.hooks.set_armed(status.hook, is_armed);
            }
        }
        self.armed(self.now_ns);
    }

    /// Takes in the next element of the stream.
    pub fn apply(&mut self, element: &Element) {
        self.changes.clear();
        match element {
            Element::Event(event) => self.event(event),
            Element::Loss(loss) => self.loss(loss),
            Element::User(record) => self.user(record),
            Element::Unknown(error) => self.unknown(error),
        }
    }

    /// What the latest element changed or showed, in order.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The time that the stream has reached, `CLOCK_BOOTTIME` in nanoseconds.
    #[must_use]
    pub const fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// How long the machine was awake and suspended between two times, as far as the ticks have told.
    #[must_use]
    pub fn passed(&self, from_ns: u64, to_ns: u64) -> Passed {
        self.suspensions.passed(from_ns, to_ns)
    }

    /// When the machine was suspended, oldest first: the latest of it.
    pub fn sleeps(&self) -> impl Iterator<Item = Sleep> {
        self.suspensions.sleeps()
    }

    /// The latest tick that told how long the machine had been suspended since it was started, and that.
    #[must_use]
    pub const fn asleep(&self) -> Option<(u64, u64)> {
        self.suspensions.latest_total()
    }

    /// The run has come to its end: nothing follows.
    pub(crate) const fn ended(&self) -> bool {
        self.ended
    }

    /// The devices of which anything was seen, by address.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.values()
    }

    /// The same, behind this one.
    pub(crate) fn devices_after(&self, last: Option<DeviceAddress>) -> impl Iterator<Item = &Device> {
        let begin = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.devices.range((begin, Bound::Unbounded)).map(|(_, device)| device)
    }

    /// One device.
    #[must_use]
    pub fn device(&self, address: DeviceAddress) -> Option<&Device> {
        self.devices.get(&address)
    }

    /// Which hooks are attached.
    #[must_use]
    pub const fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    /// What is known of where the kernel keeps its `struct page`s and its direct map.
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
            // It tells no device, and its range is none that is known.
            return;
        };
        let at = At { time_ns: event.time_ns, id: event.id };
        let armed_since_ns = self.hooks.armed_since_ns();
        let is_birth = matches!(event.kind, Kind::Memremap | Kind::AddResource);
        let is_born = is_birth && !self.devices.contains_key(&address);
        self.with_device(address, at, |device, context| {
            if is_born {
                // What was lost before it had memory was none of its.
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

    /// The device that has a range of this pgmap that is not over.
    pub fn owner(&self, pgmap: u64) -> Option<DeviceAddress> {
        let has = |device: &&Device| device.ranges.current(pgmap).is_some();
        let owners = self.range_index.owners(pgmap).filter_map(|address| self.device(address));
        owners.filter(has).map(Device::address).next()
    }

    /// The ranges of any device that can overlap this one, and some others.
    pub(crate) fn near(&self, range: crate::event::Range) -> impl Iterator<Item = (&Device, &Range)> {
        self.range_index.near(range).filter_map(|named| self.named(named))
    }

    /// The ranges of any device of which this reference was killed, by device, the latest first.
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
                        // Maps and unmaps pair up only while both are seen.
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
                        device.ledger.gone(&task, user::exited_before_ns(record), record.time_ns);
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
                // Of a mapping that was being made, the record comes later.
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
            // What is known stays so: that something may have been missed is for the rules to say.
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

    /// Any device can be meant.
    fn mark_uncertain(&mut self, ring: Ring, uncertainty: Uncertainty) {
        self.uncertainties.add(ring, uncertainty);
        for device in self.devices.values_mut() {
            device.mark_uncertain(ring, uncertainty);
            self.changes.push(Change { device: device.address, kind: ChangeKind::Uncertain });
        }
    }
}
