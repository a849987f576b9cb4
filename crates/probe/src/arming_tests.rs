use super::*;
use p2p_trace_model::event::user::blank;

/// The first step of a teardown of a device with this many ranges.
fn opening(kind: Kind, is_outstanding: bool, ranges: u32) -> Record {
    let known = valid::DEVICE | valid::FLAG | valid::COUNT;
    Record { kind: kind as u8, valid: known, small: u16::from(is_outstanding), number: ranges, ..blank(1) }
}

fn device(kind: Kind) -> Record {
    Record { kind: kind as u8, valid: valid::DEVICE, ..blank(1) }
}

/// A record about the range with this pgmap, with `allocated` bytes outstanding.
fn range(kind: Kind, pgmap: u64, allocated: u64) -> Record {
    let start = pgmap * 0x1_0000;
    Record {
        kind: kind as u8,
        valid: valid::DEVICE | valid::RANGE | valid::PGMAP | valid::ALLOCATED,
        pgmap,
        words: [start, start + 0x1fff, allocated, 0],
        ..blank(1)
    }
}

/// State after these ranges were added.
fn with(pgmaps: &[u64]) -> Arming {
    let mut arming = Arming::new(Some((0xffff_ea00_0000_0000, 64)));
    for &pgmap in pgmaps {
        assert_eq!(arming.follow(&range(Kind::Memremap, pgmap, 0)), None);
    }
    arming
}

fn watched(arming: &Arming) -> Vec<(u64, u64)> {
    arming.ranges().map(|range| (range.pgmap, range.stage)).collect()
}

#[test]
fn arms_at_the_first_teardown_step_with_all_ranges() {
    for first in [Kind::Unbind, Kind::DriverRemove, Kind::DevresRelease] {
        let mut arming = with(&[7, 8]);
        assert_eq!(arming.follow(&opening(first, true, 2)), Some(Order::Arm), "{first:?}");
        assert_eq!(watched(&arming), [(7, stage::LISTED), (8, stage::LISTED)]);
        let range = arming.ranges().next().unwrap();
        assert_eq!((range.start, range.end), (0x7_0000, 0x7_2000));
        assert_eq!((range.page_start, range.page_end), (0xffff_ea00_0000_1c00, 0xffff_ea00_0000_1c80));
    }
}

#[test]
fn a_clean_teardown_arms_and_disarms() {
    let mut arming = with(&[7]);
    assert_eq!(arming.follow(&opening(Kind::Unbind, true, 1)), Some(Order::Arm));
    assert_eq!(arming.follow(&opening(Kind::DriverRemove, true, 1)), None);
    assert_eq!(arming.follow(&range(Kind::Kill, 7, 4096)), None);
    assert_eq!(arming.follow(&range(Kind::Drained, 7, 0)), None);
    assert_eq!(arming.follow(&range(Kind::Remove, 7, 0)), Some(Order::Arm));
    assert_eq!(watched(&arming), [(7, stage::REMOVED)]);
    assert_eq!(arming.follow(&range(Kind::Unmapped, 7, 0)), Some(Order::Disarm));
}

#[test]
fn arms_unless_one_range_and_no_outstanding_memory_are_known() {
    let mut arming = with(&[7]);
    assert_eq!(arming.follow(&opening(Kind::Unbind, false, 1)), None);
    assert_eq!(arming.follow(&range(Kind::Kill, 7, 0)), None);
    assert_eq!(arming.follow(&range(Kind::Unmapped, 7, 0)), None);
    assert_eq!(with(&[7, 8]).follow(&opening(Kind::Unbind, false, 2)), Some(Order::Arm));
    assert_eq!(with(&[7]).follow(&device(Kind::Unbind)), Some(Order::Arm));
}

/// Pages that a driver allocates itself are not counted by the pool, and by the reference count only if the driver takes references.
#[test]
fn arms_for_a_driver_that_allocates_pages_itself() {
    let bypassed = |mut record: Record, flag| {
        record.valid |= flag;
        record.small |= state::BYPASSED;
        record
    };
    // Known from the first record of the teardown, which reads the pages' operations at that moment.
    let opens = bypassed(opening(Kind::Unbind, false, 1), valid::FLAG);
    assert_eq!(with(&[7]).follow(&opens), Some(Order::Arm));
    // Known from an earlier snapshot.
    let mut arming = with(&[7]);
    let range_state = Record {
        kind: Kind::RangeState as u8,
        valid: valid::DEVICE | valid::PGMAP | valid::PHYSICAL | valid::COUNT,
        pgmap: 7,
        words: [0x7_0000, 0, 0, 0],
        number: 2,
        ..blank(1)
    };
    assert_eq!(arming.follow(&bypassed(range_state, valid::STATE)), None);
    assert_eq!(arming.follow(&opening(Kind::Unbind, false, 1)), Some(Order::Arm));
    // Known from the kill. Stays armed until the addresses are free again: a drain proves nothing here.
    let mut arming = with(&[7]);
    assert_eq!(arming.follow(&bypassed(range(Kind::Kill, 7, 0), valid::STATE)), Some(Order::Arm));
    for kind in [Kind::Drained, Kind::Remove, Kind::Unmapped] {
        assert_ne!(arming.follow(&range(kind, 7, 0)), Some(Order::Disarm), "{kind:?}");
    }
    assert_eq!(arming.follow(&device(Kind::Released)), Some(Order::Disarm));
}

#[test]
fn arms_at_the_kill_at_the_latest() {
    let mut arming = with(&[]);
    assert_eq!(arming.follow(&range(Kind::Kill, 7, 4096)), Some(Order::Arm));
    assert_eq!(watched(&arming), [(7, stage::LISTED)]);
}

#[test]
fn keeps_an_unmapped_range_while_another_range_is_left() {
    let mut arming = with(&[7, 8]);
    arming.follow(&opening(Kind::Unbind, true, 2));
    for kind in [Kind::Kill, Kind::Drained, Kind::Remove, Kind::Unmapped] {
        arming.follow(&range(kind, 8, 0));
    }
    assert_eq!(watched(&arming), [(7, stage::LISTED), (8, stage::UNMAPPED)]);
    for kind in [Kind::Kill, Kind::Drained, Kind::Remove] {
        arming.follow(&range(kind, 7, 0));
    }
    assert_eq!(arming.follow(&range(Kind::Unmapped, 7, 0)), Some(Order::Disarm));
}

#[test]
fn keeps_a_range_removed_before_its_drain_until_its_end_is_known() {
    let empty = Record { valid: valid::DEVICE | valid::COUNT, ..device(Kind::DeviceState) };
    let ends = [device(Kind::Released), device(Kind::Unbound), empty, range(Kind::Memremap, 7, 0)];
    for end in ends {
        let mut arming = with(&[7]);
        arming.follow(&opening(Kind::Unbind, true, 1));
        arming.follow(&range(Kind::Kill, 7, 4096));
        arming.follow(&range(Kind::Remove, 7, 0));
        arming.follow(&range(Kind::Drained, 7, 0));
        assert_eq!(arming.follow(&range(Kind::Unmapped, 7, 0)), Some(Order::Arm));
        assert_eq!(arming.follow(&device(Kind::Release)), Some(Order::Arm));
        assert_eq!(watched(&arming), [(7, stage::RELEASED)]);
        assert_eq!(arming.follow(&end), Some(Order::Disarm), "{:?}", end.kind());
    }
}

#[test]
fn keeps_a_range_held_after_its_removal_though_a_snapshot_finds_none() {
    let empty = Record { valid: valid::DEVICE | valid::COUNT, ..device(Kind::DeviceState) };
    let mut arming = with(&[7]);
    arming.follow(&opening(Kind::Unbind, true, 1));
    arming.follow(&range(Kind::Kill, 7, 4096));
    arming.follow(&range(Kind::Remove, 7, 0));
    arming.follow(&range(Kind::Unmapped, 7, 0));
    arming.follow(&device(Kind::Release));
    assert_ne!(arming.follow(&empty), Some(Order::Disarm));
    assert_eq!(watched(&arming), [(7, stage::RELEASED)]);
    arming.follow(&range(Kind::Drained, 7, 0));
    assert_eq!(arming.follow(&empty), Some(Order::Disarm));
}

#[test]
fn drops_a_range_whose_records_were_lost() {
    // The records of the drain and the removal are missing.
    let mut arming = with(&[7]);
    arming.follow(&opening(Kind::Unbind, true, 1));
    arming.follow(&range(Kind::Kill, 7, 4096));
    arming.follow(&range(Kind::Unmapped, 7, 0));
    assert_eq!(arming.follow(&device(Kind::Released)), Some(Order::Disarm));
}

#[test]
fn teardown_ends_with_devres_before_6_0() {
    let mut arming = with(&[7]);
    arming.follow(&opening(Kind::DriverRemove, true, 1));
    assert_eq!(arming.follow(&device(Kind::DriverRemoved)), None);
    assert_eq!(arming.follow(&device(Kind::DevresReleased)), Some(Order::Disarm));
    arming.follow(&opening(Kind::Unbind, true, 1));
    assert_eq!(arming.follow(&device(Kind::DevresReleased)), None);
    assert_eq!(arming.follow(&device(Kind::Unbound)), Some(Order::Disarm));
}

#[test]
fn learns_existing_ranges_from_a_snapshot() {
    let mut arming = with(&[]);
    let range_state = Record {
        valid: valid::DEVICE | valid::PHYSICAL | valid::PGMAP | valid::COUNT,
        number: 2,
        ..range(Kind::RangeState, 7, 0)
    };
    assert_eq!(arming.follow(&range_state), None);
    assert_eq!(arming.follow(&opening(Kind::Unbind, true, 1)), Some(Order::Arm));
    assert_eq!(watched(&arming), [(7, stage::LISTED)]);
    assert_eq!(arming.follow(&range_state), None);
    assert_eq!(arming.ranges().next().map(|range| range.end), Some(0x7_2000));
}
