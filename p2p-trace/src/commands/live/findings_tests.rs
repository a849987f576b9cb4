//! From findings to the output lines and the exit code.

use std::time::Instant;

use p2p_trace_common::{Hook, Kind, Record, Ring, valid};
use p2p_trace_model::{
    event::user::{self, Writer},
    rules::{self, Severity},
};

use super::{
    tests::{Closing, lines, plan, play_as, shape},
    *,
};
use crate::render::text;

const START_NS: u64 = 5_000_000_000;
const MS: u64 = 1_000_000;

/// A step of the teardown of a range.
fn step(position: u64, kind: Kind, hook: Hook) -> Record {
    Record {
        kind: kind as u8,
        hook: hook as u8,
        valid: valid::DEVICE | valid::PGMAP | valid::RANGE | valid::TASK,
        seq: Ring::Rare.sequence(position),
        time_ns: START_NS + position * MS,
        pid: 612,
        tgid: 612,
        comm: *b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        bus: 3,
        pgmap: 0xffff_8881_0000_0000,
        words: [0xf800_0000, 0xfbff_ffff, 0, 0],
        ..user::blank(1)
    }
}

/// A drain that takes 20 ms.
pub(super) fn late_drain() -> Vec<Vec<Record>> {
    let mut writer = Writer::new(1);
    vec![
        vec![step(0, Kind::Kill, Hook::Kill), writer.tick(START_NS + 5 * MS)],
        vec![writer.tick(START_NS + 15 * MS)],
        vec![step(20, Kind::Drained, Hook::Drained), writer.tick(START_NS + 25 * MS)],
    ]
}

const PATIENT: ExitPolicy = ExitPolicy {
    rules: rules::Options { stall_after: Duration::from_secs(10) },
    fail_on: None,
    until_finding: false,
};
pub(super) const IMPATIENT: ExitPolicy =
    ExitPolicy { rules: rules::Options { stall_after: Duration::from_millis(10) }, ..PATIENT };

fn play(exit_policy: ExitPolicy, only_findings: bool) -> (Exit, Vec<String>) {
    let plan = Plan { only_findings, ..plan(exit_policy) };
    let mut out = Vec::new();
    let exit = play_as(&plan, late_drain(), false, &mut out).unwrap();
    let mut shape: Vec<_> = lines(&out).iter().map(shape).collect();
    // The unbind does not end either, which these tests ignore.
    shape.retain(|line| !line.contains("stalled-unbind"));
    (exit, shape)
}

#[test]
fn a_finding_follows_its_event_and_verdicts_precede_the_summary() {
    let (exit, shape) = play(IMPATIENT, false);
    assert_eq!(exit, Exit::Success, "the exit code is not by findings");
    let (head, tail) = shape.split_at(6);
    assert_eq!(
        head,
        [
            "status",
            "event 0",
            "finding 1 stalled-drain open",
            "event 20",
            "finding 1 stalled-drain closed",
            "lost 3",
        ]
    );
    let (summary, verdicts) = tail.split_last().unwrap();
    assert!(summary.starts_with("summary 2 3"), "{summary}");
    assert_eq!(verdicts.len(), rules::TABLE.len() - 1);
    assert!(verdicts.iter().all(|line| line.starts_with("verdict ")));
    assert!(verdicts.contains(&"verdict stalled-drain violated".to_owned()), "{verdicts:?}");
    assert!(verdicts.contains(&"verdict map-imbalance not checked".to_owned()), "{verdicts:?}");
    let (_, shape) = play(PATIENT, false);
    assert!(!shape.iter().any(|line| line.starts_with("finding")), "{shape:?}");
}

#[test]
fn fail_on_sets_the_exit_code() {
    let exit = |exit_policy, fail_on| play(ExitPolicy { fail_on, ..exit_policy }, false).0;
    assert_eq!(exit(IMPATIENT, Some(Severity::Medium)), Exit::Violated);
    assert_eq!(exit(IMPATIENT, Some(Severity::High)), Exit::Violated);
    assert_eq!(
        exit(IMPATIENT, Some(Severity::Critical)),
        Exit::Inconclusive,
        "records were lost, and a hook failed"
    );
    assert_eq!(exit(PATIENT, Some(Severity::High)), Exit::Inconclusive);
}

#[test]
fn findings_only_omits_events() {
    let (_, shape) = play(IMPATIENT, true);
    assert!(!shape.iter().any(|line| line.starts_with("event")), "{shape:?}");
    assert_eq!(
        shape[..4],
        ["status", "finding 1 stalled-drain open", "finding 1 stalled-drain closed", "lost 3"]
    );
    assert!(shape.last().unwrap().starts_with("summary 2 3"), "{shape:?}");
}

#[test]
fn until_finding_ends_the_run_at_the_first_finding() {
    let exit_policy = ExitPolicy { until_finding: true, ..IMPATIENT };
    let started = Instant::now();
    let mut out = Vec::new();
    assert_eq!(play_as(&plan(exit_policy), late_drain(), true, &mut out).unwrap(), Exit::Violated);
    assert!(started.elapsed() < Duration::from_secs(9), "it ended by itself");
    let last = lines(&out).last().map(shape).unwrap();
    assert!(last.starts_with("summary "), "{last}");
}

#[test]
fn until_finding_without_a_finding_is_inconclusive() {
    let exit_policy = ExitPolicy { until_finding: true, ..PATIENT };
    assert_eq!(play(exit_policy, false).0, Exit::Inconclusive);
    let critical = ExitPolicy { fail_on: Some(Severity::Critical), until_finding: true, ..IMPATIENT };
    assert_eq!(play(critical, false).0, Exit::Inconclusive, "the severity is too low");
}

#[test]
fn a_closed_pipe_leaves_the_exit_code_inconclusive() {
    let exit_policy = ExitPolicy { fail_on: Some(Severity::Medium), ..PATIENT };
    let exit = play_as(&plan(exit_policy), late_drain(), false, &mut Closing(0)).unwrap();
    assert_eq!(exit, Exit::Inconclusive);
}

#[test]
fn text_shows_a_finding_in_full_once() {
    let plan = Plan { format: Format::Text(text::Options::default()), ..plan(IMPATIENT) };
    let mut out = Vec::new();
    play_as(&plan, late_drain(), false, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.matches("VIOLATED        stalled-drain").count(), 1, "{text}");
    assert!(text.contains("stalled-drain of 0000:03:00.0 ended after 20.0 ms"), "{text}");
    assert!(text.contains("\nrules for 0000:03:00.0\n  VIOLATED "), "{text}");
    let (_, end) = text.rsplit_once("\n2 events in ").unwrap();
    assert!(!end.contains("VIOLATED"), "{text}");
}
