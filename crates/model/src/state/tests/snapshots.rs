//! Tests of snapshots, losses, and races between them.

use p2p_trace_common::{Hook, Kind, Ring};

use super::{
    super::{Baseline, ChangeKind, ClosedBy, GRACE_NS, Model, NO_PGMAP, Stage},
    device, model_of,
};
use crate::{
    event::{
        Id, Loss, Reason, State, Task,
        decode::{DecodeError, PAGE_SIZE},
        user,
    },
    stream::assemble::Element,
    testing::simulate::Kernel,
};

fn bound() -> Kernel {
    let mut kernel = Kernel::new(1);
    kernel.bind(0, 5, &[16]);
    kernel
}

fn lose(kernel: &mut Kernel, ring: Ring, to_ns: u64) {
    kernel.elements.push(Element::Loss(Loss {
        cpu: Some(0),
        ring,
        first: 1,
        last: 3,
        from_ns: kernel.now_ns,
        to_ns,
        reason: Reason::Overwritten,
        hook: None,
    }));
}

fn snapshot_end(model: &Model) -> super::super::SnapshotEnd {
    let snapshot_end = model.changes().iter().find_map(|change| match change.kind {
        ChangeKind::SnapshotEnd(snapshot_end) => Some(snapshot_end),
        _ => None,
    });
    snapshot_end.unwrap()
}

/// Drops the last element.
fn drop_last(kernel: &mut Kernel) {
    kernel.elements.truncate(kernel.elements.len() - 1);
}

#[test]
fn snapshot_reveals_lost_free() {
    let mut kernel = bound();
    let token = kernel.alloc(0, 10, 4).unwrap();
    kernel.free(token, 10, 0);
    drop_last(&mut kernel);
    kernel.snapshot(0, true);
    let model = model_of(&kernel.elements);
    let device = device(&model, &kernel, 0);
    assert_eq!((device.reference_count(), snapshot_end(&model).closed), (0, 1));
    assert_eq!(device.closed().next().unwrap().by, ClosedBy::Snapshot);
}

#[test]
fn incomplete_snapshot_closes_nothing() {
    let mut kernel = bound();
    let token = kernel.alloc(0, 10, 4).unwrap();
    kernel.free(token, 10, 0);
    drop_last(&mut kernel);
    kernel.snapshot(0, false);
    let model = model_of(&kernel.elements);
    let known = device(&model, &kernel, 0);
    assert_eq!((known.reference_count(), snapshot_end(&model).reconciled), (1, false));
    assert_eq!(known.baseline(), Baseline::Unknown);
    assert!(!known.last_snapshot().unwrap().complete);
}

#[test]
fn snapshot_with_missing_run_closes_nothing() {
    let mut kernel = bound();
    kernel.alloc(0, 10, 4).unwrap();
    kernel.snapshot(0, true);
    let is_run = |element: &Element| matches!(element, Element::User(record) if record.kind() == Some(Kind::AllocatedRun));
    kernel.elements.retain(|element| !is_run(element));
    let model = model_of(&kernel.elements);
    assert_eq!(device(&model, &kernel, 0).reference_count(), 1);
    assert!(!snapshot_end(&model).reconciled);
}

#[test]
fn partly_set_allocation_keeps_the_set_part() {
    let mut kernel = bound();
    let token = kernel.alloc(0, 10, 4).unwrap();
    let addr = kernel.outstanding(0).find(|&(found, _)| found == token).unwrap().1.pages[0];
    let device_address = kernel.address(0);
    let from_ns = kernel.now_ns + 1;
    let run = user::Run { device: device_address, pgmap: None, addr: addr + PAGE_SIZE, size: PAGE_SIZE };
    kernel.now_ns += 1_000_000;
    kernel.user(|writer, time_ns| writer.run(time_ns, &run));
    let snapshot_end = user::SnapshotEnd {
        device: device_address,
        from_ns: from_ns + 500_000,
        to_ns: kernel.now_ns,
        runs: 1,
        complete: true,
    };
    kernel.user(|writer, _| writer.snapshot_end(&snapshot_end));
    let model = model_of(&kernel.elements);
    let known = device(&model, &kernel, 0);
    let (_, left) = known.reference_at(addr + PAGE_SIZE).unwrap();
    assert_eq!((left.bytes(), left.partial, known.reference_count()), (PAGE_SIZE, true, 1));
}

/// A free is recorded at its entry, before its bits are cleared.
#[test]
fn just_freed_memory_is_not_preexisting() {
    for (later_ns, found) in [(0, 0), (2 * GRACE_NS, 4 * PAGE_SIZE)] {
        let mut kernel = bound();
        let token = kernel.alloc(0, 10, 4).unwrap();
        let mut still_set = kernel.clone();
        kernel.free(token, 10, 0);
        still_set.elements.clone_from(&kernel.elements);
        still_set.now_ns = kernel.now_ns + later_ns;
        still_set.snapshot(0, true);
        let model = model_of(&still_set.elements);
        assert_eq!(snapshot_end(&model).found, found);
        assert_eq!(snapshot_end(&model).in_flight, 4 * PAGE_SIZE - found);
        assert_eq!(device(&model, &kernel, 0).preexisting_bytes(), found);
    }
}

/// An allocation is recorded at its exit, after its bits are set.
#[test]
fn allocation_in_progress_claims_its_memory() {
    let mut kernel = bound();
    kernel.alloc(0, 10, 4).unwrap();
    let late = kernel.elements.pop().unwrap();
    kernel.snapshot(0, true);
    let model = model_of(&kernel.elements);
    assert_eq!(device(&model, &kernel, 0).preexisting_bytes(), 4 * PAGE_SIZE);
    kernel.elements.push(late);
    let model = model_of(&kernel.elements);
    let known = device(&model, &kernel, 0);
    assert_eq!((known.preexisting_bytes(), known.reference_count()), (0, 1));
}

#[test]
fn allocation_during_snapshot_stays() {
    let mut kernel = bound();
    let mut early = kernel.clone();
    early.snapshot(0, true);
    let snapshot_end = early.elements.split_off(early.elements.len() - 3);
    // The snapshot started before the allocation and ends after it.
    kernel.elements = early.elements;
    kernel.now_ns = early.now_ns;
    kernel.elements.extend(snapshot_end[..2].to_vec());
    kernel.alloc(0, 10, 4).unwrap();
    kernel.elements.push(snapshot_end[2].clone());
    let model = model_of(&kernel.elements);
    let known = device(&model, &kernel, 0);
    assert!(known.last_snapshot().unwrap().reconciled);
    assert_eq!(known.reference_count(), 1);
}

#[test]
fn later_snapshot_settles_loss() {
    for (ring, hot) in [(Ring::Hot, true), (Ring::Rare, false)] {
        let mut kernel = bound();
        let to_ns = kernel.now_ns + 20_000_000;
        lose(&mut kernel, ring, to_ns);
        let uncertainties = |kernel: &Kernel| device(&model_of(&kernel.elements), kernel, 0).uncertain();
        let uncertainty = uncertainties(&kernel).hot.or_else(|| uncertainties(&kernel).rare).unwrap();
        assert_eq!((uncertainties(&kernel).hot.is_some(), uncertainty.lost), (hot, 3));
        assert_eq!(uncertainty.since_ns, kernel.now_ns);
        kernel.snapshot(0, true);
        assert!(!uncertainties(&kernel).is_empty(), "it began before the last possible loss");
        kernel.now_ns = to_ns;
        kernel.snapshot(0, true);
        assert!(uncertainties(&kernel).is_empty());
    }
}

#[test]
fn complete_teardown_settles_loss() {
    let mut kernel = bound();
    kernel.alloc(0, 10, 2).unwrap();
    let now_ns = kernel.now_ns;
    lose(&mut kernel, Ring::Hot, now_ns);
    kernel.unbind(0, 6);
    let model = model_of(&kernel.elements);
    let known = device(&model, &kernel, 0);
    assert!(known.uncertain().is_empty());
    assert!(matches!(known.baseline(), Baseline::PoolGone(_)));
}

#[test]
fn lost_teardown_steps_stay_lost() {
    let mut kernel = bound();
    kernel.event(0, Kind::Unbind, Hook::Unbind, 6, |_| ());
    let now_ns = kernel.now_ns;
    lose(&mut kernel, Ring::Rare, now_ns);
    kernel.snapshot(0, true);
    let model = model_of(&kernel.elements);
    let known = device(&model, &kernel, 0);
    assert!(known.uncertain().is_empty());
    assert!(known.pending_teardown().unwrap().steps_may_be_missing());
}

#[test]
fn record_of_later_version_is_an_uncertainty() {
    let mut kernel = bound();
    let id = Id { run: 7, cpu: 0, seq: Ring::Hot.sequence(99) };
    kernel.elements.push(Element::Unknown(DecodeError::UnknownKind { id, kind: 63 }));
    let model = model_of(&kernel.elements);
    assert_eq!(device(&model, &kernel, 0).uncertain().hot.unwrap().unreadable, 1);
}

/// The holder from before the loss may have freed the memory, and another task allocated it, both without a
/// record.
#[test]
fn holder_from_before_a_loss_is_unsure() {
    let mut kernel = bound();
    kernel.alloc(0, 10, 2).unwrap();
    let now_ns = kernel.now_ns;
    lose(&mut kernel, Ring::Hot, now_ns);
    kernel.alloc(0, 11, 2).unwrap();
    kernel.now_ns += 2 * GRACE_NS;
    kernel.snapshot(0, true);
    let model = model_of(&kernel.elements);
    let known = device(&model, &kernel, 0);
    let mut sure: Vec<_> = known
        .references()
        .map(|(_, reference)| (known.allocated_by(reference).task.unwrap().pid, known.is_sure(reference)))
        .collect();
    sure.sort_unstable();
    assert_eq!(sure, [(10, false), (11, true)]);
}

#[test]
fn range_without_chunk_is_over() {
    let mut kernel = bound();
    kernel.alloc(0, 10, 2).unwrap();
    let before = kernel.elements.len();
    kernel.unbind(0, 6);
    kernel.elements.truncate(before);
    kernel.snapshot(0, true);
    let model = model_of(&kernel.elements);
    let known = device(&model, &kernel, 0);
    let range = known.ranges().next().unwrap();
    assert_eq!((range.stage(), known.reference_count()), (Stage::Released, 0));
    assert!(range.ended_unseen.is_some());
}

/// A hang that only a snapshot observes.
#[test]
fn snapshot_shows_hang_from_before_the_start() {
    let mut kernel = bound();
    kernel.alloc(0, 10, 2).unwrap();
    let pgmap = kernel.pgmaps(0)[0];
    kernel.elements.clear();
    let holder = crate::testing::simulate::task(6);
    let state = |chunk: u8, freed: bool| State { chunk, atomic: !freed, dead: !freed, exited: false, freed };
    kernel.event(0, Kind::RangeState, Hook::Snapshot, 1, |event| {
        event.state = Some(state(0, true));
        event.addr = Some(0x1000);
        event.count = Some(2);
    });
    kernel.event(0, Kind::RangeState, Hook::Snapshot, 1, |event| {
        event.pgmap = Some(pgmap);
        event.state = Some(state(1, false));
    });
    kernel.event(0, Kind::DeviceState, Hook::Snapshot, 1, |event| {
        event.task = Some(holder);
        event.waiting_ns = Some(99);
        event.count = Some(2);
        event.flag = Some(true);
    });
    let model = model_of(&kernel.elements);
    let known = device(&model, &kernel, 0);
    let ranges: Vec<_> = known.ranges().collect();
    let [dead, range] = ranges[..] else { panic!("{ranges:?}") };
    assert_eq!((dead.id.pgmap, dead.stage(), dead.base), (NO_PGMAP, Stage::Removed, Some(0x1000)));
    assert!(dead.dead_chunk_since().is_some() && range.dead_chunk_since().is_none());
    assert!(range.is_draining());
    assert_eq!((range.stage(), range.chunk), (Stage::Killed, Some(1)));
    let lock = known.lock().unwrap();
    assert_eq!((lock.holder.map(|task: Task| task.pid), lock.waiting_ns), (Some(6), Some(99)));
    assert_eq!(known.published(), Some(true));
}

/// VFIO and others, from 6.19 on, provide memory that no pool counts.
#[test]
fn distinguishes_provider_without_pool_from_no_provider() {
    let without_pool = |allocated| {
        let mut kernel = Kernel::new(1);
        kernel.event(0, Kind::DeviceState, Hook::Snapshot, 1, |event| {
            (event.count, event.allocated) = (Some(0), allocated);
        });
        device(&model_of(&kernel.elements), &kernel, 0).is_without_pool()
    };
    assert!(without_pool(Some(0)) && !without_pool(None));
}

/// A pool that is being destroyed cannot be reached from the device, so a snapshot without chunks shows
/// nothing.
#[test]
fn snapshot_during_pool_destruction_closes_nothing() {
    let mut kernel = bound();
    kernel.alloc(0, 10, 2).unwrap();
    kernel.event(0, Kind::Release, Hook::Release, 6, |event| {
        event.allocated = Some(2 * PAGE_SIZE);
    });
    let mut without_memory = Kernel::new(1);
    without_memory.now_ns = kernel.now_ns;
    without_memory.snapshot(0, true);
    kernel.elements.extend(without_memory.elements);
    let model = model_of(&kernel.elements);
    assert_eq!(device(&model, &kernel, 0).reference_count(), 1);
    assert!(!snapshot_end(&model).reconciled);
}

#[test]
fn time_follows_the_stream() {
    let mut kernel = bound();
    kernel.user(user::Writer::tick);
    let model = model_of(&kernel.elements);
    assert_eq!((model.now_ns(), model.ended()), (kernel.now_ns, false));
    kernel.user(user::Writer::end);
    assert!(model_of(&kernel.elements).ended());
}
