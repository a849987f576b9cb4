//! A flight recorder writes its history on a finding or a request, and nothing before.

use std::{fs, path::Path, time::Instant};

use p2p_trace_common::{Hook, Record};
use p2p_trace_dump::{End, Entry, Reader, RunItem, samples};

use super::{
    tests::{Live, alloc, open, read, record, records},
    *,
};

/// Kills another range, which is urgent but not a finding.
fn quiet(place: u64) -> Record {
    Record {
        pgmap: 100 + place,
        time_ns: samples::START_NS + place,
        ..record(Kind::Kill, Hook::Kill, Ring::Rare, place)
    }
}

fn flight(asked: &Arc<AtomicBool>, max_bytes: u64) -> Flight {
    Flight { history: Duration::from_mins(5), max_bytes, asked: Arc::clone(asked), only_asked: None }
}

fn number_of_files(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[test]
fn nothing_is_written_without_a_finding_or_a_request() {
    let dir = tempfile::tempdir().unwrap();
    let mut live =
        Live::with(&dir.path().join("t"), Limits::default(), Some(flight(&Arc::default(), 1 << 20)));
    live.gain(&[alloc(0)]);
    live.end().unwrap();
    assert_eq!(number_of_files(dir.path()), 0);
    assert_eq!(*live.recorder.recorded(), Recorded::default());
}

#[test]
fn a_run_that_breaks_off_is_written_as_cut_off() {
    for (flight, files) in [(None, 1), (Some(flight(&Arc::default(), 1 << 20)), 0)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        let mut live = Live::with(&path, Limits::default(), flight);
        live.gain(&[alloc(0)]);
        assert_eq!(number_of_files(dir.path()), files);
        drop(live);
        let (items, damage) = read(vec![open(&path)]);
        assert_eq!((records(&items), damage), (vec![alloc(0)], Vec::new()));
        assert!(matches!(items.last(), Some(RunItem::End(end)) if **end == End::CutOff));
    }
}

#[test]
fn a_finding_writes_the_history() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let mut live = Live::with(&path, Limits::default(), Some(flight(&Arc::default(), 1 << 20)));
    let kill = |place| record(Kind::Kill, Hook::Kill, Ring::Rare, place);
    let given = [alloc(0), kill(1), kill(2)];
    live.gain(&given[..2]);
    assert!(!live.recorder.has_finding);
    // The second kill is a finding.
    live.gain(&given[2..]);
    live.end().unwrap();
    assert_eq!(number_of_files(dir.path()), 1);
    let (items, damage) = read(vec![open(&path)]);
    assert_eq!((records(&items), damage), (given.to_vec(), Vec::new()));
    assert!(
        matches!(items.last(), Some(RunItem::End(end)) if matches!(**end, End::Complete(_))),
        "{items:?}"
    );
}

#[test]
fn the_oldest_segments_are_dropped_and_the_dump_starts_with_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let asked = Arc::default();
    // Too small for two segments: a segment is dropped when it ends.
    let mut live = Live::with(&path, Limits::default(), Some(flight(&asked, 1)));
    let mut place = 0;
    let mut pass = |live: &mut Live<'_>, until: &dyn Fn() -> bool| {
        for _ in 0..5_000 {
            live.gain(&[match place {
                0 => alloc(0),
                _ => quiet(place),
            }]);
            place += 1;
            if until() {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("timed out");
    };
    let began = Instant::now();
    pass(&mut live, &|| began.elapsed() > Duration::from_millis(500));
    assert_eq!(number_of_files(dir.path()), 0);
    asked.store(true, Ordering::Relaxed);
    pass(&mut live, &|| path.exists());
    // The segment continues in the file until it ends; then nothing is written until the next request.
    let began = Instant::now();
    pass(&mut live, &|| began.elapsed() > Duration::from_millis(500));
    assert_eq!(number_of_files(dir.path()), 1);
    asked.store(true, Ordering::Relaxed);
    let second = dir.path().join("t.1");
    pass(&mut live, &|| second.exists());
    live.end().unwrap();
    for path in [&path, &second] {
        let (items, damage) = read(vec![open(path)]);
        assert_eq!(damage, Vec::<String>::new());
        let Some(RunItem::Restore(checkpoint)) = items.first() else { panic!("{items:?}") };
        let mut pipeline = Pipeline::new(&samples::header().status, samples::header().rules(), 0);
        checkpoint.restore(&mut pipeline);
        let device = pipeline.model().devices().next().unwrap();
        let (_, reference) = device.references().next().unwrap();
        assert_eq!(reference.at.time_ns, samples::START_NS);
        let no_uncertainty = !items.iter().any(|item| matches!(item, RunItem::Uncertainty(_)));
        assert!(no_uncertainty, "{items:?}");
        let places: Vec<_> = records(&items).iter().map(|record| record.seq).collect();
        assert!(places.windows(2).all(|two| two[1] == two[0] + 2), "{places:?}");
    }
}

#[test]
fn segments_in_one_file_are_one_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let asked = Arc::default();
    let mut live = Live::with(&path, Limits::default(), Some(flight(&asked, 1 << 14)));
    let mut given = Vec::new();
    let began = Instant::now();
    // The segments end by size.
    while began.elapsed() < Duration::from_millis(300) && given.len() < 40 {
        let next = quiet(given.len() as u64);
        live.gain(&[next]);
        given.push(next);
        thread::sleep(Duration::from_millis(5));
    }
    asked.store(true, Ordering::Relaxed);
    live.end().unwrap();
    let (items, damage) = read(vec![open(&path)]);
    assert_eq!(damage, Vec::<String>::new());
    let of = |record: &Record| record.seq;
    let (written, given): (Vec<_>, Vec<_>) =
        (records(&items).iter().map(of).collect(), given.iter().map(of).collect());
    let dump = fs::read(&path).unwrap();
    let mut reader = Reader::new(dump.as_slice());
    let mut footers = 0;
    while let Some(entry) = reader.next_entry().unwrap() {
        footers += usize::from(matches!(entry, Entry::Footer(_)));
    }
    assert!(footers > 1, "one segment only");
    assert!(!written.is_empty() && given.ends_with(&written), "{written:?} of {given:?}");
}

#[test]
fn a_file_created_meanwhile_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let asked = Arc::new(AtomicBool::new(true));
    let mut live = Live::with(&path, Limits::default(), Some(flight(&asked, 1 << 20)));
    fs::write(&path, "mine").unwrap();
    live.gain(&[alloc(0)]);
    let error = live.end().unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    assert_eq!(number_of_files(dir.path()), 1);
}
