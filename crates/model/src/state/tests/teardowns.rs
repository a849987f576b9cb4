//! Tests of steps, brackets, and refused adds.

use p2p_trace_common::{Hook, Kind};

use super::{
    super::{Armed, ChangeKind, Ended, Model, Stage},
    device, model_of,
};
use crate::event::{Method, Refs, State, user};
use crate::testing::simulate::Kernel;

fn bound(ranges: &[u64]) -> Kernel {
    let mut kernel = Kernel::new(1);
    kernel.bind(0, 5, ranges);
    kernel
}

fn step(kernel: &mut Kernel, pid: u32, kind: Kind, pgmap: Option<u64>) {
    let hook = Hook::from_name(kind.name()).unwrap();
    kernel.event(0, kind, hook, pid, |event| event.pgmap = pgmap);
}

fn steps(kernel: &mut Kernel, pid: u32, kinds: &[Kind], pgmap: Option<u64>) {
    for &kind in kinds {
        step(kernel, pid, kind, pgmap);
    }
}

fn is_reported(model: &Model, is_match: impl Fn(&ChangeKind) -> bool) -> bool {
    model.changes().iter().any(|change| is_match(&change.kind))
}

#[test]
fn teardown_has_all_steps_in_order() {
    let mut kernel = bound(&[8, 8]);
    kernel.unbind(0, 6);
    let model = model_of(&kernel.elements);
    let device = device(&model, &kernel, 0);
    let teardowns: Vec<_> = device.teardowns().collect();
    assert_eq!(teardowns.len(), 1);
    let teardown = teardowns[0];
    assert!(matches!(teardown.ended, Some((Ended::Released, _))));
    assert!(!teardown.steps_may_be_missing());
    assert_eq!(teardown.started().unwrap().time_ns, teardown.steps[0].at.time_ns);
    assert_eq!(teardown.task().unwrap().pid, 6);
    let kinds: Vec<_> = teardown.steps.iter().map(|step| step.kind.name()).collect();
    insta::assert_snapshot!(kinds.join(" "), @"unbind driver_remove devres_release unmap_mappings memremap_release kill drained remove unmapped unmap_mappings memremap_release kill drained remove unmapped release released devres_released driver_removed unbound");
    for range in device.ranges() {
        assert_eq!(range.stage(), Stage::Released);
        let steps: Vec<_> = teardown.steps_of(range.id).map(|step| step.kind.name()).collect();
        assert_eq!(steps.join(" "), "unmap_mappings memremap_release kill drained remove unmapped");
        let steps = range.steps;
        assert!(steps.killed.unwrap().time_ns < steps.drained.unwrap().time_ns);
        assert!(steps.unmapped.unwrap().time_ns < steps.release.unwrap().time_ns);
    }
}

#[test]
fn reused_pointer_is_another_range() {
    let mut kernel = bound(&[8]);
    kernel.unbind(0, 6);
    kernel.bind(0, 5, &[8]);
    let model = model_of(&kernel.elements);
    let ranges: Vec<_> = device(&model, &kernel, 0).ranges().map(|range| (range.id, range.stage())).collect();
    assert_eq!(ranges[0].0.pgmap, ranges[1].0.pgmap);
    assert_eq!((ranges[0].0.generation, ranges[1].0.generation), (0, 1));
    assert_eq!((ranges[0].1, ranges[1].1), (Stage::Released, Stage::Live));
}

#[test]
fn brackets_without_p2p_memory_are_not_a_teardown() {
    let mut kernel = bound(&[8]);
    kernel.unbind(0, 6);
    for _ in 0..2 {
        step(&mut kernel, 6, Kind::Unbind, None);
        let model = model_of(&kernel.elements);
        assert!(device(&model, &kernel, 0).pending_teardown().is_some(), "it may be stuck");
        step(&mut kernel, 6, Kind::Unbound, None);
    }
    let model = model_of(&kernel.elements);
    let device = device(&model, &kernel, 0);
    assert_eq!(device.teardowns().count(), 1);
    assert!(device.pending_teardown().is_none());
}

#[test]
fn nested_bracket_is_part_of_teardown() {
    let mut kernel = bound(&[8]);
    let pgmap = kernel.pgmaps(0)[0];
    steps(&mut kernel, 6, &[Kind::Unbind; 2], None);
    step(&mut kernel, 6, Kind::Kill, Some(pgmap));
    step(&mut kernel, 6, Kind::Released, None);
    steps(&mut kernel, 6, &[Kind::Unbound; 3], None);
    let model = model_of(&kernel.elements);
    let device = device(&model, &kernel, 0);
    let teardowns: Vec<_> = device.teardowns().map(|teardown| teardown.steps.len()).collect();
    assert_eq!(teardowns, [6], "an exit without an entry is not part of it");
}

#[test]
fn task_that_waits_for_the_lock_does_not_tear_down() {
    let mut kernel = bound(&[8]);
    step(&mut kernel, 6, Kind::Unbind, None);
    step(&mut kernel, 7, Kind::Unbind, None);
    step(&mut kernel, 7, Kind::DriverRemove, None);
    step(&mut kernel, 6, Kind::Unbound, None);
    let model = model_of(&kernel.elements);
    let pending = device(&model, &kernel, 0).pending_teardown().unwrap();
    assert_eq!(pending.task().unwrap().pid, 7);
    assert_eq!(pending.last_step().unwrap().kind, Kind::Unbound);
    assert_eq!(pending.pending_since_ns(), Some(pending.steps[0].at.time_ns));
}

/// 5.10: `device_release_driver_internal` is inlined into its callers, and a remove has returned before its
/// device's resources are released.
#[test]
fn teardown_without_unbind_is_recognized() {
    let mut kernel = bound(&[8]);
    let pgmap = kernel.pgmaps(0)[0];
    let unbind = [Kind::DriverRemove, Kind::DriverRemoved, Kind::DevresRelease];
    steps(&mut kernel, 6, &unbind, None);
    let of_range = [Kind::Kill, Kind::Drained, Kind::Remove, Kind::Unmapped];
    steps(&mut kernel, 6, &of_range, Some(pgmap));
    let of_pool = [Kind::Release, Kind::Released, Kind::DevresReleased];
    steps(&mut kernel, 6, &of_pool, None);
    let model = model_of(&kernel.elements);
    let teardowns: Vec<_> = device(&model, &kernel, 0).teardowns().collect();
    assert_eq!((teardowns.len(), teardowns[0].steps.len()), (1, 10));
}

#[test]
fn start_in_the_middle_sees_the_last_steps() {
    let mut kernel = bound(&[8]);
    kernel.unbind(0, 6);
    let drained = |element: &crate::stream::assemble::Element| matches!(element, crate::stream::assemble::Element::Event(event) if event.kind == Kind::Drained);
    let from = kernel.elements.iter().position(drained).unwrap();
    let model = model_of(&kernel.elements[from..]);
    let device = device(&model, &kernel, 0);
    let teardown = device.teardowns().next().unwrap();
    assert!(teardown.began_unseen && teardown.ended.is_some());
    assert_eq!(teardown.steps.len(), 8);
    let range = device.ranges().next().unwrap();
    assert_eq!((range.stage(), range.steps.killed), (Stage::Released, None));
}

#[test]
fn refused_add_is_not_a_teardown() {
    let mut kernel = bound(&[8]);
    let pgmap = 0xffff_8880_7777_0000;
    for (kind, hook) in
        [(Kind::Kill, Hook::Kill), (Kind::Drained, Hook::Drained), (Kind::Unmapped, Hook::Unmapped)]
    {
        kernel.event(0, kind, hook, 5, |event| {
            event.pgmap = Some(pgmap);
            event.count = (kind == Kind::Kill).then_some(0);
        });
    }
    kernel.event(0, Kind::Memremap, Hook::Memremap, 5, |event| {
        event.pgmap = Some(pgmap);
        event.ret = Some(-12);
        event.failed = true;
    });
    kernel.event(0, Kind::AddResource, Hook::AddResource, 5, |event| {
        event.bar = Some(3);
        event.ret = Some(-12);
        event.failed = true;
    });
    let model = model_of(&kernel.elements);
    let device = device(&model, &kernel, 0);
    assert_eq!((device.ranges().count(), device.teardowns().count()), (1, 0));
    assert!(is_reported(&model, |kind| *kind == ChangeKind::AddRefused));
}

#[test]
fn add_that_fails_after_memremap_is_not_a_teardown() {
    let mut kernel = bound(&[8]);
    let pgmap = 0xffff_8880_7777_0000;
    kernel.event(0, Kind::Memremap, Hook::Memremap, 5, |event| {
        event.pgmap = Some(pgmap);
        event.ret = Some(0);
    });
    step(&mut kernel, 5, Kind::MemremapRelease, Some(pgmap));
    let of_range = [Kind::Kill, Kind::Drained, Kind::Remove, Kind::Unmapped];
    steps(&mut kernel, 5, &of_range, Some(pgmap));
    kernel.event(0, Kind::AddResource, Hook::AddResource, 5, |event| {
        event.ret = Some(-12);
        event.failed = true;
    });
    let model = model_of(&kernel.elements);
    let device = device(&model, &kernel, 0);
    assert_eq!(device.teardowns().count(), 0);
    let range = device.ranges().next_back().unwrap();
    assert_eq!((range.refused, range.stage()), (true, Stage::Released));
}

#[test]
fn add_of_same_task_gives_the_bar() {
    let kernel = bound(&[8, 8]);
    let model = model_of(&kernel.elements);
    let bars: Vec<_> = device(&model, &kernel, 0).ranges().map(|range| range.bar).collect();
    assert_eq!(bars, [Some(0), Some(1)]);
}

#[test]
fn reports_second_kill() {
    let mut kernel = bound(&[8]);
    let pgmap = kernel.pgmaps(0)[0];
    step(&mut kernel, 6, Kind::Kill, Some(pgmap));
    step(&mut kernel, 6, Kind::Kill, Some(pgmap));
    let model = model_of(&kernel.elements);
    assert!(is_reported(&model, |kind| matches!(kind, ChangeKind::KilledAgain(_))));
    assert_eq!(device(&model, &kernel, 0).ranges().next().unwrap().more_kills, 1);
}

#[test]
fn records_when_armed_hooks_were_attached() {
    let mut kernel = bound(&[8]);
    let pgmap = kernel.pgmaps(0)[0];
    step(&mut kernel, 6, Kind::Kill, Some(pgmap));
    let mut change =
        user::Change { hook: Hook::DmaMapSg, attached: true, method: Method::Fentry, armed: true };
    kernel.user(|writer, time_ns| writer.attach(time_ns, &change));
    let from_ns = kernel.now_ns;
    change.attached = false;
    kernel.user(|writer, time_ns| writer.attach(time_ns, &change));
    let model = model_of(&kernel.elements);
    let armed = device(&model, &kernel, 0).pending_teardown().unwrap().armed;
    assert_eq!(armed, Some(Armed { from_ns, to_ns: Some(kernel.now_ns) }));
    assert!(!model.hooks().is_attached(Hook::DmaMapSg));
}

/// The reference count of a killed range compared with the known references.
#[test]
fn accounts_for_references_of_killed_range() {
    let mut kernel = bound(&[16]);
    kernel.alloc(0, 10, 2).unwrap();
    let before = kernel.elements.len();
    kernel.alloc(0, 10, 3).unwrap();
    kernel.mmap(0, 10, 4).unwrap();
    kernel.elements.remove(before);
    let pgmap = kernel.pgmaps(0)[0];
    kernel.snapshot(0, true);
    step(&mut kernel, 6, Kind::Kill, Some(pgmap));
    kernel.event(0, Kind::RangeState, Hook::Snapshot, 1, |event| {
        event.pgmap = Some(pgmap);
        event.state = Some(State { chunk: 0, atomic: true, dead: true, exited: false, freed: false });
        event.refs = Some(Refs { count: 10, estimate: false });
    });
    let model = model_of(&kernel.elements);
    let accounted = device(&model, &kernel, 0).ranges().next().unwrap().accounted().unwrap();
    assert_eq!((accounted.residual, accounted.known), (10, 5));
    assert_eq!(accounted.unknown, 1..=3, "three pages of unknown holders");
    assert_eq!(accounted.unexplained, 2..=4);
}

#[test]
fn exit_applies_to_earlier_allocations_only() {
    let mut kernel = bound(&[16]);
    kernel.alloc(0, 10, 1).unwrap();
    kernel.alloc(0, 11, 1).unwrap();
    let task = crate::testing::simulate::task(10);
    kernel.user(|writer, time_ns| writer.gone(time_ns, &task));
    let exited_ns = kernel.now_ns;
    kernel.alloc(0, 10, 1).unwrap();
    let model = model_of(&kernel.elements);
    let device = device(&model, &kernel, 0);
    let mut exits: Vec<_> = device
        .references()
        .map(|(_, reference)| (reference.at.time_ns, device.allocated_by(reference).exited_since_ns))
        .collect();
    exits.sort_unstable();
    let exits: Vec<_> = exits.into_iter().map(|(_, exits)| exits).collect();
    assert_eq!(exits, [Some(exited_ns), None, None]);
}

/// Otherwise repeated reports of it would move all of them each time.
#[test]
fn exits_of_too_many_processes_with_one_number_are_ignored() {
    let is_gone = |replaced: usize| {
        let mut kernel = bound(&[16]);
        kernel.alloc(0, 10, 1).unwrap();
        let task = crate::testing::simulate::task(10);
        for _ in 0..replaced {
            kernel.user(|writer, time_ns| writer.exited_before(time_ns, &task, Some(0)));
        }
        kernel.user(|writer, time_ns| writer.gone(time_ns, &task));
        let model = model_of(&kernel.elements);
        let device = device(&model, &kernel, 0);
        let (_, reference) = device.references().next().unwrap();
        device.allocated_by(reference).exited_since_ns.is_some()
    };
    assert_eq!([0, 1, 3, 4, 100].map(is_gone), [true, true, true, false, false]);
}

#[test]
fn mappings_are_known_only_with_both_hooks() {
    let mut kernel = bound(&[16]);
    let mapped = |model: &Model, kernel: &Kernel| {
        let device = device(model, kernel, 0);
        device
            .mappings(model.hooks())
            .map(|mappings| (mappings.live().count(), mappings.latest_unmatched().count()))
    };
    let map = |kernel: &mut Kernel, kind, hook, page| {
        kernel.event(0, kind, hook, 10, |event| event.page = Some(page));
    };
    map(&mut kernel, Kind::Map, Hook::MapSg, 64);
    assert_eq!(mapped(&model_of(&kernel.elements), &kernel), None);
    for hook in [Hook::MapSg, Hook::UnmapSg] {
        let change = user::Change { hook, attached: true, method: Method::Kprobe, armed: false };
        kernel.user(|writer, time_ns| writer.attach(time_ns, &change));
    }
    map(&mut kernel, Kind::Map, Hook::MapSg, 64);
    map(&mut kernel, Kind::Map, Hook::MapSg, 64);
    map(&mut kernel, Kind::Unmap, Hook::UnmapSg, 64);
    assert_eq!(mapped(&model_of(&kernel.elements), &kernel), Some((1, 0)), "it was mapped twice");
    map(&mut kernel, Kind::Unmap, Hook::UnmapSg, 128);
    assert_eq!(mapped(&model_of(&kernel.elements), &kernel), Some((1, 1)));
}

/// If the kernel side could not read `nr_range`, only the end of the add shows that it was refused.
#[test]
fn refused_add_revokes_its_apparent_teardown() {
    let mut kernel = bound(&[8]);
    let pgmap = 0xffff_8880_7777_0000;
    let of_range = [Kind::Kill, Kind::Drained, Kind::Unmapped];
    steps(&mut kernel, 5, &of_range, Some(pgmap));
    let model = model_of(&kernel.elements);
    assert!(device(&model, &kernel, 0).pending_teardown().is_some());
    kernel.event(0, Kind::Memremap, Hook::Memremap, 5, |event| {
        event.pgmap = Some(pgmap);
        event.ret = Some(-12);
        event.failed = true;
    });
    let model = model_of(&kernel.elements);
    let device = device(&model, &kernel, 0);
    assert_eq!(device.teardowns().count(), 0);
    assert_eq!(device.ranges().next_back().unwrap().stage(), Stage::Released);
}

#[test]
fn hooks_attached_from_the_start_need_no_record() {
    let kernel = bound(&[8]);
    let mut model = Model::new();
    let change = |hook| user::Change { hook, attached: true, method: Method::Fentry, armed: false };
    let device = kernel.address(0);
    for hooks in [&[Hook::MapSg][..], &[Hook::UnmapSg]] {
        kernel.elements.iter().for_each(|element| model.apply(element));
        let mappings = model.device(device).and_then(|device| device.mappings(model.hooks()));
        assert!(mappings.is_none(), "only one of both is observed");
        model.attached(hooks.iter().copied().map(change), kernel.now_ns);
    }
    let mappings = model.device(device).and_then(|device| device.mappings(model.hooks()));
    assert!(mappings.is_some());
    assert_eq!(model.hooks().armed_since_ns(), None);
}
