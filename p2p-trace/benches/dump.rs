//! Writing and reading a dump on one core, and what an event takes in it.
//!
//! `cargo bench -p p2p-trace --bench dump`. Sizes are told before the timings.

#[path = "support/traffic.rs"]
mod traffic;

use std::fs::File;
use std::io;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use p2p_trace::dump::{Header, Opened, Reason, Tape, Told, Writer};
use p2p_trace::output::Clock;
use p2p_trace::pipeline::Slice;
use p2p_trace::rules::Options;
use p2p_trace_common::slot::SLOT_SIZE;

/// Events of a dump.
const EVENTS: usize = 1_000_000;
/// Records that are written at once.
const BLOCK: usize = 4000;
/// Events of a day at ten thousand a second.
const DAY: f64 = 10_000.0 * 86_400.0;

fn main() {
    let size = written(&slices(), Vec::new()).map_or(0, |bytes| bytes.len());
    let per_event = size as f64 / EVENTS as f64;
    println!(
        "{per_event:.1} bytes an event: a day of 10,000 events/s takes {:.1} GiB",
        per_event * DAY / f64::from(1 << 30)
    );
    divan::main();
}

fn slices() -> Vec<Slice> {
    traffic::Traffic::new().slices(EVENTS)
}

fn written<W: io::Write>(slices: &[Slice], out: W) -> io::Result<W> {
    let clock = Clock {
        boottime_ns: 0,
        realtime_ns: 0,
        utc_offset_s: 0,
    };
    let header = Header::new(traffic::status(), clock, 0, Options::default());
    let mut writer = Writer::new(out, header)?;
    for slice in slices {
        writer.slice(slice)?;
    }
    writer.finish(Reason::End, 0, None)
}

/// From slices to the bytes of a file, which go nowhere.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn write(bencher: Bencher<'_, '_>) {
    let slices = slices();
    bencher
        .counter(ItemsCount::new(EVENTS))
        .bench_local(|| written(black_box(&slices), io::sink()).is_ok());
}

/// The same into a file in memory.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn write_file(bencher: Bencher<'_, '_>) {
    let slices = slices();
    bencher
        .counter(ItemsCount::new(EVENTS))
        .with_inputs(file_in_memory)
        .bench_local_values(|file| file.and_then(|file| written(black_box(&slices), file)).is_ok());
}

/// The records alone, as they lie in a ring, copied and written to such a file.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn write_file_as_they_are(bencher: Bencher<'_, '_>) {
    let slots = vec![0x5a; BLOCK * SLOT_SIZE];
    let copied = |mut file: io::Result<File>| {
        for _ in 0..EVENTS / BLOCK {
            io::Write::write_all(file.as_mut().ok()?, &black_box(&slots).clone()).ok()?;
        }
        Some(())
    };
    bencher
        .counter(ItemsCount::new(EVENTS))
        .with_inputs(file_in_memory)
        .bench_local_values(copied);
}

fn file_in_memory() -> io::Result<File> {
    tempfile::tempfile_in("/dev/shm")
}

/// From the bytes of a file to slices.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn read(bencher: Bencher<'_, '_>) {
    let bytes = written(&slices(), Vec::new()).unwrap_or_default();
    let events = || {
        let mut tape = Tape::new(vec![Opened::open(bytes.as_slice()).ok()?])?;
        let mut events = 0;
        while let Some(told) = tape.next_told().ok()? {
            if let Told::Slice(slice) = told {
                events += slice.items.len();
            }
        }
        Some(events)
    };
    assert_eq!(events(), Some(EVENTS), "what is written is read");
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(events);
}
