//! The search: workers read parts of the memory and check every 128 bytes for a slot of the transport.

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

/// Interval between progress reports.
const PROGRESS: Duration = Duration::from_millis(200);

/// Parameters of a search.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Limits the search to this run.
    pub run: Option<u64>,
    /// Maximum number of records to keep; further ones are only counted.
    pub limit: usize,
    /// Number of workers; `None`: one per processor.
    pub workers: Option<NonZero<usize>>,
}

impl Default for Search {
    /// Everything, up to 16 million records (2 GB).
    fn default() -> Self {
        Self { run: None, limit: 1 << 24, workers: None }
    }
}

/// Progress of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of memory searched.
    pub done: u64,
    /// Total bytes; 0: not known.
    pub total: u64,
    /// Records found.
    pub records: u64,
}

/// Result of a search.
#[derive(Clone, Debug, Default)]
pub struct Carved {
    /// The runs: those with more than records first, then by age, the one with the youngest record first.
    pub runs: Vec<Recovered>,
    /// Bytes of memory searched.
    pub searched: u64,
    /// Memory that could not be searched.
    pub skipped: Skipped,
    /// Number of records beyond the limit.
    pub beyond_limit: u64,
}

/// Collects slots from pieces of memory.
#[derive(Debug, Default)]
pub(super) struct Collector {
    runs: HashMap<u64, Found>,
    searched: u64,
    beyond_limit: u64,
}

/// State shared by the workers.
pub(super) struct Common {
    search: Search,
    records: AtomicU64,
}

impl Common {
    pub(super) const fn new(search: Search) -> Self {
        Self { search, records: AtomicU64::new(0) }
    }

    /// True if one more record may be kept.
    fn admits(&self) -> bool {
        self.records.fetch_add(1, Ordering::Relaxed) < self.search.limit as u64
    }

    /// Progress of a search of unknown length.
    pub(super) fn progress(&self, done: u64) -> Progress {
        Progress { done, total: 0, records: self.records.load(Ordering::Relaxed) }
    }

    fn wants(&self, run: u64) -> bool {
        self.search.run.is_none_or(|wanted| wanted == run)
    }
}

impl Collector {
    /// Searches a piece.
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
            Content::Complete(Record { run, .. }) => *run,
            Content::Torn(place) => place.run,
        };
        let Some(found) = self.found(common, run) else {
            return;
        };
        match content {
            Content::Complete(record) if is_in_place(&record, physical) => found.records.push(record),
            Content::Complete(record) => found.strays.push(record),
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

    /// The collection for a run, if one more item of it is to be kept.
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

    /// Sorts the findings.
    pub(super) fn finish(self, skipped: Skipped) -> Carved {
        let mut runs: Vec<_> = self.runs.into_iter().map(|(run, found)| sort(run, found)).collect();
        // A run with nothing but records may be stale memory, or data that looks like a record.
        let is_bare = |run: &Recovered| run.images.is_empty() && run.counters.is_empty();
        runs.sort_by_key(|run| (is_bare(run), Reverse(run.last_ns()), run.run));
        Carved { runs, searched: self.searched, skipped, beyond_limit: self.beyond_limit }
    }
}

/// Searches memory with several workers, and calls `report` with the progress now and then.
#[must_use]
pub fn carve(memory: &dyn PhysicalMemory, search: Search, mut report: impl FnMut(Progress)) -> Carved {
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
        // Unparked when the last worker is done, so that a small dump does not wait for the timeout.
        scope.spawn(|| {
            for worker in workers {
                // A worker's panic is propagated when the scope ends.
                drop(worker.join());
            }
            over.store(true, Ordering::Release);
            main.unpark();
        });
        while !over.load(Ordering::Acquire) {
            thread::park_timeout(PROGRESS);
            report(progress());
        }
    });
    let (mut collector, skipped) = gathered.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Holes contain only zeros, so they count as searched.
    collector.searched += memory.holes();
    collector.finish(skipped)
}
