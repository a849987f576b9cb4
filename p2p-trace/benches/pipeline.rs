//! Decode, model and rules: events per second on one core, and memory per live reference.
//!
//! `cargo bench -p p2p-trace --bench pipeline`. Memory is printed before the timings.

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

/// The numbers of live references to benchmark.
const LIVE: [u64; 3] = [4_096, 500_000, 1_000_000];
/// Events per slice: about one poll at a high rate.
const SLICE: u64 = 8_192;
/// The physical address of the device's memory.
const START: u64 = 0x10_0000_0000;
/// The direct-map address of the device's memory.
const BASE: u64 = 0xffff_8880_0000_0000 + START;
/// The id of the run.
const RUN: u64 = 1;
const PGMAP: u64 = 0xffff_8881_0020_0000;
const PAGE: u64 = 4096;
/// The distance of consecutive scattered allocations, in pages: a prime, so that every page is used.
const STRIDE: u64 = 1_000_003;
/// Nanoseconds between events.
const STEP: u64 = 500;

/// An allocator that counts the bytes in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all calls are forwarded to the system's allocator.
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

/// A stream of allocations and frees of one device. The oldest allocation is freed first.
struct Stream {
    live: u64,
    /// Whether consecutive allocations are far apart in memory.
    scattered: bool,
    /// The number of records so far. Allocations and frees alternate once `live` references exist.
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

    /// The address of an allocation. Addresses repeat after all others have been used.
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
            let is_free = self.allocated - self.freed >= self.live;
            Item::Record(if is_free { self.free() } else { self.alloc() })
        };
        let items = std::iter::repeat_with(next).take(SLICE as usize).collect();
        Slice { items, watermark_ns: 1_000_000_000 + self.next * STEP + 1 }
    }
}

/// A pipeline with `live` references.
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

/// Decode, model and rules with `live` references: allocated and freed in order of their addresses, or scattered.
#[divan::bench(args = LIVE, consts = [false, true], sample_count = 50, sample_size = 1)]
fn evaluate<const SCATTERED: bool>(bencher: Bencher<'_, '_>, live: u64) {
    let mut world = World::with(live, SCATTERED);
    bencher
        .counter(ItemsCount::new(SLICE as usize))
        .with_inputs(|| world.stream.slice())
        .bench_local_refs(|slice| play(&mut world.pipeline, slice));
    assert!(world.pipeline.rules().findings().is_empty(), "a clean stream has no findings");
}

/// The dashboard with `live` references: the update of the table of holders, which uses at most 1/20 of the time, and the two
/// halves of each frame, by the tracing thread and by the drawing thread.
#[cfg(feature = "tui")]
mod dashboard {
    use divan::Bencher;
    use p2p_trace::tui::Measured;

    use super::{LIVE, RUN, World, status};

    fn measured(world: &World, one_by_one: bool) -> Measured {
        let mut measured = Measured::new(status(RUN, 1), one_by_one);
        measured.update_holders(&world.pipeline);
        measured.publish(&world.pipeline);
        measured
    }

    #[divan::bench(args = LIVE, consts = [false, true], sample_count = 20, sample_size = 1)]
    fn update_holders<const ONE_BY_ONE: bool>(bencher: Bencher<'_, '_>, live: u64) {
        let world = World::with(live, false);
        let mut measured = measured(&world, ONE_BY_ONE);
        bencher.bench_local(|| measured.update_holders(&world.pipeline));
    }

    #[divan::bench(args = LIVE, consts = [false, true], sample_count = 50, sample_size = 1)]
    fn publish<const ONE_BY_ONE: bool>(bencher: Bencher<'_, '_>, live: u64) {
        let world = World::with(live, false);
        let mut measured = measured(&world, ONE_BY_ONE);
        bencher.bench_local(|| measured.publish(&world.pipeline));
    }

    #[divan::bench(args = LIVE, consts = [false, true], sample_count = 50, sample_size = 1)]
    fn draw<const ONE_BY_ONE: bool>(bencher: Bencher<'_, '_>, live: u64) {
        let world = World::with(live, false);
        let mut measured = measured(&world, ONE_BY_ONE);
        bencher.bench_local(|| measured.draw());
    }
}
