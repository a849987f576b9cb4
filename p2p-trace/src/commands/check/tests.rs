//! Dumps in, answers and exit codes out.

use std::{convert::Infallible, fs, path::PathBuf};

use p2p_trace_dump::{
    Checkpoint, Origin, Reason, Writer,
    samples::{self, dump},
};
use p2p_trace_model::pipeline::Pipeline;

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
    assert_eq!((report.verdict, report.end), (Answer::Violated, EndName::Complete));
    assert_eq!(report.files, ["0.p2pt"]);
    assert!(report.findings.iter().any(|finding| finding.rule.name() == "stalled-drain"));
    assert_eq!((report.events, report.lost, report.duration_ns), (2, 3, 30 * samples::MS));
    let patient = Options { stall_after: Some(std::time::Duration::from_secs(1)), ..OPTIONS };
    assert_eq!(check_files(&[&dump()], patient).0, Exit::Success);
    let grave = Options { fail_on: Severity::Critical, ..OPTIONS };
    assert_eq!(check_files(&[&dump()], grave).0, Exit::Success);
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

/// A run in two files, as a recorder that rotates leaves it.
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
fn what_is_given_more_than_once_counts_once_and_is_said() {
    let whole = dump();
    let [first, second] = rotated();
    let lone = report(&check_files(&[&whole], OPTIONS).1);
    for (files, said) in [
        (vec![&whole[..], &whole], &["1.p2pt has no record that is not in another file"][..]),
        (vec![&whole, &whole, &whole], &["1.p2pt has no record", "2.p2pt has no record"]),
        (vec![&first, &second, &second], &["2.p2pt has no record"]),
        (vec![&second, &first, &first], &["2.p2pt has no record"]),
        (vec![&first, &first[..first.len() - 150], &second], &["1.p2pt has no record"]),
        // A joined file, as of a flight recorder, and its last part.
        (vec![&[first.clone(), second.clone()].concat(), &second], &["1.p2pt has no record"]),
    ] {
        let (_, text) = check_files(&files, OPTIONS);
        assert_eq!(text.lines().count(), 1);
        let twice = report(&text);
        assert_eq!(twice.verdict, lone.verdict, "{twice:?}");
        assert_eq!((twice.verdicts, twice.findings), (lone.verdicts.clone(), lone.findings.clone()));
        assert_eq!((twice.events, twice.lost, twice.end), (lone.events, lone.lost, lone.end));
        let are_said = twice.repeats.iter().zip(said).all(|(repeat, said)| repeat.contains(said));
        assert!(are_said && twice.repeats.len() == said.len(), "{:?}", twice.repeats);
        let (_, text) = check_files(&files, Options { json: false, ..OPTIONS });
        assert!(said.iter().all(|said| text.contains(said)), "{text}");
    }
    assert_eq!(lone.repeats, [""; 0]);
    // What was copied while it was written, behind the whole and before it.
    let header = whole.len() - dump_without_header(&whole).len();
    let mut said = [0, 0];
    for cut in (header..whole.len()).step_by(7) {
        for (order, files) in [[&whole[..], &whole[..cut]], [&whole[..cut], &whole[..]]].iter().enumerate() {
            let twice = report(&check_files(files, OPTIONS).1);
            assert_eq!((twice.verdict, twice.end, twice.lost), (lone.verdict, lone.end, lone.lost), "{cut}");
            assert_eq!((twice.verdicts, twice.findings), (lone.verdicts.clone(), lone.findings.clone()));
            said[order] += twice.repeats.len();
        }
    }
    assert!(said[0] > 20 && said[1] > 20, "{said:?}");
}

#[test]
fn the_memory_of_a_kernel_is_no_event_dump_and_the_error_says_what_reads_it() {
    let cores = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/dump/tests/fixtures/cores");
    for (name, words) in [("vmcore", "(ELF)"), ("zlib", "(kdump-compressed)"), ("flattened", "(flattened)")] {
        let core = fs::read(format!("{cores}/{name}")).unwrap();
        // Blocks of an event dump lie in it, as they do in a page cache.
        let core = [core, dump()].concat();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, &core).unwrap();
        let (runs, errors) = dumps::open(&[&path]);
        assert_eq!((runs.len(), errors.len()), (0, 1));
        let said = format!("{:#}", errors[0]);
        assert!(said.contains("use `p2p-trace recover`") && said.contains(words), "{said}");
        let followed = dumps::follow(&path, None, || true).err().unwrap();
        assert_eq!(format!("{followed:#}"), said);
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
fn files_of_one_run_that_differ_where_they_overlap_are_in_doubt() {
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
    // What was recovered fits none that was recorded: it is judged for itself.
    let mut header = samples::header();
    header.origin = Origin::Recovered;
    let recovered = Writer::new(Vec::new(), header).unwrap().finish(Reason::Broken, 0, None).unwrap();
    assert_eq!(check_files(&[&dump(), &recovered], patient).1.lines().count(), 2);
}
