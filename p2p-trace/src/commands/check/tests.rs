//! From dumps to the output and the exit code.

use std::{convert::Infallible, fs, path::PathBuf};

use p2p_trace_dump::{
    Checkpoint, Origin, Reason, Writer,
    samples::{self, dump},
};
use p2p_trace_model::pipeline::Pipeline;

use super::*;
use crate::render::check::{CheckReport, DumpEnding};

const OPTIONS: Options =
    Options { json: true, style: Style { color: false }, fail_on: Severity::Medium, stall_after: None };

/// Writes each dump to a file and checks them.
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
fn a_violation_is_reported_with_its_finding() {
    let (exit, text) = check_files(&[&dump()], OPTIONS);
    assert_eq!(exit, Exit::Violated);
    let report = report(&text);
    assert_eq!((report.verdict, report.ending), (Answer::Violated, DumpEnding::Complete));
    assert_eq!(report.files, ["0.p2pt"]);
    assert!(report.findings.iter().any(|finding| finding.rule.name() == "stalled-drain"));
    assert_eq!((report.events, report.lost, report.duration_ns), (2, 3, 30 * samples::MS));
    let patient = Options { stall_after: Some(std::time::Duration::from_secs(1)), ..OPTIONS };
    assert_eq!(check_files(&[&dump()], patient).0, Exit::Success);
    let critical = Options { fail_on: Severity::Critical, ..OPTIONS };
    assert_eq!(check_files(&[&dump()], critical).0, Exit::Success);
}

#[test]
fn text_starts_with_the_answer() {
    let (_, text) = check_files(&[&dump()], Options { json: false, ..OPTIONS });
    insta::assert_snapshot!(text);
}

#[test]
fn a_dump_without_end_is_inconclusive_even_without_records() {
    let complete = dump();
    let header = complete.len() - dump_without_header(&complete).len();
    let (exit, text) = check_files(&[&complete[..header]], OPTIONS);
    assert_eq!(exit, Exit::Inconclusive, "{text}");
    let report = report(&text);
    assert_eq!((report.ending, report.verdicts.len()), (DumpEnding::CutOff, 0));
}

/// The dump without its two header blocks.
fn dump_without_header(complete: &[u8]) -> &[u8] {
    let stored = u32::from_le_bytes(complete[12..16].try_into().unwrap()) as usize;
    &complete[2 * (32 + stored)..]
}

#[test]
fn an_unreadable_file_is_an_error_and_the_others_are_checked() {
    let (exit, text) = check_files(&[b"not a dump", &dump()], OPTIONS);
    assert_eq!(exit, Exit::Error);
    assert_eq!(report(&text).verdict, Answer::Violated);
    assert_eq!(check_files(&[b""], OPTIONS), (Exit::Error, String::new()));
}

/// A run in two files, as a recorder with rotation writes it.
fn rotated() -> [Vec<u8>; 2] {
    let header = samples::header();
    let mut pipeline = Pipeline::new(&header.status, header.rules(), header.start_ns);
    let mut writer = Writer::new(Vec::new(), header).unwrap();
    let slices = samples::slices();
    let (last, before) = slices.split_last().unwrap();
    for slice in before {
        writer.slice(slice).unwrap();
        let done: Result<(), Infallible> = pipeline.advance(slice, |_| Ok(()));
        done.unwrap();
    }
    let first = writer.rotate(Vec::new(), &Checkpoint::of(&pipeline, 1)).unwrap();
    writer.slice(last).unwrap();
    [first, writer.finish(Reason::End, 30 * samples::MS, Some(samples::totals())).unwrap()]
}

#[test]
fn duplicate_files_count_once_and_are_reported() {
    let complete = dump();
    let [first, second] = rotated();
    let lone = report(&check_files(&[&complete], OPTIONS).1);
    for (files, expected) in [
        (vec![&complete[..], &complete], &["all records of 1.p2pt"][..]),
        (vec![&complete, &complete, &complete], &["all records of 1.p2pt", "all records of 2.p2pt"]),
        (vec![&first, &second, &second], &["all records of 2.p2pt"]),
        (vec![&second, &first, &first], &["all records of 2.p2pt"]),
        (vec![&first, &first[..first.len() - 150], &second], &["all records of 1.p2pt"]),
        // The concatenation of two files, as a flight recorder writes it, and its last part.
        (vec![&[first.clone(), second.clone()].concat(), &second], &["all records of 1.p2pt"]),
    ] {
        let (_, text) = check_files(&files, OPTIONS);
        assert_eq!(text.lines().count(), 1);
        let twice = report(&text);
        assert_eq!(twice.verdict, lone.verdict, "{twice:?}");
        assert_eq!((twice.verdicts, twice.findings), (lone.verdicts.clone(), lone.findings.clone()));
        assert_eq!((twice.events, twice.lost, twice.ending), (lone.events, lone.lost, lone.ending));
        let are_reported =
            twice.repeats.iter().zip(expected).all(|(repeat, expected)| repeat.contains(expected));
        assert!(are_reported && twice.repeats.len() == expected.len(), "{:?}", twice.repeats);
        let (_, text) = check_files(&files, Options { json: false, ..OPTIONS });
        assert!(expected.iter().all(|expected| text.contains(expected)), "{text}");
    }
    assert_eq!(lone.repeats, [""; 0]);
    // A file that was copied while it was being written, after the complete one and before it.
    let header = complete.len() - dump_without_header(&complete).len();
    let mut counts = [0, 0];
    for cut in (header..complete.len()).step_by(7) {
        for (order, files) in
            [[&complete[..], &complete[..cut]], [&complete[..cut], &complete[..]]].iter().enumerate()
        {
            let twice = report(&check_files(files, OPTIONS).1);
            assert_eq!(
                (twice.verdict, twice.ending, twice.lost),
                (lone.verdict, lone.ending, lone.lost),
                "{cut}"
            );
            assert_eq!((twice.verdicts, twice.findings), (lone.verdicts.clone(), lone.findings.clone()));
            counts[order] += twice.repeats.len();
        }
    }
    assert!(counts[0] > 20 && counts[1] > 20, "{counts:?}");
}

#[test]
fn rejects_a_memory_dump_and_names_the_command_for_it() {
    let cores = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/dump/tests/fixtures/cores");
    for (name, words) in [("vmcore", "(ELF)"), ("zlib", "(kdump-compressed)"), ("flattened", "(flattened)")] {
        let core = fs::read(format!("{cores}/{name}")).unwrap();
        // It contains blocks of an event dump, as a page cache can.
        let core = [core, dump()].concat();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, &core).unwrap();
        let (runs, errors) = dumps::open(&[&path]);
        assert_eq!((runs.len(), errors.len()), (0, 1));
        let error = format!("{:#}", errors[0]);
        assert!(error.contains("use `p2p-trace recover`") && error.contains(words), "{error}");
        let followed = dumps::follow(&path, None, || true).err().unwrap();
        assert_eq!(format!("{followed:#}"), error);
    }
    let (_, errors) = {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dump.gz");
        fs::write(&path, b"\x1f\x8b\x08\0\0\0\0\0").unwrap();
        dumps::open(&[&path])
    };
    assert!(format!("{:#}", errors[0]).contains("gunzip"));
}

#[test]
fn overlapping_files_that_differ_are_inconclusive() {
    let other = {
        let mut writer = Writer::new(Vec::new(), samples::header()).unwrap();
        for slice in samples::slices().iter().skip(1) {
            writer.slice(slice).unwrap();
        }
        writer.finish(Reason::End, 30 * samples::MS, None).unwrap()
    };
    let patient = Options { stall_after: Some(std::time::Duration::from_secs(1)), ..OPTIONS };
    assert_eq!(check_files(&[&dump()], patient).0, Exit::Success);
    let (exit, text) = check_files(&[&dump(), &other], patient);
    assert_eq!(exit, Exit::Inconclusive, "{text}");
    // A recovered file is not joined with recorded ones: it is checked separately.
    let mut header = samples::header();
    header.origin = Origin::Recovered;
    let recovered = Writer::new(Vec::new(), header).unwrap().finish(Reason::Broken, 0, None).unwrap();
    assert_eq!(check_files(&[&dump(), &recovered], patient).1.lines().count(), 2);
}
