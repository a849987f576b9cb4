//! A snapshot of a device while its records arrive: states of its ranges, state of the device, and runs of
//! allocated memory.

use rangemap::RangeSet;

use super::reference::At;
use crate::{
    event::{
        Task,
        user::{Run, SnapshotEnd},
    },
    stream::CLOCK_SLACK_NS,
};

/// Limit on the runs of one snapshot; one with more is not reconciled. A bitmap of 16 GiB has at most half as
/// many.
pub(super) const MAX_RUNS: usize = 1 << 22;
/// Limit on the range states of one snapshot: a chunk number has eight bits.
const MAX_STATES: usize = 256;

/// The latest snapshot that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastSnapshot {
    /// The earliest time at which the bitmap was read.
    pub from_ns: u64,
    /// The latest time at which the bitmap was read.
    pub to_ns: u64,
    /// Every chunk was read to its end.
    pub complete: bool,
    /// The model was reconciled with it: it was complete, no record was missing, and the pool was not being
    /// destroyed.
    pub reconciled: bool,
}

/// The holder of a device's lock at one moment. An unbinding task holds it to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The task. `None` if the lock is free or its holder cannot be determined.
    pub holder: Option<Task>,
    /// How long ago the task last ran on a CPU, in nanoseconds, excluding suspend.
    pub waiting_ns: Option<u64>,
    /// The time of this observation.
    pub at: At,
}

/// Records received since the last snapshot ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// Generations of the ranges that have a chunk, or `None` for a chunk without a known range.
    states: Vec<(u64, Option<u32>)>,
    /// The number of chunks.
    chunks: Option<(u64, u32)>,
    runs: Vec<(u64, Run)>,
    overflowed: bool,
}

/// The contents of a snapshot.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// All records arrived.
    pub(super) complete: bool,
    /// There were more records than the limit.
    pub(super) overflowed: bool,
    pub(super) set: RangeSet<u64>,
    /// The ranges that have a chunk, if all chunks were seen.
    pub(super) ranges: Option<Vec<u32>>,
}

impl Snapshot {
    pub(super) fn state(&mut self, time_ns: u64, generation: Option<u32>) {
        self.overflowed |= self.states.len() >= MAX_STATES;
        if !self.overflowed {
            self.states.push((time_ns, generation));
        }
    }

    pub(super) const fn chunks(&mut self, time_ns: u64, count: Option<u32>) {
        self.chunks = match count {
            Some(count) => Some((time_ns, count)),
            None => None,
        };
    }

    pub(super) fn run(&mut self, time_ns: u64, run: Run) {
        self.overflowed |= self.runs.len() >= MAX_RUNS;
        if !self.overflowed {
            self.runs.push((time_ns, run));
        }
    }

    /// Ends the snapshot. Leftovers of an earlier, unfinished one are dropped.
    pub(super) fn finish(&mut self, snapshot_end: &SnapshotEnd) -> Found {
        let from_ns = snapshot_end.from_ns.saturating_sub(CLOCK_SLACK_NS);
        let snapshot = std::mem::take(self);
        let mut set = RangeSet::new();
        let mut count = 0;
        for (_, run) in snapshot.runs.iter().filter(|&&(time_ns, _)| time_ns >= from_ns) {
            count += 1;
            let end = run.addr.saturating_add(run.size);
            if run.addr < end {
                set.insert(run.addr..end);
            }
        }
        let states: Vec<_> = snapshot.states.iter().filter(|&&(time_ns, _)| time_ns >= from_ns).collect();
        let chunks = snapshot.chunks.filter(|&(time_ns, _)| time_ns >= from_ns);
        let all_seen = chunks.is_some_and(|(_, chunks)| chunks as usize == states.len());
        Found {
            complete: snapshot_end.complete && !snapshot.overflowed && count == u64::from(snapshot_end.runs),
            overflowed: snapshot.overflowed,
            set,
            ranges: all_seen.then(|| states.iter().filter_map(|&&(_, generation)| generation).collect()),
        }
    }
}
