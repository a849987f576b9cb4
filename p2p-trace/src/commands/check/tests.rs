//! Dumps in, answers and exit codes out.

use std::{fs, path::PathBuf};

use p2p_trace_dump::samples::{self, dump};

use super::*;
use crate::render::check::{CheckReport, EndName};

const OPTIONS: Options =
    Options { json: true, style: Style { color: false }, fail_on: Severity::Medium, stall_after: None };

/// Writes each as a file and checks them.
fn check_files(files: &[&[u8]], options: Options) -> (Exit, String) {
    let dir = tempfile::tempdir().unwrap();
    let write = |(number, bytes): (usize, &&[u8])| {
        let path = dir.path().join(format!("{number}.p2pt"));
        fs::write(&path, bytes).unwrap();
        path
    };
    let paths: Vec<PathBuf> = files.iter().enumerate().map(write).collect();
    let (runs, errors) = dumps::open(&paths);
    let mut out = Vec::new();
    let exit = check(runs, errors, options, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    (exit, text.replace(&format!("{}/", dir.path().display()), ""))
}

fn report(text: &str) -> CheckReport {
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

#[test]
fn a_violation_is_told_with_its_finding() {
    let (exit, text) = check_files(&[&dump()], OPTIONS);
    assert_eq!(exit, Exit::Violated);
    let report = report(&text);
    assert_eq!((report.verdict, report.end), (Answer::Violated, EndName::Whole));
    assert_eq!(report.files, ["0.p2pt"]);
    assert!(report.findings.iter().any(|finding| finding.rule.name() == "stalled-drain"));
    assert_eq!((report.events, report.lost, report.duration_ns), (2, 3, 30 * samples::MS));
    let patient = Options { stall_after: Some(std::time::Duration::from_secs(1)), ..OPTIONS };
    assert_eq!(check_files(&[&dump()], patient).0, Exit::Holds);
    let grave = Options { fail_on: Severity::Critical, ..OPTIONS };
    assert_eq!(check_files(&[&dump()], grave).0, Exit::Holds);
}

#[test]
fn text_begins_with_the_answer() {
    let (_, text) = check_files(&[&dump()], Options { json: false, ..OPTIONS });
    insta::assert_snapshot!(text);
}

#[test]
fn a_dump_without_its_end_is_inconclusive_even_where_nothing_was_seen() {
    let whole = dump();
    let header = whole.len() - dump_without_header(&whole).len();
    let (exit, text) = check_files(&[&whole[..header]], OPTIONS);
    assert_eq!(exit, Exit::Inconclusive, "{text}");
    let report = report(&text);
    assert_eq!((report.end, report.verdicts.len()), (EndName::CutOff, 0));
}

/// What follows the two headers.
fn dump_without_header(whole: &[u8]) -> &[u8] {
    let stored = u32::from_le_bytes(whole[12..16].try_into().unwrap()) as usize;
    &whole[2 * (32 + stored)..]
}

#[test]
fn what_cannot_be_read_is_an_error_and_the_rest_is_judged() {
    let (exit, text) = check_files(&[b"not a dump", &dump()], OPTIONS);
    assert_eq!(exit, Exit::Error);
    assert_eq!(report(&text).verdict, Answer::Violated);
    assert_eq!(check_files(&[b""], OPTIONS), (Exit::Error, String::new()));
}

#[test]
fn the_same_file_twice_is_no_second_run() {
    let (_, text) = check_files(&[&dump(), &dump()], OPTIONS);
    assert_eq!(text.lines().count(), 1);
    let findings = |text: &str| report(text).findings.len();
    assert_eq!(findings(&text), findings(&check_files(&[&dump()], OPTIONS).1));
}
