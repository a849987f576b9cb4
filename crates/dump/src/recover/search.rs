//! The search: every worker takes parts of the memory and looks at each 128 bytes of them for a slot of the transport.

use std::{
    cmp::Reverse,
    collections::HashMap,
    iter,
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use p2p_trace_common::Record;

use super::{
    crash_image::{Marked, marked},
    memory::{Chunk, PhysicalMemory, Scratch, Skipped},
    ring::{Found, Recovered, sort},
    slot::{Content, candidates, content, is_in_place},
};

/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(200);

/// How a search is done.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Only this run.
    pub run: Option<u64>,
    /// Records that are kept at most: what comes behind them is counted and left.
    pub limit: usize,
    /// Workers; `None`: one for each processor.
    pub workers: Option<NonZero<usize>>,
}

impl Default for Search {
    /// Everything, up to 16 million records: 2 GB of them.
    fn default() -> Self {
        Self { run: None, limit: 1 << 24, workers: None }
    }
}

/// How far a search has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of memory searched.
    pub done: u64,
    /// Bytes that there are; 0: not known.
    pub total: u64,
    /// Records found.
    pub records: u64,
}

/// What a search found.
#[derive(Clone, Debug, Default)]
pub struct Carved {
    /// What is of each run: those of which more than records was found, then by age, that with the youngest record first.
    pub runs: Vec<Recovered>,
    /// Bytes of memory searched.
    pub searched: u64,
    /// Memory that could not be searched.
    pub skipped: Skipped,
    /// Records behind the limit.
    pub beyond_limit: u64,
}

/// Collects slots out of pieces of memory.
#[derive(Debug, Default)]
pub(super) struct Collector {
    runs: HashMap<u64, Found>,
    searched: u64,
    beyond_limit: u64,
}

/// What the workers have in common.
pub(super) struct Common {
    search: Search,
    records: AtomicU64,
}

impl Common {
    pub(super) const fn new(search: Search) -> Self {
        Self { search, records: AtomicU64::new(0) }
    }

    /// Whether one more record may be kept.
    fn admits(&self) -> bool {
        self.records.fetch_add(1, Ordering::Relaxed) < self.search.limit as u64
    }

    /// How far a search has come that does not know how much there is.
    pub(super) fn progress(&self, done: u64) -> Progress {
        Progress { done, total: 0, records: self.records.load(Ordering::Relaxed) }
    }

    fn wants(&self, run: u64) -> bool {
        self.search.run.is_none_or(|wanted| wanted == run)
    }
}

impl Collector {
    /// Looks through a piece.
    pub(super) fn feed(&mut self, common: &Common, chunk: Chunk<'_>) {
        self.searched += chunk.bytes.len() as u64;
        candidates(chunk.physical, chunk.bytes, |slot, at| {
            if let Some(content) = content(slot) {
                self.take(common, content, chunk.physical.wrapping_add(at as u64));
            } else if let Some(marked) = marked(&chunk.bytes[at..]) {
                self.take_marked(common, marked);
            }
        });
    }

    fn take(&mut self, common: &Common, content: Content, physical: u64) {
        let run = match &content {
            Content::Whole(Record { run, .. }) => *run,
            Content::Torn(place) => place.run,
        };
        let Some(found) = self.found(common, run) else {
            return;
        };
        match content {
            Content::Whole(record) if is_in_place(&record, physical) => found.records.push(record),
            Content::Whole(record) => found.strays.push(record),
            Content::Torn(place) => found.torn.push(place),
        }
    }

    fn take_marked(&mut self, common: &Common, marked: Marked) {
        let run = marked.run();
        let Some(found) = self.found(common, run) else {
            return;
        };
        match marked {
            Marked::Counters(_, counters) => found.counters.push(counters),
            Marked::Page(page) => found.images.add(page),
        }
    }

    /// What was found of a run, where one more thing of it is wanted.
    fn found(&mut self, common: &Common, run: u64) -> Option<&mut Found> {
        if !common.wants(run) {
            return None;
        }
        if !common.admits() {
            self.beyond_limit += 1;
            return None;
        }
        Some(self.runs.entry(run).or_default())
    }

    fn merge(&mut self, other: Self) {
        self.searched += other.searched;
        self.beyond_limit += other.beyond_limit;
        for (run, mut found) in other.runs {
            let all = self.runs.entry(run).or_default();
            all.records.append(&mut found.records);
            all.strays.append(&mut found.strays);
            all.torn.append(&mut found.torn);
            all.counters.append(&mut found.counters);
            all.images.merge(found.images);
        }
    }

    /// Sorts what was found.
    pub(super) fn finish(self, skipped: Skipped) -> Carved {
        let mut runs: Vec<_> = self.runs.into_iter().map(|(run, found)| sort(run, found)).collect();
        // What has left nothing but records may be no run: stale memory, and what looks like a first record.
        let is_bare = |run: &Recovered| run.images.is_empty() && run.counters.is_empty();
        runs.sort_by_key(|run| (is_bare(run), Reverse(run.last_ns()), run.run));
        Carved { runs, searched: self.searched, skipped, beyond_limit: self.beyond_limit }
    }
}

/// Searches memory, with as many workers as there are processors, and tells now and then how far it has come.
#[must_use]
pub fn carve(memory: &dyn PhysicalMemory, search: Search, mut tell: impl FnMut(Progress)) -> Carved {
    let total = (0..memory.parts()).map(|part| memory.weight(part)).sum();
    let (next, done, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let common = Common::new(search);
    let gathered = Mutex::new((Collector::default(), memory.skipped()));
    let work = || {
        let (mut collector, mut scratch) = (Collector::default(), Scratch::default());
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            if part >= memory.parts() {
                break;
            }
            memory.read(part, &mut scratch, &mut |chunk| collector.feed(&common, chunk));
            done.fetch_add(memory.weight(part), Ordering::Relaxed);
        }
        let mut gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.0.merge(collector);
        gathered.1.merge(&scratch.skipped);
    };
    let progress = || Progress {
        done: done.load(Ordering::Relaxed),
        total,
        records: common.records.load(Ordering::Relaxed),
    };
    let workers = search.workers.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get);
    let main = thread::current();
    thread::scope(|scope| {
        let workers: Vec<_> = iter::repeat_with(|| scope.spawn(work)).take(workers).collect();
        // Woken when the last worker is done, so that a small dump does not wait for the clock.
        scope.spawn(|| {
            for worker in workers {
                // A panic of a worker is passed on when the scope ends.
                drop(worker.join());
            }
            over.store(true, Ordering::Release);
            main.unpark();
        });
        while !over.load(Ordering::Acquire) {
            thread::park_timeout(PROGRESS);
            tell(progress());
        }
    });
    let (mut collector, skipped) = gathered.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Zeros hold nothing, and are known.
    collector.searched += memory.holes();
    collector.finish(skipped)
}
