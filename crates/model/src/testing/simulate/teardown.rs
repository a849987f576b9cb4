//! Teardowns, step by step, in correct and wrong order.

use std::collections::VecDeque;

use p2p_trace_common::{Hook, Kind};

use super::{ARMED, Kernel, Outstanding, Token};
use crate::event::{Refs, State, decode::PAGE_SIZE};
use crate::state::is_opening;

/// The order of a teardown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The correct order: kill, wait, drain, removal.
    Right,
    /// The order of 2018: kill, removal, and only then wait and drain.
    RemovedFirst,
    /// The ranges drain although their memory is still outstanding.
    DestroyedInUse,
    /// Each reference is killed twice.
    KilledTwice,
}

/// The next action of the task that unbinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Device(Kind),
    /// A step of the range of this pgmap.
    Range(Kind, u64),
    /// The tracer takes a snapshot.
    Snapshot,
    /// Waits until no memory of the range is outstanding.
    Wait(u64),
}

/// A teardown in progress.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub pid: u32,
    left: VecDeque<Action>,
}

impl Kernel {
    /// A complete teardown. Memory that is outstanding when a range is killed is freed before the range
    /// drains.
    pub fn unbind(&mut self, device: usize, pid: u32) {
        self.tear_down(device, pid, Order::Right);
    }

    /// A complete teardown in this order.
    pub fn tear_down(&mut self, device: usize, pid: u32, order: Order) {
        self.begin(device, pid, order);
        while self.advance(device) {}
    }

    /// Begins a teardown. [`Kernel::advance`] executes its steps.
    pub fn begin(&mut self, device: usize, pid: u32, order: Order) {
        let opening = [Kind::Unbind, Kind::DriverRemove, Kind::DevresRelease];
        let mut left: VecDeque<Action> = opening.map(Action::Device).into();
        for pgmap in self.pgmaps(device) {
            left.extend(of_range(order, pgmap));
        }
        let closing =
            [Kind::Release, Kind::Released, Kind::DevresReleased, Kind::DriverRemoved, Kind::Unbound];
        left.extend(closing.map(Action::Device));
        self.devices[device].script = Some(Script { pid, left });
    }

    /// Whether a teardown is in progress.
    pub fn is_pending(&self, device: usize) -> bool {
        self.devices[device].script.is_some()
    }

    /// Whether the pool was destroyed with outstanding memory. The unbinding task was killed while it held
    /// the device's lock.
    pub fn is_crashed(&self, device: usize) -> bool {
        self.devices[device].crashed
    }

    /// Whether the teardown waits for outstanding memory.
    pub fn is_waiting(&self, device: usize) -> bool {
        matches!(self.next(device), Some(Action::Wait(_)))
    }

    /// Whether the pool points to a range that is gone, so that an allocation would read freed memory.
    pub fn has_dead_chunk(&self, device: usize) -> bool {
        self.devices[device].ranges.iter().any(|range| range.freed)
    }

    fn next(&self, device: usize) -> Option<Action> {
        self.devices[device].script.as_ref()?.left.front().copied()
    }

    /// Executes the steps before the step `kind`, or before the end of the teardown if it has no such step
    /// left.
    pub fn advance_to(&mut self, device: usize, kind: Kind) {
        let is_it =
            |next: Action| matches!(next, Action::Device(next) | Action::Range(next, _) if next == kind);
        while self.next(device).is_some_and(|next| !is_it(next)) && self.advance(device) {}
    }

    /// Executes the next step of a teardown; a wait frees the memory of one holder. Returns false if no step
    /// is left.
    pub fn advance(&mut self, device: usize) -> bool {
        let Some(script) = &mut self.devices[device].script else {
            return false;
        };
        let pid = script.pid;
        let Some(step) = script.left.pop_front() else {
            self.devices[device].script = None;
            self.disarm();
            return false;
        };
        match step {
            Action::Snapshot => self.snapshot(device, true),
            Action::Wait(pgmap) => self.wait_for(device, pgmap, pid),
            Action::Device(kind) => self.device_step(device, kind, pid),
            Action::Range(kind, pgmap) => self.range_step(device, kind, pgmap, pid),
        }
        true
    }

    fn wait_for(&mut self, device: usize, pgmap: u64, pid: u32) {
        if let Some(token) = self.holding(device, pgmap).first().copied() {
            self.free(token, pid + 1, usize::MAX);
            let script = self.devices[device].script.as_mut();
            script.unwrap().left.push_front(Action::Wait(pgmap));
        } else {
            self.range_mut(device, pgmap).stray = 0;
        }
    }

    /// The outstanding memory of a range that has a reference.
    fn holding(&self, device: usize, pgmap: u64) -> Vec<Token> {
        let range = self.range(device, pgmap);
        let holds = |held: &Outstanding| !held.partial && range.contains(held.pages[0]);
        let tokens = self.outstanding(device).filter(|(_, held)| holds(held));
        tokens.map(|(token, _)| token).collect()
    }

    fn device_step(&mut self, device: usize, kind: Kind, pid: u32) {
        self.flush();
        let allocated = self.pages(device).len() as u64 * PAGE_SIZE;
        let (ranges, is_opening) = (self.devices[device].ranges.len() as u32, is_opening(kind));
        let is_outstanding = allocated > 0 || self.devices[device].ranges.iter().any(|range| range.stray > 0);
        self.event(device, kind, hook_of(kind), pid, |event| {
            event.allocated = (kind == Kind::Release).then_some(allocated);
            event.flag = is_opening.then_some(is_outstanding);
            event.count = is_opening.then_some(ranges);
        });
        if is_opening && (is_outstanding || ranges > 1) && self.armed == Some(false) {
            self.attach(ARMED, true);
            self.armed = Some(true);
        }
        if kind == Kind::Release && allocated > 0 {
            self.devices[device].crashed = true;
            self.devices[device].script = None;
        } else if kind == Kind::Release {
            self.devices[device].ranges.clear();
        }
    }

    fn range_step(&mut self, device: usize, kind: Kind, pgmap: u64, pid: u32) {
        self.flush();
        let physical = self.range(device, pgmap).physical;
        let is_watched = self.armed == Some(true);
        let removal = (kind == Kind::Remove && self.counts_at_removal)
            .then(|| self.counted(device, self.range(device, pgmap)));
        // A count at this moment is too early: the per-CPU parts are still being summed, with one extra
        // reference for the switch.
        let is_switching = |count: i64| count == 0 && !self.range(device, pgmap).drained;
        let references = removal.map(|(count, _)| {
            let estimate = is_switching(count);
            Refs { count: count + i64::from(estimate), estimate }
        });
        let state = removal.map(|(count, _)| State {
            chunk: 0,
            atomic: !is_switching(count),
            dead: true,
            exited: false,
            freed: false,
        });
        self.event(device, kind, hook_of(kind), pid, |event| {
            event.pgmap = Some(pgmap);
            event.range = (kind != Kind::UnmapMappings).then_some(physical);
            event.count = (kind == Kind::Kill).then_some(1);
            event.refs = (kind == Kind::Drained).then_some(ZERO).or(references);
            event.state = state;
            event.allocated = removal.map(|(_, bytes)| bytes);
            event.flag = (kind == Kind::Remove).then_some(is_watched);
        });
        let range = self.range_mut(device, pgmap);
        match kind {
            Kind::Kill => range.killed = true,
            Kind::Drained => range.drained = true,
            Kind::Unmapped => range.freed = true,
            _ => {}
        }
    }

    /// Detaches the armed hooks when no teardown is pending.
    fn disarm(&mut self) {
        if self.armed == Some(true) && self.devices.iter().all(|device| device.script.is_none()) {
            self.attach(ARMED, false);
            self.armed = Some(false);
        }
    }
}

/// The steps of one range.
fn of_range(order: Order, pgmap: u64) -> Vec<Action> {
    let range = |kind| Action::Range(kind, pgmap);
    let mut steps = vec![range(Kind::UnmapMappings), range(Kind::MemremapRelease), range(Kind::Kill)];
    let (drain, removal) =
        ([Action::Wait(pgmap), range(Kind::Drained)], [range(Kind::Remove), range(Kind::Unmapped)]);
    match order {
        Order::Right => steps.extend(std::iter::once(Action::Snapshot).chain(drain).chain(removal)),
        Order::RemovedFirst => steps.extend(removal.into_iter().chain(drain)),
        Order::DestroyedInUse => steps.extend(std::iter::once(drain[1]).chain(removal)),
        Order::KilledTwice => steps.extend(std::iter::once(range(Kind::Kill)).chain(drain).chain(removal)),
    }
    steps
}

fn hook_of(kind: Kind) -> Hook {
    Hook::from_name(kind.name()).unwrap()
}

const ZERO: Refs = Refs { count: 0, estimate: false };
