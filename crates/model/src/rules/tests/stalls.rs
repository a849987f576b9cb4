//! Stalls, ongoing and ended.

use std::time::Duration;

use p2p_trace_common::Kind;

use super::{Answer, Finding, Options, RuleId, shown};
use crate::testing::evaluation::{Run, evaluate, hooks_except};
use crate::testing::simulate::{Kernel, Order, play};

const SECOND_NS: u64 = 1_000_000_000;

/// A device with an unbind that waits for outstanding memory.
fn hanging() -> Kernel {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.snapshot(0, true);
    kernel.alloc(0, 10, 4);
    kernel.begin(0, 11, Order::Right);
    while !kernel.is_waiting(0) {
        kernel.advance(0);
    }
    kernel
}

fn of(found: &[Finding], rule: RuleId) -> Vec<&Finding> {
    found.iter().filter(|finding| finding.rule == rule).collect()
}

#[test]
fn reports_stall_once_while_ongoing_and_once_at_its_end() {
    let mut kernel = hanging();
    kernel.idle(20 * SECOND_NS);
    let mut run = evaluate(&kernel.elements);
    for rule in [RuleId::StalledDrain, RuleId::StalledUnbind] {
        let reported = of(&run.reported, rule);
        assert_eq!(reported.len(), 1, "{}", rule.name());
        assert!(!reported[0].is_closed());
        insta::assert_snapshot!(format!("open_{}", rule.name()), shown(reported[0], &kernel.elements));
        assert_eq!(run.answer(rule, kernel.address(0)), Answer::Violated);
    }
    let before = kernel.elements.len();
    while kernel.advance(0) {}
    run.feed(&kernel.elements[before..]);
    for (rule, end) in [(RuleId::StalledDrain, Kind::Drained), (RuleId::StalledUnbind, Kind::Unbound)] {
        let reported = of(&run.reported, rule);
        assert_eq!(reported.len(), 2, "{}", rule.name());
        assert_eq!(reported[0].number, reported[1].number);
        let last = *reported[1].evidence.last().unwrap();
        let (id, time_ns) = latest(&kernel, end);
        assert_eq!((last, reported[1].end_ns), (id, Some(time_ns)));
        // The rule stays violated.
        assert_eq!(run.answer(rule, kernel.address(0)), Answer::Violated);
    }
}

fn latest(kernel: &Kernel, kind: Kind) -> (crate::event::Id, u64) {
    let events = kernel.elements.iter().rev();
    let mut found = events.filter_map(|element| match element {
        crate::stream::assemble::Element::Event(event) if event.kind == kind => {
            Some((event.id, event.time_ns))
        }
        _ => None,
    });
    found.next().unwrap()
}

#[test]
fn later_stall_is_another_finding() {
    let mut kernel = hanging();
    for _ in 0..2 {
        kernel.idle(20 * SECOND_NS);
        while kernel.advance(0) {}
        kernel.bind(0, 5, &[16]);
        kernel.alloc(0, 10, 4);
        kernel.begin(0, 11, Order::Right);
        while !kernel.is_waiting(0) {
            kernel.advance(0);
        }
    }
    let run = evaluate(&kernel.elements);
    for rule in [RuleId::StalledDrain, RuleId::StalledUnbind] {
        let found = of(run.rules.findings(), rule);
        assert_eq!(found.len(), 2, "{}", rule.name());
        assert!(found.iter().all(|finding| finding.is_closed()));
        assert_eq!(run.verdict(rule, kernel.address(0)).findings, 2);
    }
}

#[test]
fn respects_the_budget() {
    let mut kernel = hanging();
    kernel.idle(20 * SECOND_NS);
    for (seconds, stalls) in [(1, true), (19, true), (21, false)] {
        let options = Options { stall_after: Duration::from_secs(seconds) };
        let mut run = Run::new(options, &hooks_except(&[]));
        run.feed(&kernel.elements);
        assert_eq!(!run.rules.findings().is_empty(), stalls, "{seconds} s");
        for finding in &run.reported {
            let due_ns = finding.start_ns + seconds * SECOND_NS;
            assert!(run.model.now_ns() >= due_ns);
        }
    }
}

#[test]
fn reports_stall_as_soon_as_the_budget_is_exceeded() {
    let mut kernel = hanging();
    let waiting_ns = kernel.now_ns;
    kernel.idle(20 * SECOND_NS);
    let mut run = Run::new(Options::default(), &hooks_except(&[]));
    for element in &kernel.elements {
        run.feed(std::slice::from_ref(element));
        if !run.reported.is_empty() {
            break;
        }
    }
    let late_ns = run.model.now_ns() - waiting_ns;
    assert!((4 * SECOND_NS..6 * SECOND_NS).contains(&late_ns), "{late_ns}");
}

#[test]
fn finds_hang_from_before_the_trace_by_snapshots() {
    let mut kernel = hanging();
    kernel.elements.truncate(play::head());
    for _ in 0..10 {
        kernel.snapshot(0, true);
        kernel.idle(SECOND_NS);
    }
    let mut run = evaluate(&kernel.elements);
    let texts: Vec<_> = [RuleId::StalledDrain, RuleId::StalledUnbind]
        .map(|rule| shown(run.only(rule), &kernel.elements))
        .into();
    insta::assert_snapshot!("found_by_snapshots", texts.join("\n"));
    let before = kernel.elements.len();
    while kernel.advance(0) {}
    run.feed(&kernel.elements[before..]);
    assert!(run.rules.findings().iter().all(Finding::is_closed));
    let texts: Vec<_> = [RuleId::StalledDrain, RuleId::StalledUnbind]
        .map(|rule| shown(run.only(rule), &kernel.elements))
        .into();
    insta::assert_snapshot!("found_by_snapshots_ended", texts.join("\n"));
}

#[test]
fn hang_before_the_kill_is_only_a_stalled_unbind() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.begin(0, 11, Order::Right);
    kernel.advance_to(0, Kind::DevresRelease);
    kernel.idle(20 * SECOND_NS);
    let run = evaluate(&kernel.elements);
    assert_eq!(run.violated(), [RuleId::StalledUnbind].into());
    let text = shown(run.only(RuleId::StalledUnbind), &kernel.elements);
    insta::assert_snapshot!("hangs_in_the_driver", text);
}

#[test]
fn closes_stall_whose_end_was_not_seen() {
    let mut kernel = hanging();
    kernel.idle(20 * SECOND_NS);
    let before = kernel.elements.len();
    while kernel.advance(0) {}
    // Neither the end nor a loss of it is seen: the device is bound again.
    kernel.elements.truncate(before);
    kernel.bind(0, 5, &[16]);
    let run = evaluate(&kernel.elements);
    assert!(run.rules.findings().iter().all(Finding::is_closed));
    let text = shown(run.only(RuleId::StalledDrain), &kernel.elements);
    insta::assert_snapshot!("end_not_seen", text);
}
