//! Writes and reads a dump on one core, and measures its size per event.
//!
//! `cargo bench -p p2p-trace --bench dump`. Sizes are printed before the timings.

#![expect(clippy::disallowed_methods, reason = "dumps in a temporary folder")]

#[path = "support/status.rs"]
mod status;
#[path = "support/traffic.rs"]
mod traffic;

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use p2p_trace_common::slot::SLOT_SIZE;
use p2p_trace_dump::{Header, Opened, Reason, RunItem, RunReader, Writer};
use p2p_trace_model::{
    accounting::Status, pipeline::Slice, rules::Options, stream::order::Item, units::Clock,
};

/// Events of a dump.
const EVENTS: usize = 1_000_000;
/// The id of the run.
const RUN: u64 = 0x0123_4567_89ab_cdef;
/// Records per write.
const BLOCK: usize = 4000;
/// Events per day at ten thousand per second.
const DAY: f64 = 10_000.0 * 86_400.0;

fn main() {
    for programs in [1, 16] {
        let slices = traffic::Traffic::of(programs).slices(EVENTS);
        let size = written(&slices, RUN, Vec::new()).map_or(0, |bytes| bytes.len());
        let per_event = size as f64 / EVENTS as f64;
        println!(
            "{per_event:.1} bytes per event, programs: {programs}; a day of 10,000 events/s needs {:.1} GiB",
            per_event * DAY / f64::from(1 << 30)
        );
    }
    match check(8) {
        Some([alone, all]) => println!(
            "check of 8 such dumps: {:.2} s on one core, {:.2} s on all {} cores, {:.2} times as fast",
            alone.as_secs_f64(),
            all.as_secs_f64(),
            thread::available_parallelism().map_or(0, NonZero::get),
            alone.as_secs_f64() / all.as_secs_f64()
        ),
        None => println!("check could not be measured"),
    }
    divan::main();
}

/// The time of `check` for this number of dumps, on one core and on all: the minimum of three runs each.
fn check(dumps: u64) -> Option<[Duration; 2]> {
    let folder = tempfile::tempdir_in("/dev/shm").ok()?;
    let slices = slices();
    let files: Vec<_> = (0..dumps).map(|run| folder.path().join(format!("{run}.p2pt"))).collect();
    for (run, file) in (1..).zip(&files) {
        written(&of_run(&slices, run), run, File::create(file).ok()?).ok()?;
    }
    let time = |cores: &str| {
        let start = Instant::now();
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", cores, env!("CARGO_BIN_EXE_p2p-trace"), "check"]);
        let output = command.args(&files).output().ok()?;
        output.status.code().filter(|&code| code < 3)?;
        Some(start.elapsed())
    };
    let mut shortest = [Duration::MAX; 2];
    for _ in 0..3 {
        // Alternate, so that both see the same load from other processes.
        for (shortest, cores) in shortest.iter_mut().zip(["0", "0-4095"]) {
            *shortest = time(cores)?.min(*shortest);
        }
    }
    Some(shortest)
}

/// The same events with another run id.
fn of_run(slices: &[Slice], run: u64) -> Vec<Slice> {
    let mut slices = slices.to_vec();
    for item in slices.iter_mut().flat_map(|slice| &mut slice.items) {
        if let Item::Record(record) = item {
            record.run = run;
        }
    }
    slices
}

fn slices() -> Vec<Slice> {
    traffic::Traffic::of(1).slices(EVENTS)
}

fn written<W: io::Write>(slices: &[Slice], run: u64, out: W) -> io::Result<W> {
    let clock = Clock { boottime_ns: 0, realtime_ns: 0, utc_offset_s: 0 };
    let status = Status { run, ..status::status(traffic::RUN, 2) };
    let header = Header::new(status, clock, 0, Options::default());
    let mut writer = Writer::new(out, header)?;
    for slice in slices {
        writer.slice(slice)?;
    }
    writer.finish(Reason::End, 0, None)
}

/// Encodes slices, and discards the bytes.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn write(bencher: Bencher<'_, '_>) {
    let slices = slices();
    bencher
        .counter(ItemsCount::new(EVENTS))
        .bench_local(|| written(black_box(&slices), RUN, io::sink()).is_ok());
}

/// Encodes slices into a file in memory.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn write_file(bencher: Bencher<'_, '_>) {
    let slices = slices();
    bencher
        .counter(ItemsCount::new(EVENTS))
        .with_inputs(file_in_memory)
        .bench_local_values(|file| file.and_then(|file| written(black_box(&slices), RUN, file)).is_ok());
}

/// The baseline: copies raw ring slots, and writes them to a file in memory.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn write_file_uncompressed(bencher: Bencher<'_, '_>) {
    let slots = vec![0x5a; BLOCK * SLOT_SIZE];
    let copied = |mut file: io::Result<File>| {
        for _ in 0..EVENTS / BLOCK {
            io::Write::write_all(file.as_mut().ok()?, &black_box(&slots).clone()).ok()?;
        }
        Some(())
    };
    bencher.counter(ItemsCount::new(EVENTS)).with_inputs(file_in_memory).bench_local_values(copied);
}

fn file_in_memory() -> io::Result<File> {
    tempfile::tempfile_in("/dev/shm")
}

/// Decodes the bytes of a file into slices.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn read(bencher: Bencher<'_, '_>) {
    let bytes = written(&slices(), RUN, Vec::new()).unwrap_or_default();
    let events = || {
        let mut reader = RunReader::new(vec![Opened::open(bytes.as_slice()).ok()?])?;
        let mut events = 0;
        while let Some(item) = reader.next_item().ok()? {
            if let RunItem::Slice(slice) = item {
                events += slice.items.len();
            }
        }
        Some(events)
    };
    assert_eq!(events(), Some(EVENTS), "not all events were read back");
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(events);
}
