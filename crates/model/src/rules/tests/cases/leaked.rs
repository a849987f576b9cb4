//! User mappings that failed while they inserted pages: whether one has kept a reference shows once the range is killed.

use super::*;
use crate::{
    accounting::HookState,
    rules::Options,
    testing::evaluation::{Run, evaluate, hooks_except},
};

/// Mappings fail, so many in the middle of their three pages; what they inserted is given back, and the range ends.
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
fn the_failed_call_is_the_evidence() {
    let mut kernel = failed(1, 1);
    let run = evaluate(&kernel.elements);
    assert_eq!(answers(&run, &kernel), [Answer::Violated, Answer::Holds]);
    let call = places(&kernel, Kind::Mmap)[0];
    let call = event(&mut kernel, call).id;
    assert!(run.only(RuleId::LeakedReference).evidence.contains(&call));
    let verdict = run.verdict(RuleId::UnexplainedReference, kernel.address(0));
    assert!(verdict.reasons[0].contains("leaked-reference"), "it holds in part: {verdict:?}");
}

#[test]
fn one_that_kept_nothing_is_none() {
    let kernel = failed(3, 0);
    let run = evaluate(&kernel.elements);
    assert_eq!(answers(&run, &kernel), [Answer::Holds; 2]);
}

#[test]
fn each_call_explains_one_reference() {
    let kernel = failed(2, 5);
    let run = evaluate(&kernel.elements);
    assert_eq!(answers(&run, &kernel), [Answer::Violated; 2]);
    assert!(run.only(RuleId::LeakedReference).message.contains(": 2 more is what"));
    assert!(run.only(RuleId::UnexplainedReference).message.contains("at least 3 came from elsewhere"));
}

/// Of calls that fail before they have memory (an empty pool) no page is told, and no reference is kept.
#[test]
fn a_call_that_got_no_memory_explains_nothing() {
    let mut kernel = failed(1, 1);
    let call = places(&kernel, Kind::Mmap)[0];
    let of_pages = places(&kernel, Kind::PageFree)[0];
    let event = event(&mut kernel, call);
    (event.page, event.pgmap, event.count) = (None, None, Some(0));
    kernel.elements.remove(of_pages);
    let run = evaluate(&kernel.elements);
    assert_eq!(answers(&run, &kernel), [Answer::Holds, Answer::Violated]);
}

/// The first page of all was refused: no page is out, and the reference is kept all the same.
#[test]
fn a_call_that_inserted_nothing_can_have_kept_one() {
    let mut kernel = failed(1, 1);
    let call = places(&kernel, Kind::Mmap)[0];
    let of_pages = places(&kernel, Kind::PageFree)[0];
    event(&mut kernel, call).count = Some(0);
    kernel.elements.remove(of_pages);
    let run = evaluate(&kernel.elements);
    assert_eq!(answers(&run, &kernel), [Answer::Violated, Answer::Holds]);
}

/// Without the hooks beside `mmap` a failed call looks as if it had taken nothing.
#[test]
fn without_its_hooks_nobody_is_accused() {
    let kernel = failed(1, 1);
    for hook in [Hook::MmapEnter, Hook::InsertPage, Hook::Mmap] {
        let mut run = Run::new(Options::default(), &hooks_except(&[(hook, HookState::Failed)]));
        run.feed(&kernel.elements);
        run.end();
        assert_eq!(answers(&run, &kernel), [Answer::Inconclusive; 2], "{hook:?}");
        assert!(run.violated().is_empty());
    }
}

/// Where there were more than are kept, all that is left can be theirs.
#[test]
fn more_failures_than_are_kept_leave_it_open() {
    let kernel = failed(1_030, 1_040);
    let run = evaluate(&kernel.elements);
    assert_eq!(answers(&run, &kernel), [Answer::Violated, Answer::Inconclusive]);
    let verdict = run.verdict(RuleId::UnexplainedReference, kernel.address(0));
    let why = "there were more than 1024 failed user mappings of one range, which is what is kept";
    assert!(verdict.reasons.iter().any(|reason| reason == why), "{verdict:?}");
}
