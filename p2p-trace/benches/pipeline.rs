//! Decode, model and rules: how many events a second on one core, and what live references take.
//!
//! `cargo bench -p p2p-trace --bench pipeline`. Memory is told before the timings.

#[path = "support/status.rs"]
mod status;

use std::alloc::{GlobalAlloc, Layout, System};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use p2p_trace_common::{Hook, Kind, Record, Ring, valid};
use p2p_trace_model::{
    event::user,
    pipeline::{Pipeline, Slice},
    rules::Options,
    stream::order::Item,
};

use status::status;

/// Live references that the benchmarks are run with.
const LIVE: [u64; 3] = [4_096, 500_000, 1_000_000];
/// Events of one slice: what a poll brings at a high rate.
const SLICE: u64 = 8_192;
/// Physical address of the device's memory.
const START: u64 = 0x10_0000_0000;
/// Where it is in the direct map.
const BASE: u64 = 0xffff_8880_0000_0000 + START;
/// Random number of the run.
const RUN: u64 = 1;
const PGMAP: u64 = 0xffff_8881_0020_0000;
const PAGE: u64 = 4096;
/// Pages from one allocation to the next where they are scattered: prime, so that each page has its turn.
const STRIDE: u64 = 1_000_003;
/// Nanoseconds from event to event.
const STEP: u64 = 500;

/// Counts the bytes that are in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    for live in LIVE {
        let before = IN_USE.load(Relaxed);
        let world = World::with(live, false);
        let used = IN_USE.load(Relaxed) - before;
        println!(
            "{live} live references: {:.1} MiB, {:.0} bytes each",
            used as f64 / f64::from(1 << 20),
            used as f64 / live as f64
        );
        drop(world);
    }
    divan::main();
}

/// The stream of a device of which memory is taken and given back, in order of age.
struct Stream {
    live: u64,
    /// Neighbours in time are far apart in memory.
    scattered: bool,
    /// Records so far; allocations and frees take turns once all are taken.
    next: u64,
    allocated: u64,
    freed: u64,
}

impl Stream {
    const fn new(live: u64, scattered: bool) -> Self {
        Self { live, scattered, next: 0, allocated: 0, freed: 0 }
    }

    const fn record(&mut self, kind: Kind, hook: Hook, words: [u64; 4], valid: u32) -> Record {
        self.next += 1;
        let pid = 1000 + (self.next / 64 % 16) as u32;
        Record {
            kind: kind as u8,
            hook: hook as u8,
            valid: valid | valid::TASK | valid::DEVICE,
            seq: Ring::Hot.sequence(self.next),
            time_ns: 1_000_000_000 + self.next * STEP,
            pid,
            tgid: pid,
            comm: *b"worker\0\0\0\0\0\0\0\0\0\0",
            bus: 3,
            pgmap: PGMAP,
            words,
            ..user::blank(RUN)
        }
    }

    const fn added(&mut self) -> Record {
        let end = START + 2 * self.live * PAGE - 1;
        self.record(
            Kind::Memremap,
            Hook::Memremap,
            [START, end, BASE, 0],
            valid::RANGE | valid::ADDR | valid::PGMAP,
        )
    }

    /// Each address is taken again when all others have been.
    const fn addr(&self, number: u64) -> u64 {
        let pages = 2 * self.live;
        let number = if self.scattered { number * STRIDE } else { number };
        BASE + number % pages * PAGE
    }

    const fn alloc(&mut self) -> Record {
        let words = [self.addr(self.allocated), PAGE, 0xffff_ffff_8123_4567, 42];
        self.allocated += 1;
        self.record(
            Kind::Alloc,
            Hook::Alloc,
            words,
            valid::ADDR | valid::SIZE | valid::CALLER | valid::CGROUP,
        )
    }

    const fn free(&mut self) -> Record {
        let words = [self.addr(self.freed), PAGE, 0xffff_ffff_8123_5678, 0];
        self.freed += 1;
        self.record(Kind::Free, Hook::Free, words, valid::ADDR | valid::SIZE | valid::CALLER)
    }

    fn slice(&mut self) -> Slice {
        let next = || {
            let free = self.allocated - self.freed >= self.live;
            Item::Record(if free { self.free() } else { self.alloc() })
        };
        let items = std::iter::repeat_with(next).take(SLICE as usize).collect();
        Slice { items, watermark_ns: 1_000_000_000 + self.next * STEP + 1 }
    }
}

/// A pipeline in which so many references are live.
struct World {
    stream: Stream,
    pipeline: Pipeline,
}

impl World {
    fn with(live: u64, scattered: bool) -> Self {
        let mut stream = Stream::new(live, scattered);
        let mut pipeline = Pipeline::new(&status(RUN, 1), Options::default(), 0);
        let start = Slice { items: vec![Item::Record(stream.added())], watermark_ns: 1 };
        play(&mut pipeline, &start);
        while stream.allocated < live {
            play(&mut pipeline, &stream.slice());
        }
        Self { stream, pipeline }
    }
}

fn play(pipeline: &mut Pipeline, slice: &Slice) {
    let played = pipeline.advance(slice, |step| {
        black_box(step.findings);
        Ok::<(), Infallible>(())
    });
    match played {
        Ok(()) => {}
    }
}

/// Decode, model and rules, with so many references live: taken and given back in order of their addresses, and scattered.
#[divan::bench(args = LIVE, consts = [false, true], sample_count = 50, sample_size = 1)]
fn judged<const SCATTERED: bool>(bencher: Bencher<'_, '_>, live: u64) {
    let mut world = World::with(live, SCATTERED);
    bencher
        .counter(ItemsCount::new(SLICE as usize))
        .with_inputs(|| world.stream.slice())
        .bench_local_refs(|slice| play(&mut world.pipeline, slice));
    assert!(world.pipeline.rules().findings().is_empty(), "a clean stream has no findings");
}

/// The dashboard with so many references live: looking at all of them, which takes a twentieth of the time at most, and the
/// two halves of each frame, by the thread that takes the stream in and by the one that draws.
#[cfg(feature = "tui")]
mod dashboard {
    use divan::Bencher;
    use p2p_trace::tui::Measured;

    use super::{LIVE, RUN, World, status};

    fn measured(world: &World, one_by_one: bool) -> Measured {
        let mut measured = Measured::new(status(RUN, 1), one_by_one);
        measured.look(&world.pipeline);
        measured.publish(&world.pipeline);
        measured
    }

    #[divan::bench(args = LIVE, consts = [false, true], sample_count = 20, sample_size = 1)]
    fn looked<const ONE_BY_ONE: bool>(bencher: Bencher<'_, '_>, live: u64) {
        let world = World::with(live, false);
        let mut measured = measured(&world, ONE_BY_ONE);
        bencher.bench_local(|| measured.look(&world.pipeline));
    }

    #[divan::bench(args = LIVE, consts = [false, true], sample_count = 50, sample_size = 1)]
    fn published<const ONE_BY_ONE: bool>(bencher: Bencher<'_, '_>, live: u64) {
        let world = World::with(live, false);
        let mut measured = measured(&world, ONE_BY_ONE);
        bencher.bench_local(|| measured.publish(&world.pipeline));
    }

    #[divan::bench(args = LIVE, consts = [false, true], sample_count = 50, sample_size = 1)]
    fn drawn<const ONE_BY_ONE: bool>(bencher: Bencher<'_, '_>, live: u64) {
        let world = World::with(live, false);
        let mut measured = measured(&world, ONE_BY_ONE);
        bencher.bench_local(|| measured.draw());
    }
}
