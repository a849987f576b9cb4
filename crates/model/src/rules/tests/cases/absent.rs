//! Violations that rest on a missing record: suspected first, confirmed when no record can have been missed, and withdrawn when
//! one was.

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

/// A teardown whose drain is not seen, on a kernel without counts at the removal, and its start time.
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

/// A run where every hook is a kprobe, on a kernel that does not count skipped kprobe runs.
fn uncounted() -> Run {
    let kprobe = |status: HookStatus| HookStatus { method: Some(Method::Kprobe), ..status };
    let hooks: Vec<_> = hooks_except(&[]).into_iter().map(kprobe).collect();
    Run::of(Options::default(), &hooks, MissedQuality::Unknown)
}

#[test]
fn skipped_drain_causes_no_finding() {
    let (mut kernel, from_ns) = undrained();
    kernel.idle(900_000_000);
    let mut run = run(&kernel.elements);
    assert!(run.reported.is_empty(), "{:?}", run.reported);
    run.feed(&[Element::Loss(Loss::of_hook(Hook::Drained, 1, from_ns, kernel.now_ns))]);
    run.end();
    assert!(run.reported.is_empty(), "{:?}", run.reported);
    let verdict = run.verdict(RuleId::RemovedBeforeDrained, kernel.address(0));
    assert_eq!(verdict.answer, Answer::Inconclusive);
    let why = "a skipped run of drained would explain the apparent violation";
    assert!(verdict.reasons.iter().any(|reason| reason == why), "{:?}", verdict.reasons);
}

#[test]
fn missing_drain_is_confirmed_without_losses() {
    let (mut kernel, _) = undrained();
    kernel.idle(2_000_000_000);
    let run = run(&kernel.elements);
    let finding = run.only(RuleId::RemovedBeforeDrained);
    assert_eq!(finding.withdrawn, None);
    assert_eq!(run.reported.len(), 1, "reported once, before the run ends");
}

#[test]
fn late_skip_withdraws_the_finding() {
    let (mut kernel, from_ns) = undrained();
    kernel.idle(2_000_000_000);
    let mut run = run(&kernel.elements);
    let number = run.only(RuleId::RemovedBeforeDrained).number;
    run.feed(&[Element::Loss(Loss::of_hook(Hook::Drained, 1, from_ns, from_ns + 50_000_000))]);
    run.end();
    let last = run.reported.last().unwrap();
    assert_eq!(last.number, number, "{last:?}");
    assert!(last.withdrawn.is_some() && last.is_closed(), "{last:?}");
    let verdict = run.verdict(RuleId::RemovedBeforeDrained, kernel.address(0));
    assert_eq!((verdict.answer, verdict.findings), (Answer::Inconclusive, 0), "{verdict:?}");
}

#[test]
fn unrelated_skip_withdraws_no_finding() {
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
fn uncounted_skips_prevent_suspicion() {
    let (mut kernel, _) = undrained();
    kernel.idle(2_000_000_000);
    let mut run = uncounted();
    run.feed(&kernel.elements);
    run.end();
    assert!(run.violated().is_empty(), "{:?}", run.violated());
    let verdict = run.verdict(RuleId::RemovedBeforeDrained, kernel.address(0));
    assert_eq!(verdict.answer, Answer::Inconclusive);
    let why = "does not count skipped runs of drained";
    assert!(verdict.reasons.iter().any(|reason| reason.contains(why)), "{verdict:?}");
}

#[test]
fn kernel_counts_prove_the_race_of_2018_despite_uncounted_skips() {
    for counts_at_removal in [true, false] {
        let mut kernel = play::watched();
        kernel.counts_at_removal = counts_at_removal;
        kernel.bind(0, 5, &[16]);
        kernel.snapshot(0, true);
        kernel.alloc(0, 10, 4);
        kernel.begin(0, 11, Order::RemovedFirst);
        // Without counts, the late drain proves it.
        kernel.advance_to(0, if counts_at_removal { Kind::Unmapped } else { Kind::Released });
        let mut run = uncounted();
        run.feed(&kernel.elements);
        assert_eq!(run.only(RuleId::RemovedBeforeDrained).withdrawn, None, "{counts_at_removal}");
        assert_eq!(run.answer(RuleId::RemovedBeforeDrained, kernel.address(0)), Answer::Violated);
    }
}

#[test]
fn rule_that_holds_mentions_uncounted_skips() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.unbind(0, 11);
    let mut run = uncounted();
    run.feed(&kernel.elements);
    run.end();
    let verdict = run.verdict(RuleId::RemovedBeforeDrained, kernel.address(0));
    let why = "this kernel does not count skipped kprobe runs";
    assert_eq!((verdict.answer, verdict.reasons), (Answer::Holds, vec![why.to_owned()]));
}

#[test]
fn allocation_attempt_is_no_outstanding_memory() {
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
fn reports_destroyed_pool_when_the_release_does_not_return() {
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
fn missed_free_without_kernel_counts_causes_no_finding() {
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
        // Without snapshots, which would settle which memory is outstanding.
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
fn failed_hook_causes_no_finding() {
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
fn proven_finding_is_not_withdrawn() {
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
