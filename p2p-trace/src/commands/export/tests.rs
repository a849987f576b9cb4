//! An exported dump gets the same verdicts as the original, redacted or not, damaged or not.

use std::{ffi::OsString, fs, path::Path};

use p2p_trace_dump::samples;
use p2p_trace_model::rules::Severity;
use serde_json::Value;

use super::*;
use crate::{commands::check, render::text::Style};

/// The results of `check` for a dump, without names and addresses, and the exit code.
fn checked(path: &Path) -> (Exit, Vec<String>) {
    let style = Style { color: false };
    let options = check::Options { json: true, style, fail_on: Severity::Medium, stall_after: None };
    let (runs, errors) = dumps::open(&[path]);
    let mut out = Vec::new();
    let exit = check::check(runs, errors, options, &mut out).unwrap();
    let mut results = Vec::new();
    if let Ok(report) = serde_json::from_slice::<Value>(&out) {
        let of = |value: &Value, fields: &[&str]| {
            let field = |field: &&str| match &value[field] {
                Value::Null => panic!("there is no {field} in {value}"),
                Value::Array(values) => values.len().to_string(),
                value => value.to_string(),
            };
            fields.iter().map(field).collect::<Vec<_>>().join(" ")
        };
        results
            .push(of(&report, &["verdict", "events", "lost", "ending", "duration_ns", "findings_omitted"]));
        let finding = [
            "rule",
            "device",
            "verdict",
            "severity",
            "start_ns",
            "state",
            "occurrences",
            "evidence",
            "holders",
        ];
        for (list, fields) in [
            ("findings", &finding[..]),
            ("withdrawn", &finding),
            ("verdicts", &["rule", "device", "verdict", "severity", "findings"]),
        ] {
            let list = report[list].as_array().into_iter().flatten();
            results.extend(list.map(|value| of(value, fields)));
        }
    }
    (exit, results)
}

/// The dump recovered from a kernel that crashed on a use of removed memory.
fn recovered() -> Vec<u8> {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/dump/tests/fixtures/cores/vmcore");
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("recovered.p2pt");
    let words = ["p2p-trace", "recover", "-o"].map(OsString::from);
    let cli = crate::cli::parse(words.into_iter().chain([dump.clone().into(), core.into()])).unwrap();
    let Some(crate::cli::Command::Recover(args)) = cli.command else { panic!("{cli:?}") };
    assert_eq!(crate::commands::recover::run(&args, &cli.global).unwrap(), Exit::Success);
    fs::read(dump).unwrap()
}

/// The stored dumps: complete, truncated, and with a damaged block; and a recovered dump.
fn dumps_and_parts() -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["../crates/dump/tests/fixtures/dumps", "tests/golden/1"];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(root.join(folder)).unwrap());
    let mut dumps = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.extension().is_some_and(|extension| extension == "p2pt") {
            let name = path.file_name().unwrap().display().to_string();
            let bytes = fs::read(&path).unwrap();
            for part in [2, 4, 6, 7] {
                let at = bytes.len() * part / 8;
                let mut hole = bytes.clone();
                hole[at] ^= 1;
                dumps.push((format!("{name} with a hole at {at}"), hole));
                dumps.push((format!("{name} to {at}"), bytes[..at].to_vec()));
            }
            dumps.push((name, bytes));
        }
    }
    dumps.push(("a crashed kernel".to_owned(), recovered()));
    let small = samples::dump();
    for from in (0..small.len()).step_by(96) {
        let mut hole = small.clone();
        let to = hole.len().min(from + 300);
        hole[from..to].fill(0);
        dumps.push((format!("{from} to {to} of a small one"), hole));
    }
    assert!(dumps.len() > 80, "{}", dumps.len());
    dumps
}

#[test]
fn verdicts_equal_those_of_the_original() {
    let folder = tempfile::tempdir().unwrap();
    let (mut findings, mut exits) = (0, Vec::new());
    for (name, bytes) in dumps_and_parts() {
        let path = folder.path().join("before.p2pt");
        fs::write(&path, &bytes).unwrap();
        let before = checked(&path);
        for redactor in [None, Some(Redactor::random())] {
            let (mut runs, _) = dumps::open_redacted(&[&path], redactor.as_ref());
            let Some(mut run) = runs.pop() else { continue };
            let after = folder.path().join("after.p2pt");
            let mut out = Vec::new();
            export(&mut run.reader, &mut out).unwrap();
            fs::write(&after, &out).unwrap();
            assert_eq!(checked(&after), before, "{name}, redacted: {}", redactor.is_some());
            findings += before.1.len();
            exits.push(before.0);
        }
    }
    assert!(
        findings > 1000 && exits.contains(&Exit::Violated) && exits.contains(&Exit::Inconclusive),
        "{findings}"
    );
}

#[test]
fn a_redacted_report_has_the_same_exit_code_and_no_secrets() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/1/blocked.p2pt");
    let page = |redactor: Option<&Redactor>| {
        let (runs, errors) = dumps::open_redacted(&[&golden], redactor);
        let (runs, exit) =
            crate::commands::report::evaluate(runs, errors, &crate::cli::ReportArgs::default());
        (crate::commands::report::mail(&runs), exit)
    };
    let (plain, exit) = page(None);
    let (redacted, exit_redacted) = page(Some(&Redactor::random()));
    assert_eq!(exit, exit_redacted);
    for secret in ["golden", "blocked.p2pt"] {
        assert!(plain.contains(secret) && !redacted.contains(secret), "{secret}: {redacted}");
    }
    assert!(redacted.contains("\n    redacted     addresses, tasks"), "{redacted}");
}

fn args(files: &[&Path], output: &Path) -> ExportArgs {
    let mut words = vec!["p2p-trace".into(), "export".into(), "--redact".into(), "-o".into(), output.into()];
    words.extend(files.iter().map(Into::into));
    match crate::cli::parse(words).unwrap().command {
        Some(crate::cli::Command::Export(args)) => args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rejects_files_of_two_runs_and_creates_no_output() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("one"), samples::dump()).unwrap();
    let mut header = samples::header();
    header.status.run += 1;
    let other = p2p_trace_dump::Writer::new(Vec::new(), header).unwrap();
    fs::write(path("other"), other.finish(p2p_trace_dump::Reason::Broken, 0, None).unwrap()).unwrap();
    let output = path("out");
    let error = run(&args(&[&path("one"), &path("other")], &output)).unwrap_err();
    assert!(error.to_string().contains("these files are of 2 runs"), "{error:#}");
    fs::write(path("none"), b"not a dump").unwrap();
    assert!(run(&args(&[&path("none")], &output)).is_err());
    assert!(!output.exists());
    assert_eq!(run(&args(&[&path("one")], &output)).unwrap(), Exit::Success);
    assert_eq!(checked(&output), checked(&path("one")));
}
