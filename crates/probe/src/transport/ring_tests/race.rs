//! Producers that run concurrently with the reader, interrupt each other, and stop half way.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    thread,
};

use p2p_trace_common::{Ring, slot::busy};
use p2p_trace_model::stream::Batch;
use proptest::prelude::*;

use super::{RUN, Seen, Shared, one_ring};
use crate::transport::{Rings, ring::SLOT_WORDS};

/// Number of records in a race. Miri is about a thousand times slower, and switches threads at any step.
const RECORDS: u64 = if cfg!(miri) { 40 } else { 100_000 };

/// A small random generator, so that the threads need not share one.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Produces records with interruptions nested up to `depth`, as they nest on one CPU.
fn produce_nested(shared: &Shared, cpu: u32, dice: &mut Dice, depth: u32) {
    let ring = if dice.roll(4) == 0 { Ring::Rare } else { Ring::Hot };
    shared.produce_on(cpu, ring, |_| {
        if depth == 0 || dice.roll(150) != 0 {
            return;
        }
        // Any number of interruptions, sometimes complete laps of the ring.
        let laps = dice.roll(8) == 0;
        for _ in 0..if laps { 40 } else { dice.roll(3) } {
            produce_nested(shared, cpu, dice, depth - 1);
        }
    });
}

/// Runs one thread per CPU; all CPUs share a ring, and produce with nested interruptions. They produce at full speed, except that
/// they wait while the reader is more than `lag` records behind.
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

#[test]
fn no_record_is_torn_doubled_or_unaccounted_when_the_reader_is_overtaken() {
    let seen = race(1, 8, 2 * RECORDS, u64::MAX, 0x1234_5678);
    assert!(seen.lost[0] > 0, "the ring was not small enough to test anything");
    assert!(seen.delivered[0] > 0);
}

#[test]
#[cfg_attr(miri, ignore = "a large ring takes minutes there")]
fn no_record_is_torn_doubled_or_unaccounted_when_the_reader_keeps_up() {
    let seen = race(1, 1024, RECORDS, 128, 0x8765_4321);
    assert!(seen.delivered[0] > seen.lost[0]);
}

#[test]
#[cfg_attr(miri, ignore = "a large ring takes minutes there")]
fn no_record_is_torn_doubled_or_unaccounted_when_cpus_share_a_ring() {
    let seen = race(3, 8, RECORDS, u64::MAX, 0x2345_6789);
    assert!(seen.lost[0] > 0 && seen.delivered[0] > 0);
    let seen = race(3, 1024, RECORDS, 128, 0x9876_5432);
    assert!(seen.delivered[0] > seen.lost[0]);
}

proptest! {
    /// Whatever the memory contains, reading ends, and the counts add up.
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

    /// The counts add up for any order of production and polls, with producers that stop half way.
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
