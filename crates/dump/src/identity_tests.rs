//! Everything that is written is read back, in the same order.

use p2p_trace_common::{Record, Ring};
use p2p_trace_model::{
    event::{
        Loss, Reason as LossReason,
        words::{WORDS, to_record},
    },
    pipeline::Slice,
    stream::order::Item,
};
use proptest::prelude::*;

use super::{Opened, Reason, RunItem, RunReader, Writer, samples::header};

fn record() -> impl Strategy<Value = Item> {
    prop::array::uniform15(any::<u64>()).prop_map(|words: [u64; WORDS]| {
        let record = to_record(&words);
        Item::Record(Record { magic: p2p_trace_common::record::MAGIC, ..record })
    })
}

fn loss() -> impl Strategy<Value = Item> {
    let ring = prop::sample::select(&Ring::ALL[..]);
    let reason = prop::sample::select(&LossReason::ALL[..]);
    (
        prop::option::of(0..p2p_trace_model::event::user::CPU),
        ring,
        0..1u64 << 62,
        0..1u64 << 20,
        any::<(u64, u64)>(),
        reason,
    )
        .prop_map(|(cpu, ring, first, more, (from_ns, to_ns), reason)| {
            Item::Loss(Loss { cpu, ring, first, last: first + more, from_ns, to_ns, reason, hook: None })
        })
}

fn slice() -> impl Strategy<Value = Slice> {
    let item = prop_oneof![8 => record(), 1 => loss()];
    (prop::collection::vec(item, 0..20), any::<u64>())
        .prop_map(|(items, watermark_ns)| Slice { items, watermark_ns })
}

/// The slices as they are read back: slices without items are merged into the slice before them.
fn joined(slices: &[(Slice, bool)]) -> Vec<Slice> {
    let mut joined: Vec<Slice> = Vec::new();
    let mut is_new = true;
    for (slice, flush) in slices {
        match joined.last_mut() {
            Some(last) if slice.items.is_empty() && !is_new => last.watermark_ns = slice.watermark_ns,
            _ => joined.push(slice.clone()),
        }
        is_new = *flush;
    }
    joined
}

proptest! {
    #[test]
    fn written_slices_are_read_back(slices in prop::collection::vec((slice(), any::<bool>()), 0..20)) {
        let mut writer = Writer::new(Vec::new(), header()).unwrap();
        for (slice, flush) in &slices {
            writer.slice(slice).unwrap();
            if *flush {
                writer.flush().unwrap();
            }
        }
        let bytes = writer.finish(Reason::End, 7, None).unwrap();
        let mut reader = RunReader::new(vec![Opened::open(&bytes[..]).unwrap()]).unwrap();
        let mut read = Vec::new();
        while let Some(item) = reader.next_item().unwrap() {
            match item {
                RunItem::Slice(slice) => read.push(slice),
                RunItem::End(_) => {}
                other => prop_assert!(false, "{other:?}"),
            }
        }
        prop_assert_eq!(read, joined(&slices));
        prop_assert_eq!(reader.damage(), &[]);
    }
}
