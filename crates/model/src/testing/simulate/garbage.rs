//! Streams of arbitrary elements.

use p2p_trace_common::{Record, Ring, hook::HOOKS};
use proptest::prelude::*;

use crate::{
    event::{Loss, Reason, decode, user},
    stream::assemble::Element,
};

/// Few enough values that they collide, including the extremes.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        0u64..6,
        (0u64..40).prop_map(|page| 0xffff_8880_0000_0000 + page * 0x1000),
        (0u64..40).prop_map(|page| 0xffff_ea00_0000_0000 + page * 64),
        (0u64..20).prop_map(|back| u64::MAX - back * 0x800),
        any::<u64>(),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let kind = prop_oneof![1u8..30, 128u8..135];
    let number = prop_oneof![0u32..5, any::<u32>()];
    let small = prop_oneof![0u16..16, any::<u16>()];
    (
        (kind, 0..HOOKS as u8, any::<u32>(), 0u64..50),
        (0u32..4, 0u8..2, 0u64..4),
        [word(), word(), word(), word()],
        (number, small, any::<bool>()),
    )
        .prop_map(|((kind, hook, valid, time), (pid, bus, pgmap), words, (number, small, late))| {
            Record {
                kind,
                hook,
                valid: valid | p2p_trace_common::valid::DEVICE,
                cpu: if kind >= 128 { user::CPU } else { 0 },
                time_ns: if late { u64::MAX - time } else { time * 300_000_000 },
                pid,
                tgid: pid,
                bus,
                pgmap,
                words,
                number,
                small,
                ..user::blank(7)
            }
        })
}

/// Any element of a stream.
pub fn element() -> impl Strategy<Value = Element> {
    let loss =
        (any::<bool>(), word(), word(), word(), word()).prop_map(|(hot, first, last, from_ns, to_ns)| {
            Element::Loss(Loss {
                cpu: Some(0),
                ring: if hot { Ring::Hot } else { Ring::Rare },
                first,
                last,
                from_ns,
                to_ns,
                reason: Reason::Corrupt,
                hook: None,
            })
        });
    let record = record().prop_map(|record| match decode::decode(&record) {
        _ if record.cpu == user::CPU => Element::User(record),
        Ok(event) => Element::Event(Box::new(event)),
        Err(error) => Element::Unknown(error),
    });
    prop_oneof![1 => loss, 20 => record]
}
