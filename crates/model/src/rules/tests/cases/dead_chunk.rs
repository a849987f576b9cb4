//! Allocation attempts while the pool refers to a range that has ended.

use p2p_trace_common::{Hook, Kind};

use super::{Answer, RuleId, begin_at, places, without_notes};
use crate::{
    accounting::HookState,
    event::decode::PAGE_SIZE,
    rules::Options,
    testing::{
        evaluation::{Run, evaluate, hooks_except},
        simulate::{Kernel, Order, play},
    },
};

const SECOND_NS: u64 = 1_000_000_000;

/// Two ranges, of which the newer one has ended and the older one hangs.
fn hanging() -> Kernel {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16, 8]);
    // The newer one fills up first.
    kernel.alloc(0, 10, 8);
    kernel.alloc(0, 10, 4);
    kernel.begin(0, 11, Order::Right);
    while !kernel.has_dead_chunk(0) {
        kernel.advance(0);
    }
    while !kernel.is_waiting(0) {
        kernel.advance(0);
    }
    kernel
}

fn attempt(kernel: &mut Kernel, pid: u32) {
    kernel.event(0, Kind::Alloc, Hook::Alloc, pid, |event| {
        event.size = Some(PAGE_SIZE);
        event.failed = true;
    });
}

/// Attached in the middle of the hang: only a snapshot shows that there was another range.
#[test]
fn dead_chunk_found_by_snapshot() {
    for reads in [1, 2] {
        let mut kernel = hanging();
        let place = kernel.elements.len();
        for _ in 0..reads {
            kernel.snapshot(0, true);
            kernel.idle(SECOND_NS + SECOND_NS / 5);
        }
        let mut run_without = kernel.clone();
        for _ in 0..3 {
            attempt(&mut kernel, 77);
        }
        for kernel in [&mut kernel, &mut run_without] {
            while kernel.advance(0) {}
            begin_at(kernel, place);
            without_notes(kernel);
        }
        let run = evaluate(&kernel.elements);
        let finding = run.only(RuleId::AllocOnDeadChunk);
        assert_eq!(finding.occurrences, 3);
        assert!(finding.message.contains("a snapshot had found"), "{}", finding.message);
        let text = if reads == 1 { "the range at 0x" } else { "range 0x81000000-0x81007fff (32 KiB)" };
        assert!(finding.message.contains(text), "{}", finding.message);
        let device = run.model.device(kernel.address(0)).unwrap();
        assert_eq!(device.ranges().filter(|range| range.dead_chunk_since().is_some()).count(), 0);
        let run = evaluate(&run_without.elements);
        assert!(!run.violated().contains(&RuleId::AllocOnDeadChunk));
    }
}

/// An attempt that began before a range ended and returns after it: otherwise the hook on entry would have seen it begin.
#[test]
fn attempt_that_began_before_the_end_causes_no_finding() {
    for armed in [true, false] {
        for served in [true, false] {
            let mut kernel = play::watched();
            kernel.bind(0, 5, &[16, 8]);
            kernel.snapshot(0, true);
            kernel.alloc(0, 10, 8);
            kernel.alloc(0, 10, 4);
            kernel.begin(0, 11, Order::Right);
            while !kernel.has_dead_chunk(0) {
                kernel.advance(0);
            }
            if served {
                kernel.alloc(0, 77, 1);
                kernel.mmap(0, 78, 1);
            } else {
                attempt(&mut kernel, 77);
            }
            let mut again = kernel.clone();
            attempt(&mut again, 77);
            let failed = if armed { &[][..] } else { &[(Hook::AllocEnter, HookState::Failed)] };
            let evaluate = |kernel: &mut Kernel| {
                while kernel.advance(0) {}
                let mut run = Run::new(Options::default(), &hooks_except(failed));
                run.feed(&kernel.elements);
                run.end();
                run
            };
            let run = evaluate(&mut kernel);
            assert!(!run.violated().contains(&RuleId::AllocOnDeadChunk), "armed: {armed}, served: {served}");
            let answer = run.answer(RuleId::AllocOnDeadChunk, kernel.address(0));
            assert_eq!(answer, if armed { Answer::Holds } else { Answer::Inconclusive });
            // The next attempt of the same task has begun later.
            assert!(evaluate(&mut again).violated().contains(&RuleId::AllocOnDeadChunk));
        }
    }
}

/// With one range only, between the end of `memunmap_pages` and the release.
#[test]
fn attempt_with_one_range_causes_no_finding() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.snapshot(0, true);
    kernel.begin(0, 11, Order::Right);
    kernel.advance_to(0, Kind::Release);
    attempt(&mut kernel, 77);
    while kernel.advance(0) {}
    let run = evaluate(&kernel.elements);
    assert_eq!(run.violated(), [].into());
    // Attempts were not traced: no memory was outstanding, and there was one range.
    assert_eq!(run.answer(RuleId::AllocOnDeadChunk, kernel.address(0)), Answer::Inconclusive);
}

/// `percpu_ref_exit` before the last reference was dropped: a snapshot after that shows no drain.
#[test]
fn reference_that_exits_early_has_not_drained() {
    for snapshot_end in [false, true] {
        for is_outstanding in [false, true] {
            let mut kernel = play::watched();
            kernel.counts_at_removal = !snapshot_end;
            kernel.bind(0, 5, &[16]);
            kernel.snapshot(0, true);
            if is_outstanding {
                kernel.alloc(0, 10, 4);
            }
            kernel.begin(0, 11, Order::RemovedFirst);
            kernel.advance_to(0, Kind::Remove);
            if snapshot_end {
                let before = kernel.elements.len();
                kernel.snapshot(0, true);
                for at in places(&kernel, Kind::RangeState).into_iter().filter(|&at| at >= before) {
                    let event = super::event(&mut kernel, at);
                    event.refs = None;
                    if let Some(state) = &mut event.state {
                        state.exited = true;
                    }
                }
            }
            while kernel.advance(0) {}
            let run = evaluate(&kernel.elements);
            let answer = run.answer(RuleId::RemovedBeforeDrained, kernel.address(0));
            // Without outstanding memory it may have drained unseen.
            let right = if snapshot_end && !is_outstanding { Answer::Inconclusive } else { Answer::Violated };
            assert_eq!(answer, right, "snapshot: {snapshot_end}, outstanding: {is_outstanding}");
        }
    }
}
