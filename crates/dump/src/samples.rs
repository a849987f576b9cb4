//! A small dump for tests.

#![expect(missing_docs, reason = "the names of test values describe them")]
#![expect(clippy::unwrap_used, reason = "for tests, where a panic is a failure")]

use p2p_trace_common::{Hook, Kind, Record, Ring, hook::HOOK_SLOTS, valid};
use p2p_trace_model::{
    accounting::{HookStatus, Position, Shortfalls, Totals},
    event::user,
    pipeline::Slice,
    rules,
    stream::order::Item,
    testing::status as samples,
};

use super::{Header, Reason, Writer};

pub const MS: u64 = 1_000_000;
pub const START_NS: u64 = 5_000_000_000;

pub const fn record(position: u64, kind: Kind, hook: Hook) -> Record {
    Record {
        kind: kind as u8,
        hook: hook as u8,
        valid: valid::DEVICE | valid::PGMAP | valid::RANGE | valid::TASK,
        seq: Ring::Rare.sequence(position),
        time_ns: START_NS + position * MS,
        bus: 3,
        pgmap: 7,
        words: [0xf800_0000, 0xfbff_ffff, 0, 0],
        ..user::blank(0x0123_4567_89ab_cdef)
    }
}

pub const fn slice(items: Vec<Item>, watermark_ns: u64) -> Slice {
    Slice { items, watermark_ns }
}

/// A drain that takes 20 ms, in three slices.
pub fn slices() -> Vec<Slice> {
    let mut writer = user::Writer::new(0x0123_4567_89ab_cdef);
    let tick = |writer: &mut user::Writer, ms| Item::Record(writer.tick(START_NS + ms * MS));
    vec![
        slice(vec![Item::Record(record(0, Kind::Kill, Hook::Kill)), tick(&mut writer, 5)], START_NS + 6 * MS),
        slice(vec![tick(&mut writer, 15)], START_NS + 16 * MS),
        slice(
            vec![
                Item::Record(record(20, Kind::Drained, Hook::Drained)),
                Item::Loss(samples::LOSS),
                tick(&mut writer, 25),
                Item::Record(writer.end(START_NS + 30 * MS)),
            ],
            u64::MAX,
        ),
    ]
}

pub fn header() -> Header {
    let options = rules::Options { stall_after: std::time::Duration::from_millis(10) };
    let mut status = samples::status();
    let attached = status.hooks[0].clone();
    let hooks = [Hook::Kill, Hook::Drained, Hook::Remove].map(|hook| HookStatus { hook, ..attached.clone() });
    status.hooks = hooks.to_vec();
    Header::new(status, samples::CLOCK, START_NS, options)
}

pub fn totals() -> Totals {
    let position = |cpu, ring, head| Position { cpu, ring, head };
    Totals {
        hits: vec![1; HOOK_SLOTS],
        missed: vec![Some(0); HOOK_SLOTS],
        dropped: 0,
        shortfalls: Shortfalls::default(),
        positions: vec![position(0, Ring::Rare, 2), position(1, Ring::Hot, 3)],
        shared: 0,
    }
}

/// A dump with a block per slice.
pub fn dump() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), header()).unwrap();
    writer.symbol(0xffff_ffff_8100_0010, &"known+0x10".into()).unwrap();
    for slice in slices() {
        writer.slice(&slice).unwrap();
        writer.flush().unwrap();
    }
    writer.finish(Reason::End, 30 * MS, Some(totals())).unwrap()
}
