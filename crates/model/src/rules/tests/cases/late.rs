//! The trace begins in the middle of a teardown, or does not see its kill: then the kernel side writes neither the removal nor the
//! end of `memunmap_pages`.

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

/// What a removal decides.
const BY_REMOVAL: [RuleId; 3] =
    [RuleId::RemovedBeforeDrained, RuleId::DrainedAfterRemoval, RuleId::UseAfterRemoval];

/// Bound, and something is held.
fn held() -> Kernel {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.alloc(0, 10, 4);
    kernel
}

/// Nothing is found, and nothing that the removal decides is said to hold.
fn assert_open(kernel: &Kernel, why: &str) {
    let run = evaluate(&kernel.elements);
    assert!(run.violated().is_empty(), "{:?}", run.violated());
    for rule in BY_REMOVAL {
        let verdict = run.verdict(rule, kernel.address(0));
        assert_eq!(verdict.answer, Answer::Inconclusive, "{}", rule.name());
        assert!(verdict.reasons.iter().any(|reason| reason.contains(why)), "{:?}", verdict.reasons);
    }
}

/// Begins the trace where the teardown has come to.
fn watch_from_here(kernel: &mut Kernel) {
    let place = kernel.elements.len();
    kernel.snapshot(0, true);
    kernel.idle(1_000_000_000);
    kernel.snapshot(0, true);
    while kernel.advance(0) {}
    begin_at(kernel, place);
    without_notes(kernel);
}

#[test]
fn a_hang_of_the_right_order_is_not_judged_by_what_came_before() {
    let mut kernel = held();
    kernel.begin(0, 11, Order::Right);
    while !kernel.is_waiting(0) {
        kernel.advance(0);
    }
    watch_from_here(&mut kernel);
    assert_open(&kernel, "the remove of range 0x80000000-0x8000ffff (64 KiB) of 0000:01:00.0 was not seen");
}

#[test]
fn the_order_of_2018_is_not_acquitted_from_the_middle() {
    let mut kernel = held();
    kernel.begin(0, 11, Order::RemovedFirst);
    kernel.advance_to(0, Kind::Remove);
    watch_from_here(&mut kernel);
    assert_open(&kernel, "the remove of range 0x80000000-0x8000ffff (64 KiB) of 0000:01:00.0 was not seen");
}

#[test]
fn a_kill_that_was_missed_and_not_counted_acquits_nothing() {
    for order in [Order::Right, Order::RemovedFirst] {
        let mut kernel = play::watched();
        kernel.bind(0, 5, &[16]);
        kernel.snapshot(0, true);
        kernel.alloc(0, 10, 4);
        kernel.tear_down(0, 11, order);
        without_notes(&mut kernel);
        let kill = places(&kernel, Kind::Kill)[0];
        kernel.elements.remove(kill);
        assert_open(&kernel, "was not seen: the trace began later, or missed its kill");
    }
}

/// The same without some hooks, which failed.
fn judge_without(kernel: &Kernel, blind: &[Hook]) -> Run {
    let failed: Vec<_> = blind.iter().map(|&hook| (hook, HookState::Failed)).collect();
    let is_seen =
        |element: &&Element| !matches!(element, Element::Event(event) if blind.contains(&event.hook));
    let seen: Vec<_> = kernel.elements.iter().filter(is_seen).cloned().collect();
    let mut run = Run::new(Options::default(), &hooks_except(&failed));
    run.feed(&seen);
    run.end();
    run
}

/// Attached behind the drain: a pull read finds the range killed, and no step of its end is written, or seen.
#[test]
fn a_range_that_had_drained_is_not_stalled() {
    let ends = [Hook::Release, Hook::Released, Hook::DevresReleased, Hook::DriverRemoved, Hook::Unbound];
    for blind in [&ends[..], &ends[..2]] {
        let mut kernel = play::watched();
        kernel.bind(0, 5, &[16]);
        kernel.begin(0, 11, Order::Right);
        kernel.advance_to(0, Kind::Remove);
        watch_from_here(&mut kernel);
        kernel.idle(20_000_000_000);
        let run = judge_without(&kernel, blind);
        let found: Vec<_> = run.standing().filter(|finding| finding.rule == RuleId::StalledDrain).collect();
        assert!(found.is_empty(), "without {blind:?}: {found:?}");
    }
}

/// The driver core lets go of the device: what was going is gone, and what comes next is another range in the same place.
#[test]
fn what_was_unbound_is_gone_although_its_release_was_not_seen() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.snapshot(0, true);
    kernel.unbind(0, 11);
    kernel.bind(0, 5, &[16]);
    kernel.alloc(0, 10, 4);
    let unmapped = places(&kernel, Kind::Unmapped)[0];
    kernel.elements.remove(unmapped);
    let run = judge_without(&kernel, &[Hook::Memremap, Hook::Released]);
    let found: Vec<_> = run.standing().map(|finding| &finding.message).collect();
    assert!(found.is_empty(), "{found:?}");
}
