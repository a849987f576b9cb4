//! The source of records: the rings of a live kernel, drained into batches.
//!
//! A batch contains a watermark: no later record is older than that. The watermark is exact, not a guess: a producer claims its
//! position *before* it reads its clock, so a position that was not yet claimed when a ring's head was loaded belongs to a record
//! that is younger than a clock read before that load.

mod backlog;
pub mod ring;
#[cfg(test)]
mod ring_tests;
mod session;

use std::time::Duration;

use p2p_trace_common::Ring;

pub use session::{Attach, Image, Request, Session, SessionError, Stacks, StacksOf};

use crate::rings::RingPlan;
use ring::{Reader, STALL_POLL_NS, View};

use p2p_trace_model::{
    accounting::Position,
    stream::{Batch, CLOCK_SLACK_NS},
};

/// Records read from one ring before the reader switches to the next one.
const TURN: usize = 256;

/// The shared memory that holds the rings.
pub trait Memory {
    /// The ring with this number, or `None` if there is none.
    fn view(&self, number: u32, ring: Ring) -> Option<View<'_>>;
}

/// The readers of all rings.
#[derive(Debug)]
pub(crate) struct Rings {
    readers: Vec<Reader>,
    turn: usize,
}

impl Rings {
    /// Readers for the run with the random id `run`.
    pub(crate) fn new(rings: &RingPlan, run: u64) -> Self {
        let reader = |number, ring| Reader::new(number, ring, rings.sharing, run);
        let readers =
            (0..rings.count).flat_map(|number| Ring::ALL.map(|ring| reader(number, ring))).collect();
        Self { readers, turn: 0 }
    }

    /// Appends up to `budget` records to `batch` and sets its watermark.
    ///
    /// `now_ns` is `CLOCK_BOOTTIME`, read before the call: the watermark is correct only if it is not younger than the loads of the
    /// heads. With a budget of 0 no records are delivered, but stalled producers are still detected.
    pub(crate) fn poll(&mut self, memory: &impl Memory, now_ns: u64, budget: usize, batch: &mut Batch) {
        for reader in &mut self.readers {
            if let Some(view) = memory.view(reader.number, reader.ring) {
                reader.begin(&view, now_ns, now_ns.saturating_sub(CLOCK_SLACK_NS));
            }
        }
        let limit = batch.records.len().saturating_add(budget);
        let mut idle = 0;
        while idle < self.readers.len() {
            let reader = &mut self.readers[self.turn];
            let room = limit.saturating_sub(batch.records.len()).min(TURN);
            let busy =
                memory.view(reader.number, reader.ring).is_some_and(|view| reader.read(&view, room, batch));
            idle = if busy && room > 0 { 0 } else { idle + 1 };
            self.turn = (self.turn + 1) % self.readers.len();
        }
        batch.watermark_ns = self.watermark_ns();
    }

    /// The maximum time until the next poll: short while an unfinished record holds up the stream.
    pub(crate) fn next_poll(&self) -> Option<Duration> {
        let is_stalled = self.readers.iter().any(Reader::is_stalled);
        is_stalled.then_some(Duration::from_nanos(STALL_POLL_NS))
    }

    /// Reads everything that is left after the programs are detached. Records that are still being written are given up, since nothing
    /// can follow.
    pub(crate) fn finish(&mut self, memory: &impl Memory, now_ns: u64, batch: &mut Batch) {
        self.poll(memory, now_ns, usize::MAX, batch);
        for reader in &mut self.readers {
            if let Some(view) = memory.view(reader.number, reader.ring) {
                reader.finish(&view, now_ns, batch);
            }
        }
        batch.watermark_ns = u64::MAX;
    }

    /// The current position of each ring.
    pub(crate) fn positions(&self, memory: &impl Memory) -> Vec<Position> {
        let position = |reader: &Reader| {
            let (cpu, ring) = (reader.number, reader.ring);
            memory.view(cpu, ring).map(|view| Position { cpu, ring, head: view.head() })
        };
        self.readers.iter().filter_map(position).collect()
    }

    fn watermark_ns(&self) -> u64 {
        self.readers.iter().map(Reader::watermark_ns).min().unwrap_or(u64::MAX)
    }
}
