//! What rests on a record that is missing is suspected first, told when nothing can have been missed, and withdrawn when
//! something was.

use p2p_trace_common::{Hook, Kind};

use super::{event, places};
use crate::{
    accounting::{HookState, HookStatus, MissedQuality},
    event::{Loss, Method, decode::PAGE_SIZE},
    rules::{Answer, Options, RuleId},
    stream::assemble::Element,
    testing::{
        evaluation::{Run, evaluate, hooks_except},
        simulate::{Kernel, Order, play},
    },
};

/// A teardown whose drain is not seen, of a kernel that does not tell what it counts at the removal; and when it began.
fn undrained() -> (Kernel, u64) {
    let mut kernel = play::watched();
    kernel.counts_at_removal = false;
    kernel.bind(0, 5, &[16]);
    kernel.snapshot(0, true);
    let from_ns = kernel.now_ns;
    kernel.unbind(0, 11);
    let drained = places(&kernel, Kind::Drained)[0];
    kernel.elements.remove(drained);
    (kernel, from_ns)
}

fn run(elements: &[Element]) -> Run {
    let mut run = Run::new(Options::default(), &hooks_except(&[]));
    run.feed(elements);
    run
}

/// Every hook is a kprobe, of which this kernel does not count the runs that it skips.
fn uncounted() -> Run {
    let kprobe = |status: HookStatus| HookStatus { method: Some(Method::Kprobe), ..status };
    let hooks: Vec<_> = hooks_except(&[]).into_iter().map(kprobe).collect();
    Run::of(Options::default(), &hooks, MissedQuality::Unknown)
}

#[test]
fn a_drain_that_was_skipped_accuses_nobody_before_it_is_told() {
    let (mut kernel, from_ns) = undrained();
    kernel.idle(900_000_000);
    let mut run = run(&kernel.elements);
    assert!(run.reported.is_empty(), "{:?}", run.reported);
    run.feed(&[Element::Loss(Loss::of_hook(Hook::Drained, 1, from_ns, kernel.now_ns))]);
    run.end();
    assert!(run.reported.is_empty(), "{:?}", run.reported);
    let verdict = run.verdict(RuleId::RemovedBeforeDrained, kernel.address(0));
    assert_eq!(verdict.answer, Answer::Inconclusive);
    let why = "a run of drained was skipped that would explain what seemed to violate it";
    assert!(verdict.reasons.iter().any(|reason| reason == why), "{:?}", verdict.reasons);
}

#[test]
fn a_drain_that_nothing_can_have_hidden_is_missing() {
    let (mut kernel, _) = undrained();
    kernel.idle(2_000_000_000);
    let run = run(&kernel.elements);
    let finding = run.only(RuleId::RemovedBeforeDrained);
    assert_eq!(finding.withdrawn, None);
    assert_eq!(run.reported.len(), 1, "it is told once, before the run ends");
}

#[test]
fn a_skip_that_comes_to_light_later_withdraws_what_was_told() {
    let (mut kernel, from_ns) = undrained();
    kernel.idle(2_000_000_000);
    let mut run = run(&kernel.elements);
    let number = run.only(RuleId::RemovedBeforeDrained).number;
    run.feed(&[Element::Loss(Loss::of_hook(Hook::Drained, 1, from_ns, from_ns + 50_000_000))]);
    run.end();
    let told = run.reported.last().unwrap();
    assert_eq!(told.number, number, "{told:?}");
    assert!(told.withdrawn.is_some() && told.is_closed(), "{told:?}");
    let verdict = run.verdict(RuleId::RemovedBeforeDrained, kernel.address(0));
    assert_eq!((verdict.answer, verdict.findings), (Answer::Inconclusive, 0), "{verdict:?}");
}

#[test]
fn a_skip_at_another_time_or_of_another_hook_withdraws_nothing() {
    let (mut kernel, from_ns) = undrained();
    kernel.idle(2_000_000_000);
    let mut run = run(&kernel.elements);
    run.feed(&[
        Element::Loss(Loss::of_hook(Hook::Alloc, 1, from_ns, kernel.now_ns)),
        Element::Loss(Loss::of_hook(Hook::Drained, 1, kernel.now_ns, kernel.now_ns)),
        Element::Loss(Loss::of_hook(Hook::Drained, 1, from_ns - 9_000_000, from_ns - 8_000_000)),
    ]);
    run.end();
    assert_eq!(run.answer(RuleId::RemovedBeforeDrained, kernel.address(0)), Answer::Violated);
}

#[test]
fn where_skips_are_not_counted_nothing_rests_on_an_absence() {
    let (mut kernel, _) = undrained();
    kernel.idle(2_000_000_000);
    let mut run = uncounted();
    run.feed(&kernel.elements);
    run.end();
    assert!(run.violated().is_empty(), "{:?}", run.violated());
    let verdict = run.verdict(RuleId::RemovedBeforeDrained, kernel.address(0));
    assert_eq!(verdict.answer, Answer::Inconclusive);
    let why = "does not count the runs of drained that it skips";
    assert!(verdict.reasons.iter().any(|reason| reason.contains(why)), "{verdict:?}");
}

#[test]
fn where_skips_are_not_counted_the_race_of_2018_is_decided_by_what_the_kernel_counts() {
    for counts_at_removal in [true, false] {
        let mut kernel = play::watched();
        kernel.counts_at_removal = counts_at_removal;
        kernel.bind(0, 5, &[16]);
        kernel.snapshot(0, true);
        kernel.alloc(0, 10, 4);
        kernel.begin(0, 11, Order::RemovedFirst);
        // Without counts it is the late drain that proves it.
        kernel.advance_to(0, if counts_at_removal { Kind::Unmapped } else { Kind::Released });
        let mut run = uncounted();
        run.feed(&kernel.elements);
        assert_eq!(run.only(RuleId::RemovedBeforeDrained).withdrawn, None, "{counts_at_removal}");
        assert_eq!(run.answer(RuleId::RemovedBeforeDrained, kernel.address(0)), Answer::Violated);
    }
}

#[test]
fn what_holds_where_skips_are_not_counted_says_so() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.unbind(0, 11);
    let mut run = uncounted();
    run.feed(&kernel.elements);
    run.end();
    let verdict = run.verdict(RuleId::RemovedBeforeDrained, kernel.address(0));
    let why = "this kernel does not count the runs of kprobes that it skips";
    assert_eq!((verdict.answer, verdict.reasons), (Answer::Holds, vec![why.to_owned()]));
}

#[test]
fn an_attempt_under_way_is_not_memory_that_is_out() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.snapshot(0, true);
    kernel.unbind(0, 11);
    for kind in [Kind::Remove, Kind::Release] {
        let place = places(&kernel, kind)[0];
        event(&mut kernel, place).allocated = Some(PAGE_SIZE);
    }
    kernel.idle(2_000_000_000);
    let run = evaluate(&kernel.elements);
    assert!(run.reported.is_empty(), "{:?}", run.reported);
}

#[test]
fn a_pool_that_was_destroyed_with_unknown_memory_out_is_told_when_the_release_does_not_return() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.snapshot(0, true);
    kernel.begin(0, 11, Order::Right);
    kernel.advance_to(0, Kind::Released);
    let place = places(&kernel, Kind::Release)[0];
    event(&mut kernel, place).allocated = Some(PAGE_SIZE);
    kernel.idle(2_000_000_000);
    let run = run(&kernel.elements);
    assert_eq!(run.violated().into_iter().collect::<Vec<_>>(), [RuleId::PoolDestroyedInUse]);
}

#[test]
fn a_missed_free_and_a_release_that_counts_nothing_accuse_nobody() {
    for counted in [true, false] {
        let mut kernel = play::watched();
        kernel.counts_at_removal = false;
        kernel.bind(0, 5, &[16]);
        kernel.snapshot(0, true);
        let token = kernel.alloc(0, 10, 4).unwrap();
        kernel.free(token, 10, 4);
        let free = *places(&kernel, Kind::Free).last().unwrap();
        kernel.elements.remove(free);
        kernel.unbind(0, 11);
        // It would settle what is out: the teardown is quicker.
        kernel.elements.retain(
            |element| !matches!(element, Element::User(record) if record.kind() == Some(Kind::SnapshotEnd)),
        );
        let place = places(&kernel, Kind::Release)[0];
        event(&mut kernel, place).allocated = None;
        kernel.idle(2_000_000_000);
        let mut run = if counted { run(&[]) } else { uncounted() };
        run.feed(&kernel.elements);
        run.end();
        let found = run.rules.findings().iter().filter(|finding| finding.withdrawn.is_none());
        assert_eq!(found.count(), 0, "{:?}", run.rules.findings());
        for rule in [RuleId::PoolDestroyedInUse, RuleId::RemovedBeforeDrained] {
            assert_ne!(run.answer(rule, kernel.address(0)), Answer::Violated, "{}", rule.name());
        }
    }
}

#[test]
fn a_hook_that_failed_is_blind_and_not_uncounted() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.unbind(0, 11);
    let mut run = Run::new(Options::default(), &hooks_except(&[(Hook::Drained, HookState::Failed)]));
    kernel
        .elements
        .retain(|element| !matches!(element, Element::Event(event) if event.kind == Kind::Drained));
    run.feed(&kernel.elements);
    run.end();
    assert!(run.violated().is_empty(), "{:?}", run.violated());
}

#[test]
fn what_is_proven_later_is_not_withdrawn() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.snapshot(0, true);
    kernel.counts_at_removal = false;
    let from_ns = kernel.now_ns;
    kernel.alloc(0, 10, 4);
    kernel.tear_down(0, 11, Order::RemovedFirst);
    kernel.idle(2_000_000_000);
    let mut run = run(&kernel.elements);
    run.feed(&[Element::Loss(Loss::of_hook(Hook::Drained, 1, from_ns, kernel.now_ns))]);
    run.end();
    assert_eq!(run.only(RuleId::RemovedBeforeDrained).withdrawn, None);
}
