//! User mappings that failed while inserting pages: whether one has kept a reference is known once the range is killed.

use super::*;
use crate::{
    accounting::HookState,
    rules::Options,
    testing::evaluation::{Run, evaluate, hooks_except},
};

/// This number of three-page mappings fail after some pages; the inserted pages are freed, and `kept` references remain.
fn failed(times: u32, kept: u64) -> Kernel {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.snapshot(0, true);
    for _ in 0..times {
        let token = kernel.mmap_failing(0, 40, 3, 2).unwrap();
        kernel.free(token, 40, 9);
        kernel.flush();
    }
    kernel.stray(0, kept);
    kernel
}

fn answers(run: &Run, kernel: &Kernel) -> [Answer; 2] {
    [RuleId::LeakedReference, RuleId::UnexplainedReference].map(|rule| run.answer(rule, kernel.address(0)))
}

#[test]
fn failed_call_is_the_evidence() {
    let mut kernel = failed(1, 1);
    let run = evaluate(&kernel.elements);
    assert_eq!(answers(&run, &kernel), [Answer::Violated, Answer::Holds]);
    let call = places(&kernel, Kind::Mmap)[0];
    let call = event(&mut kernel, call).id;
    assert!(run.only(RuleId::LeakedReference).evidence.contains(&call));
    let verdict = run.verdict(RuleId::UnexplainedReference, kernel.address(0));
    assert!(verdict.reasons[0].contains("leaked-reference"), "partial coverage: {verdict:?}");
}

#[test]
fn failed_call_without_reference_is_no_violation() {
    let kernel = failed(3, 0);
    let run = evaluate(&kernel.elements);
    assert_eq!(answers(&run, &kernel), [Answer::Holds; 2]);
}

#[test]
fn each_call_explains_one_reference() {
    let kernel = failed(2, 5);
    let run = evaluate(&kernel.elements);
    assert_eq!(answers(&run, &kernel), [Answer::Violated; 2]);
    assert!(run.only(RuleId::LeakedReference).message.contains(": 2 more fits"));
    assert!(run.only(RuleId::UnexplainedReference).message.contains("at least 3 came from elsewhere"));
}

/// Calls that fail before they have memory (an empty pool) record no page and keep no reference.
#[test]
fn failed_call_without_memory_explains_no_reference() {
    let mut kernel = failed(1, 1);
    let call = places(&kernel, Kind::Mmap)[0];
    let of_pages = places(&kernel, Kind::PageFree)[0];
    let event = event(&mut kernel, call);
    (event.page, event.pgmap, event.count) = (None, None, Some(0));
    kernel.elements.remove(of_pages);
    let run = evaluate(&kernel.elements);
    assert_eq!(answers(&run, &kernel), [Answer::Holds, Answer::Violated]);
}

/// The first page was refused: no page is outstanding, but the reference is kept.
#[test]
fn failed_call_without_pages_may_keep_a_reference() {
    let mut kernel = failed(1, 1);
    let call = places(&kernel, Kind::Mmap)[0];
    let of_pages = places(&kernel, Kind::PageFree)[0];
    event(&mut kernel, call).count = Some(0);
    kernel.elements.remove(of_pages);
    let run = evaluate(&kernel.elements);
    assert_eq!(answers(&run, &kernel), [Answer::Violated, Answer::Holds]);
}

/// Without the related hooks of `mmap`, a failed call seems to have allocated nothing.
#[test]
fn missing_mmap_hooks_cause_no_finding() {
    let kernel = failed(1, 1);
    for hook in [Hook::MmapEnter, Hook::InsertPage, Hook::Mmap] {
        let mut run = Run::new(Options::default(), &hooks_except(&[(hook, HookState::Failed)]));
        run.feed(&kernel.elements);
        run.end();
        assert_eq!(answers(&run, &kernel), [Answer::Inconclusive; 2], "{hook:?}");
        assert!(run.violated().is_empty());
    }
}

/// With more failed calls than are kept, all remaining references may be theirs.
#[test]
fn too_many_failed_calls_are_inconclusive() {
    let kernel = failed(1_030, 1_040);
    let run = evaluate(&kernel.elements);
    assert_eq!(answers(&run, &kernel), [Answer::Violated, Answer::Inconclusive]);
    let verdict = run.verdict(RuleId::UnexplainedReference, kernel.address(0));
    let why = "limit exceeded: more than 1024 failed user mappings of one range";
    assert!(verdict.reasons.iter().any(|reason| reason == why), "{verdict:?}");
}
