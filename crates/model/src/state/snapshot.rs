//! A pull read of a device, as its records come in: states of its ranges, of the device, and runs of taken memory.

use rangemap::RangeSet;

use super::reference::At;
use crate::{
    event::{
        Task,
        user::{Run, SnapshotEnd},
    },
    stream::CLOCK_SLACK_NS,
};

/// Runs that one pull read can bring: what has more is not reconciled. A bitmap of 16 GiB has at most half as many.
pub(super) const MAX_RUNS: usize = 1 << 22;
/// States that one pull read can bring: the number of a chunk has eight bits.
const MAX_STATES: usize = 256;

/// The latest pull read that came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastSnapshot {
    /// The bitmap was read between these times.
    pub from_ns: u64,
    /// As above.
    pub to_ns: u64,
    /// Every chunk was read to its end.
    pub complete: bool,
    /// What is out was brought in line with it: complete, none of its records missing, and not while the pool was
    /// being destroyed.
    pub reconciled: bool,
}

/// Who holds a device's lock, as of one moment. Whoever unbinds does so to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The task; `None`: nobody, or it cannot be told.
    pub holder: Option<Task>,
    /// How long ago it was last given a CPU, in nanoseconds without suspend.
    pub waiting_ns: Option<u64>,
    /// When.
    pub at: At,
}

/// What has come in since the last one ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// Generations of the ranges that have a chunk; `None` for one that is nobody's.
    states: Vec<(u64, Option<u32>)>,
    /// The number of chunks.
    chunks: Option<(u64, u32)>,
    runs: Vec<(u64, Run)>,
    overflowed: bool,
}

/// What a pull read found, taken together.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// All of it is there.
    pub(super) complete: bool,
    /// There were more records than are kept.
    pub(super) overflowed: bool,
    pub(super) set: RangeSet<u64>,
    /// The ranges that have a chunk, where all chunks were seen.
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

    /// It has come to its end. What an earlier one left, which did not, is dropped.
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
