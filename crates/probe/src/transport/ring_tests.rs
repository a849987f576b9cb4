//! The reader against a model of the producers: everything is delivered whole or counted as lost.

use std::{
    iter::repeat_with,
    mem,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    thread,
};

use p2p_trace_common::{
    Kind, Record, Ring,
    slot::{Sharing, busy, committed, guard},
};
use p2p_trace_model::{
    event::{
        Reason, user,
        words::{WORDS, Words, from_record, to_record, to_stack},
    },
    stream::Batch,
};
use proptest::prelude::*;

use super::{
    Memory, Rings,
    ring::{SLOT_WORDS, STALL_LIMIT_NS, STALL_SEEN_NS, View},
};
use crate::rings::RingPlan;

const RUN: u64 = 0xfeed;

/// One CPU's two rings.
struct Shared {
    slots: [Vec<AtomicU64>; 2],
    heads: [AtomicU64; 2],
    clock: AtomicU64,
}

impl Shared {
    fn new(slots: usize) -> Self {
        let ring = || repeat_with(AtomicU64::default).take(slots * SLOT_WORDS).collect();
        Self { slots: [ring(), ring()], heads: Default::default(), clock: AtomicU64::new(1) }
    }

    fn now(&self) -> u64 {
        // Far enough apart that the reader's slack for clocks does not matter.
        self.clock.fetch_add(1_000_000, Ordering::SeqCst)
    }

    fn claim(&self, ring: Ring) -> u64 {
        self.heads[ring as usize].fetch_add(1, Ordering::SeqCst)
    }

    fn slot(&self, ring: Ring, position: u64) -> &[AtomicU64] {
        let slots = &self.slots[ring as usize];
        let count = slots.len() / SLOT_WORDS;
        let start = position as usize % count * SLOT_WORDS;
        &slots[start..start + SLOT_WORDS]
    }

    /// The words of a record from which its content can be recomputed.
    fn words(&self, cpu: u32, ring: Ring, position: u64) -> [u64; WORDS] {
        let time_ns = self.now();
        let mix = time_ns.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ position;
        let record = Record {
            kind: Kind::Alloc as u8,
            cpu,
            seq: ring.sequence(position),
            time_ns,
            pgmap: mix,
            words: [mix; 4],
            guard: guard(position),
            ..user::blank(RUN)
        };
        from_record(&record)
    }

    /// Writes a record; `interrupt` may run before each step, as another program on the same CPU would.
    fn produce(&self, ring: Ring, interrupt: impl FnMut(usize)) {
        self.produce_on(0, ring, interrupt);
    }

    /// As [`Shared::produce`], on a CPU.
    fn produce_on(&self, cpu: u32, ring: Ring, mut interrupt: impl FnMut(usize)) {
        let position = self.claim(ring);
        interrupt(0);
        let slot = self.slot(ring, position);
        let before = slot[0].load(Ordering::Relaxed);
        // Still another's, or a younger one's: dropped. Positions are below the busy bit.
        let free = before <= position
            && slot[0].compare_exchange(before, busy(position), Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if !free {
            return;
        }
        let words = self.words(cpu, ring, position);
        for (index, word) in words.into_iter().enumerate() {
            interrupt(index + 1);
            slot[index + 1].store(word, Ordering::Release);
        }
        interrupt(SLOT_WORDS);
        slot[0].store(committed(position), Ordering::Release);
    }
}

impl Memory for Shared {
    fn view(&self, _cpu: u32, ring: Ring) -> Option<View<'_>> {
        View::new(&self.slots[ring as usize], &self.heads[ring as usize])
    }
}

/// What was read, and that it is whole.
#[derive(Default)]
struct Seen {
    delivered: [u64; 2],
    lost: [u64; 2],
    next: [u64; 2],
    watermark_ns: u64,
}

impl Seen {
    /// Positions only move on, records are whole, nothing is older than an earlier watermark.
    fn check(&mut self, batch: &mut Batch) {
        for record in &batch.records {
            let (ring, position) = Ring::of_sequence(record.seq);
            let mix = record.time_ns.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ position;
            assert_eq!(record.words, [mix; 4], "torn");
            assert_eq!(record.pgmap, mix, "torn");
            assert!(record.time_ns >= self.watermark_ns, "older than the watermark");
            assert!(position >= self.next[ring as usize], "delivered twice");
            self.next[ring as usize] = position + 1;
            self.delivered[ring as usize] += 1;
        }
        for loss in &batch.losses {
            assert!(loss.first <= loss.last && loss.from_ns <= loss.to_ns);
            assert!(loss.from_ns >= self.watermark_ns, "a loss older than the watermark");
            self.lost[loss.ring as usize] += loss.count();
        }
        assert!(batch.watermark_ns >= self.watermark_ns, "the watermark went back");
        self.watermark_ns = batch.watermark_ns;
        batch.clear();
    }

    fn complete(&self, shared: &Shared) {
        for ring in Ring::ALL {
            let index = ring as usize;
            let head = shared.heads[index].load(Ordering::SeqCst);
            assert_eq!(self.delivered[index] + self.lost[index], head, "{ring:?}");
        }
    }
}

/// A small generator, so that the threads need no common one.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Produces with interruptions nested up to `depth` deep, as they nest on one CPU.
fn produce_nested(shared: &Shared, cpu: u32, dice: &mut Dice, depth: u32) {
    let ring = if dice.roll(4) == 0 { Ring::Rare } else { Ring::Hot };
    shared.produce_on(cpu, ring, |_| {
        if depth == 0 || dice.roll(150) != 0 {
            return;
        }
        // As many as come, whole laps of the ring among them.
        let laps = dice.roll(8) == 0;
        for _ in 0..if laps { 40 } else { dice.roll(3) } {
            produce_nested(shared, cpu, dice, depth - 1);
        }
    });
}

/// A real thread for each of so many CPUs that share a ring produces, with nested interruptions: as fast as it can, or waiting for the
/// reader whenever that is `lag` records behind.
fn race(cpus: u32, slots: usize, records: u64, lag: u64, seed: u64) -> Seen {
    let shared = Shared::new(slots);
    let (running, read) = (AtomicU32::new(cpus), AtomicU64::new(0));
    let mut rings = Rings::new(&one_ring(cpus), RUN);
    let (mut seen, mut batch) = (Seen::default(), Batch::default());
    let produce = |cpu: u32| {
        let mut dice = Dice(seed + u64::from(cpu));
        while shared.heads[0].load(Ordering::Relaxed) < records {
            produce_nested(&shared, cpu, &mut dice, 3);
            let behind =
                || shared.heads[0].load(Ordering::Relaxed).saturating_sub(read.load(Ordering::Relaxed));
            while behind() > lag {
                thread::yield_now();
            }
        }
        running.fetch_sub(1, Ordering::SeqCst);
    };
    thread::scope(|scope| {
        for cpu in 0..cpus {
            let produce = &produce;
            scope.spawn(move || produce(cpu));
        }
        while running.load(Ordering::SeqCst) > 0 {
            rings.poll(&shared, shared.now(), 100, &mut batch);
            seen.check(&mut batch);
            read.store(seen.delivered[0] + seen.lost[0], Ordering::Relaxed);
        }
    });
    rings.finish(&shared, shared.now(), &mut batch);
    seen.check(&mut batch);
    seen.complete(&shared);
    seen
}

/// One pair of rings for so many CPUs.
fn one_ring(cpus: u32) -> RingPlan {
    RingPlan { cpus, sharing: Sharing::new(1, cpus), count: 1, slots: [8, 8] }
}

#[test]
fn nothing_is_torn_doubled_or_unaccounted_while_the_reader_is_overtaken() {
    let seen = race(1, 8, 200_000, u64::MAX, 0x1234_5678);
    assert!(seen.lost[0] > 0, "the ring was not small enough to test anything");
    assert!(seen.delivered[0] > 0);
}

#[test]
fn nothing_is_torn_doubled_or_unaccounted_while_the_reader_keeps_up() {
    let seen = race(1, 1024, 100_000, 128, 0x8765_4321);
    assert!(seen.delivered[0] > seen.lost[0]);
}

#[test]
fn nothing_is_torn_doubled_or_unaccounted_where_cpus_share_a_ring() {
    let seen = race(3, 8, 100_000, u64::MAX, 0x2345_6789);
    assert!(seen.lost[0] > 0 && seen.delivered[0] > 0);
    let seen = race(3, 1024, 100_000, 128, 0x9876_5432);
    assert!(seen.delivered[0] > seen.lost[0]);
}

#[test]
fn a_record_of_a_cpu_that_does_not_write_there_is_no_record() {
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
fn an_idle_ring_lets_time_pass() {
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
fn a_claimed_record_holds_the_watermark_until_it_is_given_up() {
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

/// A reader that looked just before, and then not for as long as it does at most.
#[test]
fn whoever_stands_still_holds_the_stream_for_a_tenth_of_a_second_at_most() {
    const IDLE_NS: u64 = 50_000_000;
    for standing in 1..=3 {
        let shared = Shared::new(8);
        let mut rings = Rings::new(&one_ring(1), RUN);
        let (mut batch, claimed) = (Batch::default(), 10_000_000_000);
        rings.poll(&shared, claimed, 10, &mut batch);
        assert_eq!(rings.next_look(), None);
        for _ in 0..standing {
            shared.claim(Ring::Hot);
        }
        shared.produce(Ring::Hot, |_| ());
        let mut now = claimed + IDLE_NS;
        rings.poll(&shared, now, 10, &mut batch);
        while batch.records.is_empty() {
            now += rings.next_look().expect("it is held up").as_nanos() as u64;
            rings.poll(&shared, now, 10, &mut batch);
        }
        assert!(
            now - claimed <= 100_000_000,
            "{standing} standing producers hold it for {} ns",
            now - claimed
        );
        assert_eq!(rings.next_look(), None);
    }
}

/// It was the reader that did not look for long.
#[test]
fn what_is_seen_late_has_its_time() {
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
fn whoever_is_far_behind_need_not_read_all_of_it_to_know_how_old_the_rest_is() {
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
        assert!(batch.records[read..].iter().all(|record| record.time_ns >= last), "older than was promised");
        last = batch.watermark_ns;
    }
}

#[test]
fn what_is_not_written_yet_is_as_old_as_it_may_be() {
    let shared = Shared::new(1 << 14);
    let mut rings = Rings::new(&one_ring(1), RUN);
    let mut batch = Batch::default();
    let produce = |count| (0..count).for_each(|_| shared.produce(Ring::Hot, |_| ()));
    produce(3000);
    let claimed_ns = shared.now();
    // It is claimed, and writes when everything behind it has.
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
fn a_budget_of_nothing_delivers_nothing_and_loses_nothing() {
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
fn a_record_of_another_run_is_no_record() {
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

proptest! {
    /// Whatever lies in the memory, reading ends, and adds up.
    #[test]
    fn garbage_is_counted(
        words in proptest::collection::vec(
            prop_oneof![any::<u64>(), 0u64..40, (0u64..40).prop_map(busy)], 8 * SLOT_WORDS
        ),
        head in 0u64..60,
    ) {
        let shared = Shared::new(8);
        for (shared, word) in shared.slots[0].iter().zip(words) {
            shared.store(word, Ordering::Relaxed);
        }
        shared.heads[0].store(head, Ordering::Relaxed);
        let mut rings = Rings::new(&one_ring(1), RUN);
        let (mut seen, mut batch) = (Seen::default(), Batch::default());
        rings.poll(&shared, 1_000_000_000, 100, &mut batch);
        seen.check(&mut batch);
        rings.finish(&shared, 2_000_000_000, &mut batch);
        seen.check(&mut batch);
        seen.complete(&shared);
    }

    /// However production and polls follow each other, with producers stopped half way.
    #[test]
    fn any_sequence_of_steps_adds_up(steps in proptest::collection::vec((0u8..4, any::<bool>()), 0..200)) {
        let shared = Shared::new(8);
        let mut rings = Rings::new(&one_ring(1), RUN);
        let (mut seen, mut batch) = (Seen::default(), Batch::default());
        for (step, rare) in steps {
            let ring = if rare { Ring::Rare } else { Ring::Hot };
            match step {
                0 | 1 => shared.produce(ring, |_| ()),
                2 => drop(shared.claim(ring)),
                _ => {
                    rings.poll(&shared, shared.now(), 5, &mut batch);
                    seen.check(&mut batch);
                }
            }
        }
        rings.finish(&shared, shared.now(), &mut batch);
        seen.check(&mut batch);
        seen.complete(&shared);
    }
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
