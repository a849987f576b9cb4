use super::*;
use p2p_trace_model::event::user::blank;

/// As a device with memory out, in two ranges, begins to be torn down.
fn opening(kind: Kind, is_outstanding: bool, ranges: u32) -> Record {
    let known = valid::DEVICE | valid::FLAG | valid::COUNT;
    Record { kind: kind as u8, valid: known, small: u16::from(is_outstanding), number: ranges, ..blank(1) }
}

fn device(kind: Kind) -> Record {
    Record { kind: kind as u8, valid: valid::DEVICE, ..blank(1) }
}

/// A step of the range of this pgmap, with so much out of it.
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

/// With these ranges.
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
fn it_is_armed_at_the_first_step_with_every_range_of_the_device() {
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
fn one_range_and_nothing_out_arms_nothing_and_what_is_not_known_does() {
    let mut arming = with(&[7]);
    assert_eq!(arming.follow(&opening(Kind::Unbind, false, 1)), None);
    assert_eq!(arming.follow(&range(Kind::Kill, 7, 0)), None);
    assert_eq!(arming.follow(&range(Kind::Unmapped, 7, 0)), None);
    assert_eq!(with(&[7, 8]).follow(&opening(Kind::Unbind, false, 2)), Some(Order::Arm));
    assert_eq!(with(&[7]).follow(&device(Kind::Unbind)), Some(Order::Arm));
}

/// What a driver hands out itself is in no pool's count, nor in the count of references unless it wants to.
#[test]
fn a_driver_that_hands_out_pages_itself_arms_with_nothing_taken() {
    let told = |mut record: Record, flag| {
        record.valid |= flag;
        record.small |= state::BYPASSED;
        record
    };
    // By what opens the teardown, which is told so by the pages' operations at that moment.
    let opens = told(opening(Kind::Unbind, false, 1), valid::FLAG);
    assert_eq!(with(&[7]).follow(&opens), Some(Order::Arm));
    // By a pull read before it.
    let mut arming = with(&[7]);
    let snapshot_end = Record {
        kind: Kind::RangeState as u8,
        valid: valid::DEVICE | valid::PGMAP | valid::PHYSICAL | valid::COUNT,
        pgmap: 7,
        words: [0x7_0000, 0, 0, 0],
        number: 2,
        ..blank(1)
    };
    assert_eq!(arming.follow(&told(snapshot_end, valid::STATE)), None);
    assert_eq!(arming.follow(&opening(Kind::Unbind, false, 1)), Some(Order::Arm));
    // By the kill, and until its addresses are free again: that it has drained says nothing.
    let mut arming = with(&[7]);
    assert_eq!(arming.follow(&told(range(Kind::Kill, 7, 0), valid::STATE)), Some(Order::Arm));
    for kind in [Kind::Drained, Kind::Remove, Kind::Unmapped] {
        assert_ne!(arming.follow(&range(kind, 7, 0)), Some(Order::Disarm), "{kind:?}");
    }
    assert_eq!(arming.follow(&device(Kind::Released)), Some(Order::Disarm));
}

#[test]
fn the_kill_arms_at_the_latest() {
    let mut arming = with(&[]);
    assert_eq!(arming.follow(&range(Kind::Kill, 7, 4096)), Some(Order::Arm));
    assert_eq!(watched(&arming), [(7, stage::LISTED)]);
}

#[test]
fn the_pool_points_to_a_range_that_is_gone_as_long_as_another_one_is_left() {
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
fn a_range_removed_before_its_drain_stays_watched_until_something_shows_that_it_is_gone() {
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
fn a_range_that_is_still_held_behind_its_removal_stays_watched_though_a_read_finds_none() {
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
fn a_range_of_which_records_were_lost_is_let_go() {
    // The drain is not seen, nor the removal.
    let mut arming = with(&[7]);
    arming.follow(&opening(Kind::Unbind, true, 1));
    arming.follow(&range(Kind::Kill, 7, 4096));
    arming.follow(&range(Kind::Unmapped, 7, 0));
    assert_eq!(arming.follow(&device(Kind::Released)), Some(Order::Disarm));
}

#[test]
fn before_6_0_a_teardown_ends_with_its_resources() {
    let mut arming = with(&[7]);
    arming.follow(&opening(Kind::DriverRemove, true, 1));
    assert_eq!(arming.follow(&device(Kind::DriverRemoved)), None);
    assert_eq!(arming.follow(&device(Kind::DevresReleased)), Some(Order::Disarm));
    arming.follow(&opening(Kind::Unbind, true, 1));
    assert_eq!(arming.follow(&device(Kind::DevresReleased)), None);
    assert_eq!(arming.follow(&device(Kind::Unbound)), Some(Order::Disarm));
}

#[test]
fn a_pull_read_tells_the_ranges_that_were_there_before() {
    let mut arming = with(&[]);
    let snapshot_end = Record {
        valid: valid::DEVICE | valid::PHYSICAL | valid::PGMAP | valid::COUNT,
        number: 2,
        ..range(Kind::RangeState, 7, 0)
    };
    assert_eq!(arming.follow(&snapshot_end), None);
    assert_eq!(arming.follow(&opening(Kind::Unbind, true, 1)), Some(Order::Arm));
    assert_eq!(watched(&arming), [(7, stage::LISTED)]);
    assert_eq!(arming.follow(&snapshot_end), None);
    assert_eq!(arming.ranges().next().map(|range| range.end), Some(0x7_2000));
}
