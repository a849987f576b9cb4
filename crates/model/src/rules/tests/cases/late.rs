//! Traces that begin in the middle of a teardown, or miss its kill: the kernel side then writes neither the removal nor the end
//! of `memunmap_pages`.

use p2p_trace_common::{Hook, Kind};

use super::{begin_at, places, without_notes};
use crate::{
    accounting::HookState,
    rules::{Answer, Options, RuleId},
    stream::assemble::Element,
    testing::{
        evaluation::{Run, evaluate, hooks_except},
        simulate::{Kernel, Order, play},
    },
};

/// The rules that depend on the removal.
const BY_REMOVAL: [RuleId; 3] =
    [RuleId::RemovedBeforeDrained, RuleId::DrainedAfterRemoval, RuleId::UseAfterRemoval];

/// A bound device with outstanding memory.
fn held() -> Kernel {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.alloc(0, 10, 4);
    kernel
}

/// Asserts that nothing is found, and that rules that depend on the removal are inconclusive.
fn assert_open(kernel: &Kernel, why: &str) {
    let run = evaluate(&kernel.elements);
    assert!(run.violated().is_empty(), "{:?}", run.violated());
    for rule in BY_REMOVAL {
        let verdict = run.verdict(rule, kernel.address(0));
        assert_eq!(verdict.answer, Answer::Inconclusive, "{}", rule.name());
        assert!(verdict.reasons.iter().any(|reason| reason.contains(why)), "{:?}", verdict.reasons);
    }
}

/// Begins the trace at the current step of the teardown.
fn trace_from_here(kernel: &mut Kernel) {
    let place = kernel.elements.len();
    kernel.snapshot(0, true);
    kernel.idle(1_000_000_000);
    kernel.snapshot(0, true);
    while kernel.advance(0) {}
    begin_at(kernel, place);
    without_notes(kernel);
}

#[test]
fn late_start_in_correct_teardown_is_inconclusive() {
    let mut kernel = held();
    kernel.begin(0, 11, Order::Right);
    while !kernel.is_waiting(0) {
        kernel.advance(0);
    }
    trace_from_here(&mut kernel);
    assert_open(&kernel, "step remove of range 0x80000000-0x8000ffff (64 KiB) of 0000:01:00.0 was not seen");
}

#[test]
fn late_start_in_race_of_2018_is_inconclusive() {
    let mut kernel = held();
    kernel.begin(0, 11, Order::RemovedFirst);
    kernel.advance_to(0, Kind::Remove);
    trace_from_here(&mut kernel);
    assert_open(&kernel, "step remove of range 0x80000000-0x8000ffff (64 KiB) of 0000:01:00.0 was not seen");
}

#[test]
fn missed_kill_is_inconclusive() {
    for order in [Order::Right, Order::RemovedFirst] {
        let mut kernel = play::watched();
        kernel.bind(0, 5, &[16]);
        kernel.snapshot(0, true);
        kernel.alloc(0, 10, 4);
        kernel.tear_down(0, 11, order);
        without_notes(&mut kernel);
        let kill = places(&kernel, Kind::Kill)[0];
        kernel.elements.remove(kill);
        assert_open(&kernel, "was not seen: the trace began later, or missed the kill");
    }
}

/// Evaluates the stream without some hooks, which failed.
fn evaluate_without(kernel: &Kernel, blind: &[Hook]) -> Run {
    let failed: Vec<_> = blind.iter().map(|&hook| (hook, HookState::Failed)).collect();
    let is_seen =
        |element: &&Element| !matches!(element, Element::Event(event) if blind.contains(&event.hook));
    let seen: Vec<_> = kernel.elements.iter().filter(is_seen).cloned().collect();
    let mut run = Run::new(Options::default(), &hooks_except(&failed));
    run.feed(&seen);
    run.end();
    run
}

/// Attached after the drain: a snapshot finds the range killed, and no later step is written, or seen.
#[test]
fn range_drained_before_the_trace_is_not_stalled() {
    let ends = [Hook::Release, Hook::Released, Hook::DevresReleased, Hook::DriverRemoved, Hook::Unbound];
    for blind in [&ends[..], &ends[..2]] {
        let mut kernel = play::watched();
        kernel.bind(0, 5, &[16]);
        kernel.begin(0, 11, Order::Right);
        kernel.advance_to(0, Kind::Remove);
        trace_from_here(&mut kernel);
        kernel.idle(20_000_000_000);
        let run = evaluate_without(&kernel, blind);
        let found: Vec<_> = run.standing().filter(|finding| finding.rule == RuleId::StalledDrain).collect();
        assert!(found.is_empty(), "without {blind:?}: {found:?}");
    }
}

/// The driver core has unbound the device: its ranges have ended, and the next one is another range at the same place.
#[test]
fn unbind_ends_ranges_without_a_seen_release() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.snapshot(0, true);
    kernel.unbind(0, 11);
    kernel.bind(0, 5, &[16]);
    kernel.alloc(0, 10, 4);
    let unmapped = places(&kernel, Kind::Unmapped)[0];
    kernel.elements.remove(unmapped);
    let run = evaluate_without(&kernel, &[Hook::Memremap, Hook::Released]);
    let found: Vec<_> = run.standing().map(|finding| &finding.message).collect();
    assert!(found.is_empty(), "{found:?}");
}
