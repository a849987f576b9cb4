//! Origins of references: what many references share is stored once.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use foldhash::fast::RandomState;
use p2p_trace_common::record::COMM_LEN;
use slab::Slab;

use super::{keys::Keys, reference::AllocatedBy};
use crate::event::{Event, Task};

/// The origin of references: everything known about who allocated them except the thread id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Origin {
    process: Option<(u32, [u8; COMM_LEN])>,
    cgroup: Option<u64>,
    caller: Option<u64>,
    stack: Box<[u64]>,
}

impl Origin {
    fn is_of(&self, event: &Event) -> bool {
        // A comparison of no frames by the C library's function is a masked load of a dangling address on
        // processors with AVX-512, which takes a hundred nanoseconds.
        let same_stack = || {
            self.stack.len() == event.stack.len() && (self.stack.is_empty() || *self.stack == *event.stack)
        };
        self.caller == event.caller
            && self.cgroup == event.cgroup
            && self.process == event.task.map(|task| (task.tgid, task.comm))
            && same_stack()
    }
}

#[derive(Clone, Debug)]
struct Entry {
    origin: Arc<Origin>,
    users: u32,
    exited: Option<Exited>,
    /// How often references of this origin were found to be held by another process with the same number.
    replaced: u8,
    keys: Keys,
}

/// The process has exited.
#[derive(Clone, Copy, Debug)]
struct Exited {
    since_ns: u64,
    replaced_ns: Option<u64>,
}

/// Limit on the successive processes with one number that are distinguished. Beyond it, exits are not
/// attributed.
const MAX_REPLACED: u8 = 4;

/// All origins that are still in use.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins {
    entries: Slab<Entry>,
    numbers: HashMap<Arc<Origin>, u32, RandomState>,
    /// The latest origin entered: events of one origin tend to come in a row.
    latest: Option<u32>,
    /// Origins of processes that are not known to have exited.
    by_process: HashMap<u32, BTreeSet<u32>, RandomState>,
}

impl Origins {
    /// Returns the number of an event's origin, and adds one user.
    pub(super) fn enter(&mut self, event: &Event) -> u32 {
        if let Some(number) = self.latest
            && let Some(entry) = self.entries.get_mut(number as usize)
            && entry.exited.is_none()
            && entry.origin.is_of(event)
        {
            entry.users += 1;
            return number;
        }
        let number = self.find_or_add(event);
        self.latest = Some(number);
        number
    }

    fn find_or_add(&mut self, event: &Event) -> u32 {
        let origin = Origin {
            process: event.task.map(|task| (task.tgid, task.comm)),
            cgroup: event.cgroup,
            caller: event.caller,
            stack: event.stack.as_slice().into(),
        };
        if let Some(&number) = self.numbers.get(&origin) {
            self.share(number);
            return number;
        }
        let origin = Arc::new(origin);
        let number = self.entries.insert(Entry {
            origin: Arc::clone(&origin),
            users: 1,
            exited: None,
            replaced: 0,
            keys: Keys::default(),
        }) as u32;
        self.begin(origin, number);
        number
    }

    fn begin(&mut self, origin: Arc<Origin>, number: u32) {
        if let Some((tgid, _)) = origin.process {
            self.by_process.entry(tgid).or_default().insert(number);
        }
        self.numbers.insert(origin, number);
    }

    /// Records that this is the origin of a reference. `is_its` returns whether a reference still has this
    /// origin.
    pub(super) fn note(&mut self, number: u32, key: u32, is_its: impl Fn(u32) -> bool) {
        let Some(entry) = self.entries.get_mut(number as usize) else {
            return;
        };
        entry.keys.note(key, is_its);
    }

    /// The references of this origin for which `is_its` is true.
    pub(super) fn keys(&self, number: u32, is_its: impl Fn(u32) -> bool) -> Vec<u32> {
        self.entries.get(number as usize).map_or_else(Vec::new, |entry| entry.keys.live(is_its))
    }

    fn end(&mut self, number: u32, process: Option<(u32, [u8; COMM_LEN])>) {
        let Some((tgid, _)) = process else { return };
        if let Some(numbers) = self.by_process.get_mut(&tgid) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_process.remove(&tgid);
            }
        }
    }

    /// Adds one user.
    pub(super) fn share(&mut self, number: u32) {
        if let Some(entry) = self.entries.get_mut(number as usize) {
            entry.users += 1;
        }
    }

    /// Removes one user; the origin is dropped with the last.
    pub(super) fn leave(&mut self, number: u32) {
        let Some(entry) = self.entries.get_mut(number as usize) else {
            return;
        };
        entry.users -= 1;
        if entry.users > 0 {
            return;
        }
        let entry = self.entries.remove(number as usize);
        // A process that has exited may have been followed by another one with the same number.
        if self.numbers.get(&entry.origin) == Some(&number) {
            self.numbers.remove(&entry.origin);
        }
        self.end(number, entry.origin.process);
    }

    /// The process has exited: its memory stays allocated, and later allocations are by another process.
    /// Returns the numbers of its origins.
    pub(super) fn exited(&mut self, task: &Task, replaced_ns: Option<u64>, time_ns: u64) -> Vec<u32> {
        let mut its: Vec<_> = self.by_process.remove(&task.tgid).into_iter().flatten().collect();
        its.retain(|&number| {
            self.entries.get(number as usize).is_some_and(|entry| entry.replaced < MAX_REPLACED)
        });
        for &number in &its {
            if let Some(entry) = self.entries.get_mut(number as usize) {
                entry.exited = Some(Exited { since_ns: time_ns, replaced_ns });
                self.numbers.remove(&entry.origin);
            }
        }
        its
    }

    /// Splits off `users` references that are held by another, live process. Returns the number of their
    /// origin.
    pub(super) fn split(&mut self, number: u32, users: u32) -> Option<u32> {
        let entry = self.entries.get(number as usize)?;
        let (origin, replaced) = (Arc::clone(&entry.origin), entry.replaced.saturating_add(1));
        let other = self.entries.insert(Entry {
            origin: Arc::clone(&origin),
            users,
            exited: None,
            replaced,
            keys: Keys::default(),
        }) as u32;
        self.begin(origin, other);
        for _ in 0..users {
            self.leave(number);
        }
        Some(other)
    }

    /// All that is known about who allocated the memory.
    pub(super) fn allocated_by(&self, number: u32, pid: u32) -> AllocatedBy<'_> {
        let Some(entry) = self.entries.get(number as usize) else {
            return AllocatedBy {
                task: None,
                cgroup: None,
                caller: None,
                stack: &[],
                exited_since_ns: None,
                replaced_ns: None,
            };
        };
        let origin = &*entry.origin;
        AllocatedBy {
            task: origin.process.map(|(tgid, comm)| Task { pid, tgid, comm }),
            cgroup: origin.cgroup,
            caller: origin.caller,
            stack: &origin.stack,
            exited_since_ns: entry.exited.map(|exited| exited.since_ns),
            replaced_ns: entry.exited.and_then(|exited| exited.replaced_ns),
        }
    }
}
