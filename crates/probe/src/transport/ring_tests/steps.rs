//! Step-by-step tests of the reader and its watermark.

use std::mem;

use p2p_trace_common::Ring;
use p2p_trace_model::{
    event::{
        Reason,
        words::{WORDS, Words, to_record, to_stack},
    },
    stream::Batch,
};

use super::{RUN, Shared, one_ring};
use crate::transport::{
    Rings,
    ring::{STALL_LIMIT_NS, STALL_SEEN_NS},
};

#[test]
fn rejects_a_record_of_a_cpu_with_another_ring() {
    let shared = Shared::new(8);
    shared.produce_on(1, Ring::Hot, |_| ());
    let mut batch = Batch::default();
    Rings::new(&one_ring(1), RUN).finish(&shared, 1_000_000_000, &mut batch);
    assert_eq!((batch.records.len(), batch.losses.len()), (0, 1));
    batch.clear();
    Rings::new(&one_ring(2), RUN).finish(&shared, 1_000_000_000, &mut batch);
    assert_eq!((batch.records.len(), batch.losses.len()), (1, 0));
}

#[test]
fn watermark_of_an_idle_ring_advances() {
    let shared = Shared::new(8);
    let mut rings = Rings::new(&one_ring(1), RUN);
    let mut batch = Batch::default();
    rings.poll(&shared, 5_000_000, 10, &mut batch);
    assert_eq!(
        (batch.is_empty(), batch.watermark_ns),
        (true, 5_000_000 - p2p_trace_model::stream::CLOCK_SLACK_NS)
    );
}

#[test]
fn watermark_waits_for_a_claimed_record_until_it_is_given_up() {
    let shared = Shared::new(8);
    let mut rings = Rings::new(&one_ring(1), RUN);
    let (mut batch, now) = (Batch::default(), 10_000_000_000);
    rings.poll(&shared, now, 10, &mut batch);
    let before = batch.watermark_ns;
    shared.claim(Ring::Rare);
    shared.produce(Ring::Rare, |_| ());
    rings.poll(&shared, now + 1_000_000, 10, &mut batch);
    assert_eq!((batch.records.len(), batch.watermark_ns), (0, before));
    rings.poll(&shared, now + STALL_LIMIT_NS - 1_000_000, 10, &mut batch);
    assert_eq!((batch.records.len(), batch.watermark_ns), (0, before));
    rings.poll(&shared, now + 1_000_000 + STALL_LIMIT_NS, 10, &mut batch);
    assert_eq!((batch.records.len(), batch.losses.len()), (1, 1));
    let loss = batch.losses[0];
    assert_eq!((loss.first, loss.last, loss.reason, loss.from_ns), (0, 0, Reason::Abandoned, before));
    assert!(batch.watermark_ns > before);
}

/// The reader polled just before the claim, and then not for its longest interval.
#[test]
fn a_stalled_producer_holds_up_the_stream_for_at_most_a_tenth_of_a_second() {
    const IDLE_NS: u64 = 50_000_000;
    for standing in 1..=3 {
        let shared = Shared::new(8);
        let mut rings = Rings::new(&one_ring(1), RUN);
        let (mut batch, claimed) = (Batch::default(), 10_000_000_000);
        rings.poll(&shared, claimed, 10, &mut batch);
        assert_eq!(rings.next_poll(), None);
        for _ in 0..standing {
            shared.claim(Ring::Hot);
        }
        shared.produce(Ring::Hot, |_| ());
        let mut now = claimed + IDLE_NS;
        rings.poll(&shared, now, 10, &mut batch);
        while batch.records.is_empty() {
            now += rings.next_poll().expect("it is held up").as_nanos() as u64;
            rings.poll(&shared, now, 10, &mut batch);
        }
        assert!(
            now - claimed <= 100_000_000,
            "{standing} stalled producers hold up the stream for {} ns",
            now - claimed
        );
        assert_eq!(rings.next_poll(), None);
    }
}

/// The reader itself paused, so the record was seen late.
#[test]
fn a_record_that_was_seen_late_is_not_given_up_at_once() {
    let shared = Shared::new(8);
    let mut rings = Rings::new(&one_ring(1), RUN);
    let (mut batch, now) = (Batch::default(), 10_000_000_000);
    rings.poll(&shared, now, 10, &mut batch);
    shared.claim(Ring::Hot);
    rings.poll(&shared, now + 5_000_000_000, 10, &mut batch);
    rings.poll(&shared, now + 5_000_000_000 + STALL_SEEN_NS - 1, 10, &mut batch);
    assert!(batch.losses.is_empty());
    rings.poll(&shared, now + 5_000_000_000 + STALL_SEEN_NS, 10, &mut batch);
    rings.poll(&shared, now + 5_000_000_000 + STALL_SEEN_NS + 1, 10, &mut batch);
    assert_eq!(batch.losses.len(), 1);
}

#[test]
#[cfg_attr(miri, ignore = "ten thousand records take minutes there")]
fn backlog_bounds_the_age_of_unread_records() {
    let shared = Shared::new(1 << 14);
    let mut rings = Rings::new(&one_ring(1), RUN);
    let mut batch = Batch::default();
    for _ in 0..10_000 {
        shared.produce(Ring::Hot, |_| ());
    }
    let mut last = 0;
    while batch.records.len() < 10_000 {
        let read = batch.records.len();
        rings.poll(&shared, shared.now(), 500, &mut batch);
        let next_ns = batch.records.last().map_or(0, |record| record.time_ns);
        let behind = next_ns.saturating_sub(300 * 1_000_000);
        assert!(batch.watermark_ns > behind, "{read} read: {} <= {behind}", batch.watermark_ns);
        assert!(
            batch.records[read..].iter().all(|record| record.time_ns >= last),
            "older than the watermark"
        );
        last = batch.watermark_ns;
    }
}

#[test]
#[cfg_attr(miri, ignore = "ten thousand records take minutes there")]
fn an_unwritten_record_in_the_backlog_holds_the_watermark() {
    let shared = Shared::new(1 << 14);
    let mut rings = Rings::new(&one_ring(1), RUN);
    let mut batch = Batch::default();
    let produce = |count| (0..count).for_each(|_| shared.produce(Ring::Hot, |_| ()));
    produce(3000);
    let claimed_ns = shared.now();
    // Claimed first, but written only after all records that follow it.
    shared.produce(Ring::Hot, |step| {
        if step == 0 {
            produce(7000);
            rings.poll(&shared, shared.now(), usize::MAX, &mut batch);
            assert_eq!(batch.records.len(), 3000);
            assert!(batch.watermark_ns <= claimed_ns);
        }
    });
}

#[test]
fn a_budget_of_zero_delivers_and_loses_no_records() {
    let shared = Shared::new(8);
    let mut rings = Rings::new(&one_ring(1), RUN);
    let mut batch = Batch::default();
    rings.poll(&shared, 1_000_000_000, 0, &mut batch);
    let before = batch.watermark_ns;
    shared.produce(Ring::Hot, |_| ());
    rings.poll(&shared, 2_000_000_000, 0, &mut batch);
    assert_eq!((batch.is_empty(), batch.watermark_ns), (true, before));
    rings.poll(&shared, 3_000_000_000, 1, &mut batch);
    assert_eq!(batch.records.len(), 1);
}

#[test]
fn rejects_a_record_of_another_run() {
    let shared = Shared::new(8);
    shared.produce(Ring::Hot, |_| ());
    let mut rings = Rings::new(&one_ring(1), RUN + 1);
    let mut batch = Batch::default();
    rings.finish(&shared, 1_000_000_000, &mut batch);
    assert_eq!(
        batch.losses.iter().map(|loss| (loss.count(), loss.reason)).collect::<Vec<_>>(),
        [(1, Reason::Corrupt)]
    );
}

#[test]
fn words_are_the_bytes_of_the_record() {
    let words: Words = std::array::from_fn(|index| (index as u64 + 1) * 0x0102_0304_0506_0708);
    let record = to_record(&words);
    // SAFETY: both are 120 bytes of plain integers without padding.
    let bytes: [u64; WORDS] = unsafe { mem::transmute(record) };
    assert_eq!(bytes, words);
    // SAFETY: as above.
    let bytes: [u64; WORDS] = unsafe { mem::transmute(to_stack(&words)) };
    assert_eq!(bytes, words);
}
