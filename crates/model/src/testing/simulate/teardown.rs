//! Teardowns, step by step, in the right order and in wrong ones.

use std::collections::VecDeque;

use p2p_trace_common::{Hook, Kind};

use super::{ARMED, Kernel, Outstanding, Token};
use crate::event::{Refs, State, decode::PAGE_SIZE};
use crate::state::is_opening;

/// In which order a teardown goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Kill, wait, drain, removal.
    Right,
    /// As in 2018: kill, removal, and only then the wait and the drain.
    RemovedFirst,
    /// The ranges drain without anybody's giving back what is out.
    DestroyedInUse,
    /// Each reference is killed twice.
    KilledTwice,
}

/// What the task that tears down does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Do {
    Device(Kind),
    /// Of the range of this pgmap.
    Range(Kind, u64),
    /// The tracer reads meanwhile.
    Snapshot,
    /// It waits until nothing of the range is out.
    Wait(u64),
}

/// A teardown that has begun.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub pid: u32,
    left: VecDeque<Do>,
}

impl Kernel {
    /// A whole teardown. What is out when a range is killed is given back before it drains.
    pub fn unbind(&mut self, device: usize, pid: u32) {
        self.tear_down(device, pid, Order::Right);
    }

    /// A whole teardown in this order.
    pub fn tear_down(&mut self, device: usize, pid: u32, order: Order) {
        self.begin(device, pid, order);
        while self.advance(device) {}
    }

    /// A teardown begins; [`Kernel::advance`] does its steps.
    pub fn begin(&mut self, device: usize, pid: u32, order: Order) {
        let opening = [Kind::Unbind, Kind::DriverRemove, Kind::DevresRelease];
        let mut left: VecDeque<Do> = opening.map(Do::Device).into();
        for pgmap in self.pgmaps(device) {
            left.extend(of_range(order, pgmap));
        }
        let closing =
            [Kind::Release, Kind::Released, Kind::DevresReleased, Kind::DriverRemoved, Kind::Unbound];
        left.extend(closing.map(Do::Device));
        self.devices[device].script = Some(Script { pid, left });
    }

    /// A teardown has begun and not ended.
    pub fn is_pending(&self, device: usize) -> bool {
        self.devices[device].script.is_some()
    }

    /// The pool was destroyed while memory was out: whoever unbound was killed, with the device's lock.
    pub fn is_crashed(&self, device: usize) -> bool {
        self.devices[device].crashed
    }

    /// The teardown waits for what is out.
    pub fn is_waiting(&self, device: usize) -> bool {
        matches!(self.next(device), Some(Do::Wait(_)))
    }

    /// The pool points to a range that is gone: an attempt to take memory would read what is freed.
    pub fn has_dead_chunk(&self, device: usize) -> bool {
        self.devices[device].ranges.iter().any(|range| range.freed)
    }

    fn next(&self, device: usize) -> Option<Do> {
        self.devices[device].script.as_ref()?.left.front().copied()
    }

    /// Does what is before this step. Not what is after it, where the teardown has no such step left.
    pub fn advance_to(&mut self, device: usize, kind: Kind) {
        let is_it = |next: Do| matches!(next, Do::Device(next) | Do::Range(next, _) if next == kind);
        while self.next(device).is_some_and(|next| !is_it(next)) && self.advance(device) {}
    }

    /// The next step of a teardown; of the wait, one holder's giving back. False: there is none.
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
            Do::Snapshot => self.snapshot(device, true),
            Do::Wait(pgmap) => self.wait_for(device, pgmap, pid),
            Do::Device(kind) => self.device_step(device, kind, pid),
            Do::Range(kind, pgmap) => self.range_step(device, kind, pgmap, pid),
        }
        true
    }

    fn wait_for(&mut self, device: usize, pgmap: u64, pid: u32) {
        if let Some(token) = self.holding(device, pgmap).first().copied() {
            self.free(token, pid + 1, usize::MAX);
            let script = self.devices[device].script.as_mut();
            script.unwrap().left.push_front(Do::Wait(pgmap));
        } else {
            self.range_mut(device, pgmap).stray = 0;
        }
    }

    /// What is out of a range and has a reference to it.
    fn holding(&self, device: usize, pgmap: u64) -> Vec<Token> {
        let range = self.range(device, pgmap);
        let holds = |out: &Outstanding| !out.partial && range.contains(out.pages[0]);
        let tokens = self.outstanding(device).filter(|(_, out)| holds(out));
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
        // Too early for a count: its parts of each CPU are being added up, with one more that is for that.
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

    /// The armed hooks go when no teardown is pending.
    fn disarm(&mut self) {
        if self.armed == Some(true) && self.devices.iter().all(|device| device.script.is_none()) {
            self.attach(ARMED, false);
            self.armed = Some(false);
        }
    }
}

/// The steps of one range.
fn of_range(order: Order, pgmap: u64) -> Vec<Do> {
    let range = |kind| Do::Range(kind, pgmap);
    let mut steps = vec![range(Kind::UnmapMappings), range(Kind::MemremapRelease), range(Kind::Kill)];
    let (drain, removal) =
        ([Do::Wait(pgmap), range(Kind::Drained)], [range(Kind::Remove), range(Kind::Unmapped)]);
    match order {
        Order::Right => steps.extend(std::iter::once(Do::Snapshot).chain(drain).chain(removal)),
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
