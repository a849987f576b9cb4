//! A file from the middle of a run, read alone. Its checkpoint replaces everything before: it causes no false
//! finding and no false `holds`, and names the holders of old allocations.

use std::collections::BTreeSet;

use p2p_trace_common::{Hook, Kind};
use p2p_trace_model::{
    rules::{Answer, Options, RuleId},
    state::{Allocated, Device, NO_PGMAP, Stage},
    stream::assemble::Element,
    testing::{
        evaluation::{Run, aftermath, broken, clean, fault, hooks_except, rules_of},
        simulate::{
            Fault, Kernel, Order,
            play::{self, acts},
            task,
        },
    },
};
use proptest::prelude::*;

use super::Checkpoint;

fn begin(elements: &[Element]) -> Run {
    let mut run = Run::new(Options::default(), &hooks_except(&[]));
    run.feed(elements);
    run
}

/// The state of a reader that has only the files from here on: attached hooks, from the header, and the
/// checkpoint.
fn resume(run: &Run, references: usize) -> Run {
    let attached = play::watched();
    let checkpoint = Checkpoint::at(&run.model, &run.rules, 7, references);
    let mut resumed = begin(&attached.elements[..play::head()]);
    for element in checkpoint.elements() {
        resumed.model.apply(&element);
    }
    resumed.rules.resume(&checkpoint.head.rules, checkpoint.head.time_ns);
    resumed
}

/// Everything that matters about a device, as text.
fn facts(device: &Device) -> BTreeSet<String> {
    let mut facts = BTreeSet::new();
    for (_, reference) in device.references() {
        let by = device.allocated_by(reference);
        let allocated = (reference.at, by.task, by.caller, by.cgroup, by.exited_since_ns.is_some());
        match reference.allocated {
            // An mmap is listed by its pages.
            Allocated::Mmap { .. } => {}
            other => drop(facts.insert(format!("{other:?} {} {allocated:?}", reference.partial))),
        }
    }
    for (pages, reference) in device.mmap_pages() {
        let by = device.allocated_by(reference);
        for page in pages {
            facts.insert(format!("page {page} {:?} {:?}", reference.at, by.task));
        }
    }
    for range in device.ranges().filter(|range| range.stage() < Stage::Released) {
        let held = device.held(range);
        let of = (range.id.pgmap, range.stage(), range.physical, range.base, range.bar);
        facts.insert(format!("{of:?} {} {} {}", held.references, held.bytes, held.mmap_pages));
        let steps = (range.steps.killed, range.steps.drained, range.steps.removed);
        facts.insert(format!("{} {steps:?}", range.id.pgmap));
        facts.insert(format!("{:?}", range.failed_mmaps));
    }
    facts.insert(format!("{} preexisting bytes", device.preexisting_bytes()));
    if let Some(pending) = device.pending_teardown() {
        let steps: Vec<_> = pending.steps.iter().map(|step| (step.kind, step.at, step.task)).collect();
        facts.insert(format!("{steps:?}"));
    }
    facts
}

fn cut(elements: &[Element], part: u8) -> (&[Element], &[Element]) {
    elements.split_at(elements.len() * usize::from(part) / 256)
}

/// Limit on the references in a checkpoint: none, or often too small.
fn cap() -> impl Strategy<Value = usize> {
    prop_oneof![Just(usize::MAX), 0..4usize]
}

proptest! {
    #[test]
    fn outstanding_references_and_holders_are_known(acts in acts(), part: u8, nested_frees: bool) {
        let kernel = clean(&acts, nested_frees);
        let run = begin(cut(&kernel.elements, part).0);
        let resumed = resume(&run, usize::MAX);
        for device in run.model.devices() {
            let known = resumed.model.device(device.address()).map(facts).unwrap_or_default();
            let missing: Vec<_> = facts(device).difference(&known).cloned().collect();
            let added: Vec<_> = known.difference(&facts(device)).cloned().collect();
            let seen = device.ranges().next().is_some() || device.reference_count() > 0;
            prop_assert!(!seen || missing.is_empty() && added.is_empty(), "{missing:#?} became {added:#?}");
        }
    }

    #[test]
    fn admitted_references_are_certain(acts in acts(), part: u8, nested_frees: bool, cap in cap()) {
        let kernel = clean(&acts, nested_frees);
        let run = begin(cut(&kernel.elements, part).0);
        let resumed = resume(&run, cap);
        for device in resumed.model.devices() {
            for (_, reference) in device.references() {
                prop_assert!(device.is_sure(reference), "{reference:?}");
            }
        }
    }

    #[test]
    fn correct_run_causes_no_findings(acts in acts(), part: u8, nested_frees: bool, cap in cap()) {
        let kernel = clean(&acts, nested_frees);
        let (before, after) = cut(&kernel.elements, part);
        let mut resumed = resume(&begin(before), cap);
        resumed.feed(after);
        resumed.end();
        let messages: Vec<_> = resumed.reported.iter().map(|finding| &finding.message).collect();
        prop_assert!(messages.is_empty(), "{messages:?}");
        for verdict in resumed.rules.verdicts(&resumed.model) {
            prop_assert_ne!(verdict.answer, Answer::Violated, "{:?}", verdict);
        }
    }

    #[test]
    fn fault_does_not_hold_and_causes_no_other_violation(
        before in acts(), fault in fault(), after in acts(), part: u8, cap in cap(),
    ) {
        let (kernel, _) = broken(&before, fault, &after);
        let (head, tail) = cut(&kernel.elements, part);
        let mut resumed = resume(&begin(head), cap);
        resumed.feed(tail);
        resumed.end();
        let device = kernel.address(usize::from(fault == Fault::Overlap));
        for verdict in resumed.rules.verdicts(&resumed.model) {
            let own = rules_of(fault).contains(&verdict.rule);
            if verdict.device == device && own {
                prop_assert_ne!(verdict.answer, Answer::Holds, "{:?}", verdict);
            }
            // The first free is forgotten, so that the second one appears as a free of memory that was never
            // allocated.
            let renamed = verdict.rule == RuleId::UnmatchedFree && matches!(fault, Fault::FreeTwice | Fault::ListFreeTwice);
            let expected = own || renamed || aftermath(fault).contains(&verdict.rule);
            prop_assert!(verdict.answer != Answer::Violated || expected, "{:?}", verdict);
        }
    }
}

/// The pool points to a range that was gone before the trace began: the checkpoint says so for this range,
/// and for no other.
#[test]
fn keeps_chunk_that_outlives_its_range() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16, 8]);
    kernel.alloc(0, 10, 8);
    kernel.alloc(0, 10, 4);
    kernel.begin(0, 11, Order::Right);
    while !kernel.has_dead_chunk(0) {
        kernel.advance(0);
    }
    while !kernel.is_waiting(0) {
        kernel.advance(0);
    }
    let place = kernel.elements.len();
    for _ in 0..2 {
        kernel.snapshot(0, true);
        kernel.idle(1_000_000_000);
    }
    let head = play::head();
    let elements: Vec<_> = kernel.elements[..head].iter().chain(&kernel.elements[place..]).cloned().collect();
    let run = begin(&elements);
    let resumed = resume(&run, usize::MAX);
    for run in [&run, &resumed] {
        let device = run.model.device(kernel.address(0)).unwrap();
        let of = |range: &p2p_trace_model::state::Range| {
            (range.id.pgmap, range.base, range.physical, range.dead_chunk_since().is_some())
        };
        let ranges: Vec<_> = device.ranges().map(of).collect();
        assert_eq!(ranges.len(), 2, "{ranges:?}");
        assert_eq!((ranges[0].0, ranges[0].3, ranges[1].3), (NO_PGMAP, true, false), "{ranges:?}");
        assert_eq!(ranges[0].1.is_some(), ranges[0].2.is_some(), "{ranges:?}");
    }
}

/// Times of suspension are known after a checkpoint as well: an unbind that began before a suspension is not
/// a stall because of it.
#[test]
fn keeps_times_of_suspension() {
    const HOUR_NS: u64 = 3_600_000_000_000;
    let mut kernel = play::watched();
    let tick = |kernel: &mut Kernel, asleep_ns| {
        kernel.user(|writer, time_ns| writer.tick_asleep(time_ns, Some(asleep_ns)));
    };
    tick(&mut kernel, HOUR_NS);
    kernel.bind(0, 5, &[16]);
    kernel.begin(0, 11, Order::Right);
    kernel.advance_to(0, Kind::Drained);
    let from_ns = kernel.now_ns;
    kernel.now_ns += HOUR_NS;
    tick(&mut kernel, 2 * HOUR_NS);
    let run = begin(&kernel.elements);
    let mut resumed = resume(&run, usize::MAX);
    for behind in [false, true] {
        if behind {
            kernel.now_ns += HOUR_NS;
            let before = kernel.elements.len();
            tick(&mut kernel, 3 * HOUR_NS);
            kernel.event(0, Kind::Unbind, Hook::Unbind, 12, |_| {});
            resumed.feed(&kernel.elements[before..]);
        }
        let passed = resumed.model.passed(from_ns, kernel.now_ns);
        assert_eq!(passed.asleep_ns, (1 + u64::from(behind)) * HOUR_NS);
        assert!(passed.awake_ns < 1_000_000_000, "{passed:?}");
    }
    assert_eq!(resumed.violated(), BTreeSet::new());
}

/// After a checkpoint, too, a task that reuses the process id of an exited holder counts as alive.
#[test]
fn keeps_reused_process_id() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.snapshot(0, true);
    kernel.alloc(0, 10, 1);
    let started_ns = kernel.now_ns + 1;
    kernel.alloc(0, 10, 2);
    kernel.user(|writer, time_ns| writer.exited_before(time_ns, &task(10), Some(started_ns)));
    kernel.idle(1_000_000_000);
    let run = begin(&kernel.elements);
    let resumed = resume(&run, usize::MAX);
    for run in [&run, &resumed] {
        let device = run.model.device(kernel.address(0)).unwrap();
        let mut exited: Vec<_> = device
            .references()
            .map(|(_, reference)| {
                (reference.bytes() / 4096, device.allocated_by(reference).exited_since_ns.is_some())
            })
            .collect();
        exited.sort_unstable();
        assert_eq!(exited, [(1, true), (2, false)]);
    }
}
