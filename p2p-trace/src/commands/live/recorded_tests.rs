//! A run that is recorded while it is shown replays to the same lines.

use super::{
    findings_tests::{IMPATIENT, late_drain},
    tests::{plan, play_as, record},
    *,
};
use crate::{commands::replay, render::text, run::dumps};

/// Plays batches live while recording them, then replays the dump.
fn both(batches: Vec<Vec<p2p_trace_common::Record>>, format: Format) -> (String, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.p2pt");
    let plan = Plan { format, record: Some(Destination::new_file(path.clone())), ..plan(IMPATIENT) };
    let (mut live, mut replayed) = (Vec::new(), Vec::new());
    play_as(&plan, batches, false, &mut live).unwrap();
    let (mut runs, errors) = dumps::open(&[path]);
    assert_eq!(errors.len(), 0, "{errors:?}");
    let run = runs.pop().unwrap();
    replay::show(run, format, false, &Stop::default(), &mut replayed).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(live), text(replayed))
}

#[test]
fn a_run_with_findings_replays_line_by_line() {
    for format in [Format::Json, Format::Text(text::Options::default())] {
        let (live, replayed) = both(late_drain(), format);
        assert!(live.lines().count() > 10);
        assert_eq!(live, replayed);
    }
}

#[test]
fn many_small_batches_replay_line_by_line() {
    let batches = (0..5000).map(|number| vec![record(number, number * 10)]).collect();
    let (live, replayed) = both(batches, Format::Json);
    assert!(live.lines().count() > 5000);
    assert!(live == replayed);
}

#[cfg(unix)]
#[test]
fn a_dump_is_private_and_replaces_no_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.p2pt");
    let plan = Plan { record: Some(Destination::new_file(path.clone())), ..plan(IMPATIENT) };
    play_as(&plan, late_drain(), false, &mut Vec::new()).unwrap();
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let error = play_as(&plan, late_drain(), false, &mut Vec::new()).unwrap_err();
    assert!(format!("{error:#}").contains("exists already"), "{error:#}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), metadata.len());
}
