//! Exceeded limits.

use p2p_trace_common::{Hook, Kind};

use super::{Answer, RuleId, step};
use crate::{
    accounting::{Shortfalls, Status, Totals},
    event::{DeviceAddress, Range, decode::PAGE_SIZE, user},
    pipeline::{Pipeline, Resumption},
    rules::{MAX_FINDINGS, Options, RuleState},
    state::{Limit, MAX_STEPS},
    testing::{
        evaluation::{Run, evaluate, hooks_except},
        simulate::{DIRECT_MAP, Kernel, Order, play},
        status::status,
    },
};

const OF_2018: [RuleId; 3] =
    [RuleId::RemovedBeforeDrained, RuleId::DrainedAfterRemoval, RuleId::UseAfterRemoval];

/// A device with outstanding memory, and an unbind in the order of 2018 that has begun to release resources.
fn begun() -> Kernel {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.snapshot(0, true);
    kernel.alloc(0, 10, 4);
    kernel.begin(0, 11, Order::RemovedFirst);
    kernel.advance_to(0, Kind::UnmapMappings);
    kernel
}

fn violates_all_of_2018(run: &Run, kernel: &Kernel, name: &str) {
    for rule in OF_2018 {
        assert_eq!(run.answer(rule, kernel.address(0)), Answer::Violated, "{name}: {}", rule.name());
    }
}

fn is_uncertain(run: &Run, kernel: &Kernel, limit: Limit, rule: RuleId) {
    let verdict = run.verdict(rule, kernel.address(0));
    let is_named = verdict.reasons.iter().any(|reason| reason.contains(limit.description()));
    assert!(is_named && verdict.answer == Answer::Inconclusive, "{}: {verdict:?}", rule.name());
}

/// A loop requests a hanging unbind each second, each time from a new process, and all get the lock in the end.
#[test]
fn repeated_unbind_requests_hide_no_violation() {
    for tries in [60, 1000, 1100, 2000] {
        let mut kernel = begun();
        for pid in 0..tries {
            step(&mut kernel, 1000 + pid, Kind::Unbind, None);
        }
        kernel.advance_to(0, Kind::Unbound);
        let mut run = evaluate(&kernel.elements);
        violates_all_of_2018(&run, &kernel, &tries.to_string());
        let before = kernel.elements.len();
        while kernel.advance(0) {}
        for pid in 0..tries {
            step(&mut kernel, 1000 + pid, Kind::Unbound, None);
        }
        run.feed(&kernel.elements[before..]);
        let device = run.model.device(kernel.address(0)).unwrap();
        let teardown = device.teardowns().next().unwrap();
        assert!(teardown.steps.len() < 200 && !teardown.overflowed);
        assert_eq!((device.teardowns().count(), device.unbinding()), (1, None));
        assert!(!run.violated().contains(&RuleId::StalledUnbind));
    }
}

/// Other repeated steps hide no violation either, and the exceeded limit is reported.
#[test]
fn other_repeated_steps_hide_no_violation() {
    for kind in [Kind::DriverRemove, Kind::UnmapMappings, Kind::Drained] {
        let mut kernel = begun();
        for _ in 0..MAX_STEPS + 10 {
            let pgmap = (kind == Kind::Drained).then_some(0xffff_8880_7777_0000);
            step(&mut kernel, 11, kind, pgmap);
        }
        while kernel.advance(0) {}
        let run = evaluate(&kernel.elements);
        violates_all_of_2018(&run, &kernel, kind.name());
        is_uncertain(&run, &kernel, Limit::Steps, RuleId::MapImbalance);
    }
}

#[test]
fn too_many_refused_adds_are_inconclusive() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    for number in 0..=Limit::RefusedAdds.most() as u64 {
        kernel.event(0, Kind::Kill, Hook::Kill, 5, |event| {
            event.pgmap = Some(0xffff_8880_7777_0000 + number * 0x100);
            event.count = Some(0);
        });
    }
    let run = evaluate(&kernel.elements);
    is_uncertain(&run, &kernel, Limit::RefusedAdds, RuleId::StalledUnbind);
}

/// A second free of memory whose first free is no longer kept.
#[test]
fn second_free_of_a_forgotten_reference() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16, 16]);
    let first = kernel.alloc(0, 10, 1).unwrap();
    let page = kernel.outstanding(0).next().unwrap().1.pages[0];
    kernel.free(first, 10, 9);
    // From another range, so that its place is not reused.
    kernel.alloc(0, 10, 1).unwrap();
    for _ in 0..=Limit::EndedReferences.most() {
        let token = kernel.alloc(0, 10, 2).unwrap();
        kernel.free(token, 10, 9);
    }
    let other = page + 15 * PAGE_SIZE;
    kernel.event(0, Kind::Free, Hook::Free, 10, |event| {
        event.addr = Some(other);
        event.size = Some(PAGE_SIZE);
    });
    let run = evaluate(&kernel.elements);
    is_uncertain(&run, &kernel, Limit::EndedReferences, RuleId::DoubleFree);
}

/// After too many recent frees, a snapshot cannot distinguish frees in flight from allocated memory.
#[test]
fn too_many_frees_in_flight() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.snapshot(0, true);
    let address = kernel.address(0);
    let first = DIRECT_MAP + 0x8000_0000;
    for number in 0..=Limit::RecentlyFreed.most() as u64 {
        let addr = first + number % 8 * PAGE_SIZE;
        kernel.now_ns -= 1_990_000;
        for (kind, hook) in [(Kind::Alloc, Hook::Alloc), (Kind::Free, Hook::Free)] {
            kernel.event(0, kind, hook, 10, |event| {
                event.addr = Some(addr);
                event.size = Some(PAGE_SIZE);
            });
        }
    }
    let to_ns = kernel.now_ns;
    let run = user::Run { device: address, pgmap: None, addr: first + 9 * PAGE_SIZE, size: PAGE_SIZE };
    kernel.user(|writer, time_ns| writer.run(time_ns, &run));
    let snapshot_end = user::SnapshotEnd { device: address, from_ns: to_ns, to_ns, runs: 1, complete: true };
    kernel.user(|writer, _| writer.snapshot_end(&snapshot_end));
    let run = evaluate(&kernel.elements);
    is_uncertain(&run, &kernel, Limit::RecentlyFreed, RuleId::UnmatchedFree);
}

/// Uses of a range that ended long ago, at addresses that no range has now, are not noticed any more.
#[test]
fn forgotten_ranges() {
    for moves in [false, true] {
        let mut kernel = play::watched();
        for number in 0..Limit::EndedRanges.most() as u64 + 3 {
            let place = if moves { number } else { 0 };
            kernel.add_range(0, 5, 0x8000_0000 + place * 0x100_0000, 16);
            kernel.snapshot(0, true);
            kernel.unbind(0, 11);
        }
        let run = evaluate(&kernel.elements);
        let reasons = run.verdict(RuleId::UseAfterRemoval, kernel.address(0)).reasons;
        let is_named = reasons.iter().any(|reason| reason.contains(Limit::EndedRanges.description()));
        assert_eq!(is_named, moves, "{reasons:?}");
        assert_eq!(run.violated(), [].into());
    }
}

/// The rule and device of findings that are only counted are not kept.
#[test]
fn too_many_findings() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.bind(1, 5, &[16]);
    kernel.snapshot(0, true);
    for pid in 0..MAX_FINDINGS as u32 + 5 {
        kernel.event(0, Kind::Free, Hook::Free, 100 + pid, |event| {
            event.addr = Some(DIRECT_MAP + 0x8000_0000 + u64::from(pid) % 8 * PAGE_SIZE);
            event.size = Some(PAGE_SIZE);
        });
    }
    kernel.idle(3_000_000_000);
    let run = evaluate(&kernel.elements);
    assert!(run.rules.omitted() > 0);
    is_uncertain(&run, &kernel, Limit::Findings, RuleId::DoubleFree);
    let other = run.verdict(RuleId::DoubleFree, kernel.address(1));
    assert_eq!(other.answer, Answer::Inconclusive);
}

/// The kernel side counts calls that found no room for a note, but does not know their devices.
#[test]
fn calls_without_notes_make_every_rule_inconclusive() {
    let source = include_str!("../../../../../../p2p-trace-ebpf/src/notes.rs");
    assert!(source.contains(&format!("const CALLS: u32 = {};", Limit::Notes.most())), "one number");
    for notes_full in [0, 1] {
        let mut kernel = play::watched();
        kernel.bind(0, 5, &[16]);
        kernel.unbind(0, 11);
        let status = Status { hooks: hooks_except(&[]), ..status() };
        let mut pipeline = Pipeline::new(&status, Options::default(), 0);
        let resumed = Resumption {
            elements: kernel.elements,
            rules: &RuleState::default(),
            time_ns: kernel.now_ns,
            reached_ns: 0,
            tally: None,
        };
        pipeline.resume(&resumed);
        let shortfalls = Shortfalls { notes_full, ..Shortfalls::default() };
        let closing = pipeline.close(&Totals { shortfalls, ..Totals::default() });
        let why = "limit exceeded: more than 4096 calls in progress at a time";
        for verdict in &closing.verdicts {
            let is_named = verdict.reasons.iter().any(|reason| reason == why);
            let is_checked = verdict.answer != Answer::NotChecked;
            assert_eq!(is_named, notes_full > 0 && is_checked, "{verdict:?}");
        }
        assert!(!closing.verdicts.is_empty());
        assert_eq!(closing.is_inconclusive, notes_full > 0);
    }
}

/// Events of a device beyond the limit make every rule of every device inconclusive, and displace no known device.
#[test]
fn too_many_devices() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.snapshot(0, true);
    let known = kernel.address(0);
    for number in 0..2 * Limit::Devices.most() as u32 {
        kernel.event(0, Kind::Free, Hook::Free, 10, |event| {
            event.device = Some(DeviceAddress { domain: 1 + number, ..known });
            event.addr = Some(DIRECT_MAP + 0x8000_0000);
        });
    }
    let run = evaluate(&kernel.elements);
    assert_eq!(run.model.devices().count(), Limit::Devices.most());
    is_uncertain(&run, &kernel, Limit::Devices, RuleId::DoubleKill);
}

/// Beyond the limit, the oldest ranges are forgotten.
#[test]
fn too_many_ranges() {
    let mut kernel = play::watched();
    for number in 0..=Limit::Ranges.most() as u64 {
        kernel.add_range(0, 5, 0x8000_0000 + number * 0x100_0000, 16);
    }
    let run = evaluate(&kernel.elements);
    assert_eq!(run.model.device(kernel.address(0)).unwrap().ranges().count(), Limit::Ranges.most());
    is_uncertain(&run, &kernel, Limit::Ranges, RuleId::StalledDrain);
}

/// With more ranges at one place than are compared with a new one, it is uncertain whether that one overlaps others.
#[test]
fn too_many_ranges_at_one_place() {
    let mut kernel = play::watched();
    for number in 0..=2 * Limit::Compared.most() as u64 {
        kernel.event(0, Kind::Memremap, Hook::Memremap, 5, |event| {
            event.device = event.device.map(|device| DeviceAddress { domain: (number % 8) as u32, ..device });
            event.pgmap = Some(0xffff_8880_7777_0000 + number * 0x100);
            event.range = Some(Range { start: 0x8000_0000, end: 0x9000_0000 + number });
            event.ret = Some(0);
        });
    }
    let run = evaluate(&kernel.elements);
    let found = run.rules.findings().iter().map(|finding| finding.occurrences).max();
    assert!(found.is_some_and(|most| most <= 16), "{found:?}");
    let uncertainties: Vec<_> =
        run.rules.rule_state(&run.model).found.into_iter().flat_map(|found| found.uncertainties).collect();
    assert!(uncertainties.iter().any(|why| why.contains(Limit::Compared.description())), "{uncertainties:?}");
}
