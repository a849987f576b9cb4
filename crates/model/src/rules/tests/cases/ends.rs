//! The end of an unbind, and sequences that are no unbind.

use p2p_trace_common::{Hook, Kind};

use super::{RuleId, begin_at, step};
use crate::{
    accounting::HookState,
    event::Range,
    testing::{
        evaluation::{Run, evaluate, hooks_except},
        simulate::{DIRECT_MAP, Kernel, Order, play},
    },
};

const SECOND_NS: u64 = 1_000_000_000;

fn bound() -> Kernel {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.snapshot(0, true);
    kernel
}

/// A provider without a pool: vfio-pci, or mlx5 from 6.19.
#[test]
fn provider_without_a_pool_has_no_finding() {
    let mut kernel = play::watched();
    let unbind = [
        Kind::Unbind,
        Kind::DriverRemove,
        Kind::DriverRemoved,
        Kind::DevresRelease,
        Kind::Release,
        Kind::Released,
        Kind::DevresReleased,
        Kind::Unbound,
    ];
    for kind in unbind {
        step(&mut kernel, 11, kind, None);
    }
    kernel.idle(20 * SECOND_NS);
    let run = evaluate(&kernel.elements);
    assert_eq!(run.violated(), [].into());
    // There never was a pool, so none was destroyed in use.
    assert_eq!(run.verdict(RuleId::PoolDestroyedInUse, kernel.address(0)).reasons, [""; 0]);
}

/// The release of another resource of the device, registered before its p2p memory, hangs.
#[test]
fn hang_after_the_release_is_a_stall() {
    let mut kernel = bound();
    kernel.begin(0, 11, Order::Right);
    kernel.advance_to(0, Kind::DevresReleased);
    kernel.idle(60 * SECOND_NS);
    let mut run = evaluate(&kernel.elements);
    assert_eq!(run.violated(), [RuleId::StalledUnbind].into());
    let finding = run.only(RuleId::StalledUnbind);
    assert!(!finding.is_closed());
    assert!(finding.message.contains("the return of pci_p2pdma_release"), "{}", finding.message);
    let before = kernel.elements.len();
    while kernel.advance(0) {}
    run.feed(&kernel.elements[before..]);
    assert!(run.only(RuleId::StalledUnbind).is_closed());
}

/// The driver core does more after all resources are released.
#[test]
fn hang_after_all_resources_is_a_stall() {
    let mut kernel = bound();
    kernel.begin(0, 11, Order::Right);
    kernel.advance_to(0, Kind::Unbound);
    kernel.idle(60 * SECOND_NS);
    assert_eq!(evaluate(&kernel.elements).violated(), [RuleId::StalledUnbind].into());
}

/// Other tasks request the unbind meanwhile, and get the lock once it has ended.
#[test]
fn repeated_unbind_request_is_no_other_unbind() {
    let mut kernel = bound();
    kernel.begin(0, 11, Order::Right);
    kernel.advance_to(0, Kind::DevresReleased);
    for pid in 100..110 {
        step(&mut kernel, pid, Kind::Unbind, None);
        kernel.idle(SECOND_NS);
    }
    while kernel.advance(0) {}
    for pid in 100..110 {
        step(&mut kernel, pid, Kind::Unbound, None);
    }
    kernel.idle(20 * SECOND_NS);
    let run = evaluate(&kernel.elements);
    assert_eq!(run.violated(), [RuleId::StalledUnbind].into());
    assert!(run.only(RuleId::StalledUnbind).is_closed());
}

/// The task that tears down entered the unbind before the trace; another task requests it during the trace and waits.
#[test]
fn unbind_seen_only_from_another_task_ends_with_its_resources() {
    let mut kernel = bound();
    kernel.begin(0, 11, Order::Right);
    kernel.advance_to(0, Kind::UnmapMappings);
    let place = kernel.elements.len();
    step(&mut kernel, 12, Kind::Unbind, None);
    kernel.advance_to(0, Kind::Unbound);
    begin_at(&mut kernel, place);
    kernel.idle(60 * SECOND_NS);
    assert_eq!(evaluate(&kernel.elements).violated(), [].into());
}

/// A new range is created under the device's lock, so an earlier unbind has ended.
#[test]
fn new_range_ends_an_unbind() {
    let mut kernel = bound();
    kernel.begin(0, 11, Order::Right);
    kernel.advance_to(0, Kind::DevresReleased);
    kernel.idle(SECOND_NS);
    let mut other = kernel.clone();
    kernel.bind(0, 5, &[16]);
    kernel.idle(60 * SECOND_NS);
    assert_eq!(evaluate(&kernel.elements).violated(), [].into());
    // This also ends a stall.
    other.idle(60 * SECOND_NS);
    other.bind(0, 5, &[16]);
    assert!(evaluate(&other.elements).only(RuleId::StalledUnbind).is_closed());
}

/// An end that no attached hook would see, of an unbind or of a failed probe, is not a stall.
#[test]
fn end_without_a_hook_is_no_stall() {
    for missing in [&[Hook::Unbound][..], &[Hook::DevresReleased], &[Hook::Unbound, Hook::DevresReleased]] {
        for opened in [
            &[Kind::Unbind][..],
            &[Kind::Unbind, Kind::DriverRemove, Kind::DriverRemoved, Kind::DevresRelease],
            &[Kind::DevresRelease],
        ] {
            let mut kernel = bound();
            for &kind in opened {
                step(&mut kernel, 11, kind, None);
            }
            for (opening, closing, hook) in [
                (Kind::DevresRelease, Kind::DevresReleased, Hook::DevresReleased),
                (Kind::Unbind, Kind::Unbound, Hook::Unbound),
            ] {
                if opened.contains(&opening) && !missing.contains(&hook) {
                    step(&mut kernel, 11, closing, None);
                }
            }
            kernel.idle(60 * SECOND_NS);
            let failed: Vec<_> = missing.iter().map(|&hook| (hook, HookState::Failed)).collect();
            let mut run = Run::new(crate::rules::Options::default(), &hooks_except(&failed));
            run.feed(&kernel.elements);
            run.end();
            assert_eq!(run.violated(), [].into(), "{missing:?} {opened:?}");
        }
    }
}

/// Up to 6.18 an add whose `devm_add_action_or_reset` fails first revokes the mappings of the entire device, without naming a range.
fn refused_add(kernel: &mut Kernel, unmap_mappings: Option<u64>, seen: impl Fn(Kind) -> bool) {
    let (pgmap, pid) = (0xffff_8880_0100_7000, 5);
    if seen(Kind::Memremap) {
        kernel.event(0, Kind::Memremap, Hook::Memremap, pid, |event| {
            event.pgmap = Some(pgmap);
            event.ret = Some(0);
            event.addr = Some(DIRECT_MAP + 0x8800_0000);
            event.range = Some(Range { start: 0x8800_0000, end: 0x8800_ffff });
        });
    }
    if seen(Kind::UnmapMappings) {
        step(kernel, pid, Kind::UnmapMappings, unmap_mappings);
    }
    for kind in [Kind::MemremapRelease, Kind::Kill, Kind::Drained, Kind::Remove, Kind::Unmapped] {
        if seen(kind) {
            step(kernel, pid, kind, Some(pgmap));
        }
    }
    if seen(Kind::AddResource) {
        kernel.event(0, Kind::AddResource, Hook::AddResource, pid, |event| {
            event.ret = Some(-12);
            event.failed = true;
        });
    }
}

#[test]
fn refused_add_is_no_stalled_unbind() {
    let other = [Kind::Memremap, Kind::UnmapMappings, Kind::MemremapRelease, Kind::AddResource, Kind::Kill];
    for unmap_mappings in [None, Some(0xffff_8880_0100_7000)] {
        for is_bound in [false, true] {
            for missing in std::iter::once(None).chain(other.map(Some)) {
                let mut kernel = if is_bound { bound() } else { play::watched() };
                refused_add(&mut kernel, unmap_mappings, |kind| {
                    missing != Some(kind)
                        && (missing != Some(Kind::Kill) || !matches!(kind, Kind::Remove | Kind::Unmapped))
                });
                kernel.idle(20 * SECOND_NS);
                let failed: Vec<_> = missing
                    .iter()
                    .map(|kind| (Hook::from_name(kind.name()).unwrap(), HookState::Failed))
                    .collect();
                let mut run = Run::new(crate::rules::Options::default(), &hooks_except(&failed));
                run.feed(&kernel.elements);
                run.end();
                let name = format!("{unmap_mappings:?} {is_bound} without {missing:?}");
                assert_eq!(run.violated(), [].into(), "{name}");
                let device = run.model.device(kernel.address(0)).unwrap();
                assert_eq!(device.teardowns().count(), 0, "{name}");
                // The earlier range is still in use.
                assert_eq!(
                    device.ranges().filter(|range| !range.refused).count(),
                    usize::from(is_bound),
                    "{name}"
                );
            }
        }
    }
}
