//! Runs that are recorded one after the other under one name, as by a service that is restarted, and other files with such
//! names.

use std::{fs, path::Path};

use p2p_trace_common::Hook;
use p2p_trace_dump::sequence::{numbered, used};

use super::{
    tests::{Live, alloc, open, read, record, records},
    *,
};
use crate::outfile::{Content, Input, Output, Outputs};

fn series(path: &Path) -> Destination {
    let mut outputs = Outputs::new(Vec::<Input>::new(), false);
    outputs.prepare(&Output(path.to_owned()), Content::Dumps).unwrap()
}

/// A run that ends before its first rotation.
fn run(path: &Path, keep: Option<usize>) {
    let limits = Limits { max_size: Some(1 << 30), keep, ..Limits::default() };
    let mut live = Live::into(series(path), limits, None);
    live.gain(&[alloc(0)]);
    live.end().unwrap();
}

/// Records until the file of this number exists.
fn rotate_until(live: &mut Live<'_>, path: &Path, number: u32) {
    for place in 1..20_000 {
        live.gain(&[record(Kind::Kill, Hook::Kill, Ring::Rare, place)]);
        if numbered(path, number).exists() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("there is no file {number}: {:?}", used(path));
}

#[test]
fn a_restarted_run_continues_with_the_next_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    for _ in 0..3 {
        run(&path, None);
    }
    assert_eq!(used(&path).unwrap(), [0, 1, 2]);
    for number in 0..3 {
        let (items, damage) = read(vec![open(&numbered(&path, number))]);
        assert_eq!((records(&items), damage), (vec![alloc(0)], Vec::new()));
    }
}

#[test]
fn keep_counts_files_of_earlier_runs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    for _ in 0..20 {
        run(&path, Some(3));
    }
    assert_eq!(used(&path).unwrap(), [17, 18, 19]);
    fs::write(numbered(&path, 18), "notes").unwrap();
    for _ in 0..5 {
        run(&path, Some(3));
    }
    assert_eq!(used(&path).unwrap(), [18, 22, 23, 24], "what is no dump is not touched");
    run(&path, None);
    assert_eq!(used(&path).unwrap(), [18, 22, 23, 24, 25]);
}

#[test]
fn rotation_skips_existing_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let limits = Limits { max_size: Some(1), ..Limits::default() };
    let mut live = Live::into(series(&path), limits, None);
    fs::write(numbered(&path, 1), "old").unwrap();
    fs::create_dir(numbered(&path, 2)).unwrap();
    rotate_until(&mut live, &path, 4);
    live.end().unwrap();
    assert_eq!(fs::read(numbered(&path, 1)).unwrap(), b"old");
    let files = [0, 3, 4].map(|number| open(&numbered(&path, number)));
    let (items, damage) = read(files.into());
    assert_eq!(damage, Vec::<String>::new());
    assert!(records(&items).len() > 1);
}

#[cfg(unix)]
#[test]
fn pruning_skips_files_that_another_recorder_is_writing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t");
    let limits = Limits { max_size: Some(1 << 30), keep: Some(1), ..Limits::default() };
    let mut first = Live::into(series(&path), limits, None);
    first.gain(&[alloc(0)]);
    let limits = Limits { max_size: Some(1), ..limits };
    let mut second = Live::into(series(&path), limits, None);
    assert_eq!(used(&path).unwrap(), [0, 1]);
    rotate_until(&mut second, &path, 3);
    assert!(path.exists(), "the first recorder is still writing it");
    // Opened now, because the second recorder may remove the file as soon as it is closed.
    let file = open(&path);
    first.gain(&[alloc(1)]);
    first.end().unwrap();
    drop(first);
    let (items, damage) = read(vec![file]);
    assert_eq!((records(&items), damage), (vec![alloc(0), alloc(1)], Vec::new()));
    let last = used(&path).unwrap().pop().unwrap();
    rotate_until(&mut second, &path, last + 2);
    second.end().unwrap();
    assert!(!path.exists(), "a closed file is removed");
}
