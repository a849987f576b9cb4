//! A recording is readable, whatever happens to the disk meanwhile.

use std::{convert::Infallible, fs, path::Path};

use p2p_trace_common::{Hook, Record, valid};
use p2p_trace_dump::{End, Opened, RunItem, RunReader, samples};
use p2p_trace_model::accounting::HookStatus;
use p2p_trace_model::{
    event::{NoSymbols, Reason as LossReason, user},
    stream::order::Item,
};

use super::*;

const RUN: u64 = 0x0123_4567_89ab_cdef;

/// A record of the run. `place` is its position in the ring, and its time in milliseconds after the start.
pub(super) fn record(kind: Kind, hook: Hook, ring: Ring, place: u64) -> Record {
    Record {
        kind: kind as u8,
        hook: hook as u8,
        valid: valid::DEVICE | valid::PGMAP | valid::RANGE | valid::TASK,
        seq: ring.sequence(place),
        time_ns: samples::START_NS + place * samples::MS,
        bus: 3,
        pgmap: 7,
        pid: 612,
        tgid: 612,
        comm: *b"fio\0\0\0\0\0\0\0\0\0\0\0\0\0",
        ..user::blank(RUN)
    }
}

/// An allocation of 64 KiB.
pub(super) fn alloc(place: u64) -> Record {
    Record {
        valid: valid::DEVICE | valid::TASK | valid::ADDR | valid::SIZE,
        words: [0xffff_8881_0000_0000 + (place << 16), 1 << 16, 0, 0],
        ..record(Kind::Alloc, Hook::Alloc, Ring::Hot, place)
    }
}

/// A recorder with a pipeline, as while tracing.
pub(super) struct Live<'a> {
    pub(super) recorder: Recorder<'a>,
    pipeline: Pipeline,
}

impl Live<'_> {
    pub(super) fn start(path: &Path, limits: Limits) -> Self {
        Self::with(path, limits, None)
    }

    pub(super) fn with(path: &Path, limits: Limits, flight: Option<Flight>) -> Self {
        Self::into(Destination::new_file(path.to_owned()), limits, flight)
    }

    pub(super) fn into(destination: Destination, limits: Limits, flight: Option<Flight>) -> Self {
        Self::of(Options { destination, limits, redact: false, flight })
    }

    pub(super) fn of(options: Options) -> Self {
        let header = samples::header();
        let mut status = header.status.clone();
        // Without this hook a second kill is not a finding, because it can be of a new range.
        let memremap = status.hooks.first().map(|hook| HookStatus { hook: Hook::Memremap, ..hook.clone() });
        status.hooks.extend(memremap);
        let pipeline = Pipeline::new(&status, header.rules(), header.start_ns);
        let recorder = Recorder::start(options, header, &NoSymbols).unwrap();
        Self { recorder, pipeline }
    }

    pub(super) fn gain(&mut self, records: &[Record]) {
        let watermark_ns = records.last().map_or(0, |record| record.time_ns);
        let items = records.iter().copied().map(Item::Record).collect();
        let slice = Slice { items, watermark_ns };
        self.recorder.slice(&slice).unwrap();
        let recorder = &mut self.recorder;
        let done: Result<(), Infallible> = self.pipeline.advance(&slice, |step| {
            recorder.step(step).unwrap();
            Ok(())
        });
        done.unwrap();
        self.recorder.pause(&self.pipeline).unwrap();
    }

    pub(super) fn end(&mut self) -> Result<()> {
        let totals = samples::totals();
        let closing = self.pipeline.close(&totals);
        let ending = Ending { totals, duration: Duration::from_millis(30), is_whole: true };
        self.recorder.end(&closing, &ending)
    }
}

pub(super) fn open(path: &Path) -> Opened<fs::File> {
    Opened::open(fs::File::open(path).unwrap()).unwrap()
}

pub(super) fn read(files: Vec<Opened<fs::File>>) -> (Vec<RunItem>, Vec<String>) {
    let mut reader = RunReader::new(files).unwrap();
    let mut items = Vec::new();
    while let Some(next) = reader.next_item().unwrap() {
        items.push(next);
    }
    (items, reader.complaints())
}

pub(super) fn records(items: &[RunItem]) -> Vec<Record> {
    let items = items.iter().flat_map(|item| match item {
        RunItem::Slice(slice) => slice.items.clone(),
        _ => Vec::new(),
    });
    items
        .map(|item| match item {
            Item::Record(record) => record,
            Item::Loss(loss) => panic!("{loss:?}"),
        })
        .collect()
}

#[test]
fn the_number_of_diagnostics_is_limited() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.p2pt");
    let mut live = Live::start(&path, Limits::default());
    let diagnostic = |text: &str| Diagnostic::new(samples::START_NS, Level::Debug, text);
    live.recorder.diagnostics(&[diagnostic("first")]).unwrap();
    live.gain(&[alloc(0)]);
    live.recorder.diagnostics(&vec![diagnostic("again"); MAX_DIAGNOSTICS + 7]).unwrap();
    live.recorder.diagnostics(&[diagnostic("last")]).unwrap();
    live.end().unwrap();
    let (items, complaints) = read(vec![open(&path)]);
    assert_eq!(complaints, Vec::<String>::new());
    let kept: Vec<_> = items
        .iter()
        .flat_map(|item| match item {
            RunItem::Diagnostics(diagnostics) => diagnostics.as_slice(),
            _ => &[],
        })
        .collect();
    assert_eq!((kept[0].text.as_str(), kept.len()), ("first", MAX_DIAGNOSTICS + 1));
    assert_eq!(kept[1].text, "again");
    let last = kept.last().unwrap();
    assert!(last.level == Level::Warn && last.text.contains("further ones are omitted"), "{last:?}");
    assert_eq!(records(&items), [alloc(0)]);
}

#[test]
fn rotated_files_are_one_run_and_each_has_the_holder_from_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.p2pt");
    let limits = Limits { max_size: Some(1), ..Limits::default() };
    let mut live = Live::start(&path, limits);
    let mut given = vec![alloc(0)];
    live.gain(&given);
    let third = dir.path().join("trace.p2pt.2");
    for place in 1..20_000 {
        // A step of a teardown is urgent.
        let kill = record(Kind::Kill, Hook::Kill, Ring::Rare, place);
        live.gain(&[kill]);
        given.push(kill);
        if third.exists() {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    live.end().unwrap();
    let count = live.recorder.recorded().files;
    let numbered = |number| dir.path().join(format!("trace.p2pt.{number}"));
    let files: Vec<_> = std::iter::once(path).chain((1..count).map(numbered)).collect();
    assert!(files.len() >= 3);
    let (items, damage) = read(files.iter().rev().map(|path| open(path)).collect());
    assert_eq!(damage, Vec::<String>::new());
    assert!(
        matches!(items.last(), Some(RunItem::End(end)) if matches!(**end, End::Complete(_))),
        "{items:?}"
    );
    assert_eq!(records(&items), given);

    let (items, _) = read(vec![open(&third)]);
    let Some(RunItem::Restore(checkpoint)) = items.first() else { panic!("{items:?}") };
    let mut pipeline = Pipeline::new(&samples::header().status, samples::header().rules(), 0);
    checkpoint.restore(&mut pipeline);
    let device = pipeline.model().devices().next().unwrap();
    let (_, reference) = device.references().next().unwrap();
    assert_eq!(reference.at.time_ns, samples::START_NS);
    assert_eq!(device.allocated_by(reference).task.unwrap().name(), "fio");
    assert!(!items.iter().any(|item| matches!(item, RunItem::Uncertainty(_))), "{items:?}");

    let (items, _) = read(vec![open(&files[0])]);
    assert!(matches!(items.last(), Some(RunItem::End(end)) if **end == End::Continues));
    let gap = vec![open(&files[0]), open(&third)];
    let (items, _) = read(gap);
    let losses = records(&items);
    let lost = losses.iter().filter_map(user::loss).map(|loss| (loss.ring, loss.reason));
    assert_eq!(lost.collect::<Vec<_>>(), [(Ring::Rare, LossReason::Damaged)]);
}

#[test]
fn keep_limits_the_number_of_files() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { max_size: Some(1), keep: Some(2), ..Limits::default() };
    let mut live = Live::start(&dir.path().join("t"), limits);
    for place in 1..20_000 {
        live.gain(&[record(Kind::Kill, Hook::Kill, Ring::Rare, place)]);
        if dir.path().join("t.4").exists() {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    live.end().unwrap();
    let mut names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    // It may have started another file meanwhile.
    let expected = [["t.3", "t.4"], ["t.4", "t.5"], ["t.5", "t.6"]];
    assert!(expected.iter().any(|expected| names == expected), "{names:?}");
}

#[test]
fn a_removed_file_is_reported_and_followed_by_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let mut live = Live::start(&path, Limits::default());
    fs::remove_file(&path).unwrap();
    for place in 1..20_000 {
        live.gain(&[record(Kind::Kill, Hook::Kill, Ring::Rare, place)]);
        if dir.path().join("t.1").exists() {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    live.gain(&[record(Kind::Drained, Hook::Drained, Ring::Rare, 200_000)]);
    let error = live.end().unwrap_err();
    assert!(error.to_string().contains("removed"), "{error}");
    let (items, _) = read(vec![open(&dir.path().join("t.1"))]);
    assert_eq!(records(&items).last().unwrap().kind(), Some(Kind::Drained));
}

#[test]
fn records_that_do_not_fit_become_losses_but_changes_of_hooks_are_kept() {
    let mut dropped = Dropped::default();
    let change = user::Change {
        hook: Hook::DmaMapSg,
        attached: true,
        method: p2p_trace_model::event::Method::Fentry,
        armed: true,
    };
    let mut writer = user::Writer::new(RUN);
    let attach = writer.attach(1, &change);
    let slice = |records: &[Record]| Slice {
        items: records.iter().copied().map(Item::Record).collect(),
        watermark_ns: 9,
    };
    let kill = record(Kind::Kill, Hook::Kill, Ring::Rare, 5);
    let omitted = dropped.add(&[slice(&[alloc(1), attach]), slice(&[alloc(2), writer.tick(3), kill])]);
    assert_eq!(omitted, 3);
    let mut next = slice(&[alloc(9)]);
    dropped.insert_into(&mut next);
    assert!(dropped.is_empty());
    let records = records(&[RunItem::Slice(next)]);
    assert_eq!((records[0], records[3]), (attach, alloc(9)));
    let losses: Vec<_> = records.iter().filter_map(user::loss).collect();
    let found = losses.iter().map(|loss| (loss.ring, loss.count(), loss.reason));
    let expected = [(Ring::Hot, 2, LossReason::Unrecorded), (Ring::Rare, 1, LossReason::Unrecorded)];
    assert_eq!(found.collect::<Vec<_>>(), expected);
    let of = |place: u64| samples::START_NS + place * samples::MS;
    assert_eq!((losses[0].from_ns, losses[0].to_ns), (of(1), of(5)));
}
