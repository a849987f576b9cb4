//! Tests the reader against a model of the producers: each record is delivered complete or counted as lost.

mod race;
mod steps;

use std::{
    iter::repeat_with,
    sync::atomic::{AtomicU64, Ordering},
};

use p2p_trace_common::{
    Kind, Record, Ring,
    slot::{Sharing, busy, committed, guard},
};
use p2p_trace_model::{
    event::{
        user,
        words::{WORDS, from_record},
    },
    stream::Batch,
};

use super::{
    Memory,
    ring::{SLOT_WORDS, View},
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

    /// The words of a record whose content can be recomputed from its position and time.
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

    /// Writes a record. `interrupt` may run before each step, as another program on the same CPU would.
    fn produce(&self, ring: Ring, interrupt: impl FnMut(usize)) {
        self.produce_on(0, ring, interrupt);
    }

    /// As [`Shared::produce`], on this CPU.
    fn produce_on(&self, cpu: u32, ring: Ring, mut interrupt: impl FnMut(usize)) {
        let position = self.claim(ring);
        interrupt(0);
        let slot = self.slot(ring, position);
        let before = slot[0].load(Ordering::Relaxed);
        // The slot is in use by another producer, or has a younger record: drop. Positions are below the busy bit.
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

/// Counts of delivered and lost records, with checks of their content.
#[derive(Default)]
struct Seen {
    delivered: [u64; 2],
    lost: [u64; 2],
    next: [u64; 2],
    watermark_ns: u64,
}

impl Seen {
    /// Checks that positions increase, records are not torn, and no record is older than an earlier watermark.
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
        assert!(batch.watermark_ns >= self.watermark_ns, "the watermark decreased");
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

/// One pair of rings that all CPUs share.
fn one_ring(cpus: u32) -> RingPlan {
    RingPlan { cpus, sharing: Sharing::new(1, cpus), count: 1, slots: [8, 8] }
}
