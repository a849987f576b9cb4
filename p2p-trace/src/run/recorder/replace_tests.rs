//! Recordings that replace existing files (`--force`), and one to a device.

use std::{ffi::OsString, fs, path::Path};

use p2p_trace_common::Hook;
use p2p_trace_dump::sequence::numbered;

use super::{
    tests::{Live, alloc, open, read, record, records},
    *,
};
use crate::outfile::{Content, Input, Output, Outputs};

/// A destination as of `record --force`.
fn replacing(path: &Path) -> Destination {
    let mut outputs = Outputs::new(Vec::<Input>::new(), true);
    outputs.prepare(&Output(path.to_owned()), Content::Dumps).unwrap()
}

fn names(folder: &Path) -> Vec<OsString> {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_replaced_as_soon_as_the_new_one_has_its_header() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    fs::write(&path, "old").unwrap();
    let destination = replacing(&path);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    let mut live = Live::into(destination, Limits::default(), None);
    assert_eq!(names(dir.path()), ["t"]);
    assert!(fs::read(&path).unwrap().starts_with(b"\x89P2PTD"));
    live.gain(&[alloc(0)]);
    live.end().unwrap();
    let (items, damage) = read(vec![open(&path)]);
    assert_eq!((records(&items), damage), (vec![alloc(0)], Vec::new()));
    assert_eq!(names(dir.path()), ["t"]);
}

#[test]
fn later_files_are_replaced_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let (second, far) = (numbered(&path, 1), numbered(&path, 900));
    for path in [&second, &far] {
        fs::write(path, "old").unwrap();
    }
    let limits = Limits { max_size: Some(1), ..Limits::default() };
    let mut live = Live::into(replacing(&path), limits, None);
    assert_eq!(fs::read(&second).unwrap(), b"old");
    for place in 1..20_000 {
        live.gain(&[record(Kind::Kill, Hook::Kill, Ring::Rare, place)]);
        if numbered(&path, 2).exists() {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    live.end().unwrap();
    let (items, damage) = read(vec![open(&path), open(&second)]);
    assert_eq!(damage, Vec::<String>::new());
    assert!(records(&items).len() > 1);
    assert_eq!(fs::read(&far).unwrap(), b"old");
}

#[test]
fn a_flight_recorder_replaces_a_file_only_when_it_writes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    fs::write(&path, "old").unwrap();
    let asked = Arc::new(AtomicBool::new(false));
    let flight = Flight {
        history: Duration::from_mins(5),
        max_bytes: 1 << 20,
        asked: Arc::clone(&asked),
        only_asked: None,
    };
    let mut live = Live::into(replacing(&path), Limits::default(), Some(flight));
    live.gain(&[alloc(0)]);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    asked.store(true, Ordering::Relaxed);
    live.end().unwrap();
    let (items, _) = read(vec![open(&path)]);
    assert_eq!(records(&items), [alloc(0)]);
    assert_eq!(names(dir.path()), ["t"]);
}

#[cfg(unix)]
#[test]
fn a_recording_can_go_to_a_device() {
    let mut live = Live::into(replacing(Path::new("/dev/null")), Limits::default(), None);
    live.gain(&[alloc(0)]);
    live.end().unwrap();
    assert_eq!(live.recorder.recorded().files, 1);
}
