//! The events of a busy host: two CPUs, sixteen tasks of one or several programs, and allocations of one to sixteen pages at
//! random addresses, freed after a while, at irregular intervals.

use std::iter::repeat_with;

use p2p_trace_common::{Hook, Kind, Record, Ring, valid};
use p2p_trace_model::{event::user, pipeline::Slice, stream::order::Item};

/// The direct-map address of the device's memory.
const BASE: u64 = 0xffff_8890_0000_0000;
const PAGE: u64 = 4096;
/// Outstanding references, on average.
const LIVE: usize = 1000;
/// Events per slice.
const SLICE: usize = 1000;
/// The id of the run.
pub(crate) const RUN: u64 = 0x0123_4567_89ab_cdef;
/// Mean nanoseconds between two events, for ten thousand per second.
const INTERVAL: u64 = 100_000;

/// Generates the events.
pub(crate) struct Traffic {
    random: u64,
    time: u64,
    heads: [u64; 2],
    live: Vec<(u64, u64)>,
    programs: u64,
}

impl Traffic {
    /// Creates a generator for tasks of this number of programs.
    pub(crate) const fn of(programs: u64) -> Self {
        Self { random: 0x9e37_79b9_7f4a_7c15, time: 5_000_000_000, heads: [0; 2], live: Vec::new(), programs }
    }

    /// Generates `events` events.
    pub(crate) fn slices(mut self, events: usize) -> Vec<Slice> {
        repeat_with(|| self.slice()).take(events / SLICE).collect()
    }

    fn slice(&mut self) -> Slice {
        let items = repeat_with(|| Item::Record(self.record())).take(SLICE).collect();
        Slice { items, watermark_ns: self.time + 1 }
    }

    /// A random number below `bound` (xorshift64*).
    const fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % bound
    }

    fn record(&mut self) -> Record {
        self.time += 1 + self.below(2 * INTERVAL);
        let is_free = self.below(LIVE as u64) < self.live.len() as u64 / 2;
        let (cpu, task) = (self.below(2), self.below(16));
        let (kind, hook, words, bits) = if is_free {
            let index = self.below(self.live.len() as u64) as usize;
            let (addr, size) = self.live.swap_remove(index);
            let bits = valid::ADDR | valid::SIZE | valid::CALLER;
            (Kind::Free, Hook::Free, [addr, size, 0xffff_ffff_8123_5678, 0], bits)
        } else {
            let addr = BASE + self.below(1 << 18) * PAGE;
            let size = PAGE << self.below(5);
            self.live.push((addr, size));
            let bits = valid::ADDR | valid::SIZE | valid::CALLER | valid::CGROUP;
            let words = [addr, size, 0xffff_ffff_8123_4567, 4242 + task / 4];
            (Kind::Alloc, Hook::Alloc, words, bits)
        };
        let program = task % self.programs;
        let position = self.heads[cpu as usize];
        self.heads[cpu as usize] += 1;
        Record {
            kind: kind as u8,
            hook: hook as u8,
            valid: bits | valid::TASK | valid::DEVICE,
            cpu: cpu as u32,
            seq: Ring::Hot.sequence(position),
            time_ns: self.time,
            pid: 40_000 + task as u32,
            tgid: 40_000 + program as u32,
            comm: name(program),
            bus: 3,
            words,
            guard: p2p_trace_common::slot::guard(position),
            ..user::blank(RUN)
        }
    }
}

/// A task name that differs from those of other programs in most letters.
fn name(program: u64) -> [u8; 16] {
    let mut name = *b"storage-target\0\0";
    for (place, letter) in (3..17).zip(&mut name).filter(|_| program > 0) {
        *letter = b'a' + ((u64::from(*letter) + program * place) % 26) as u8;
    }
    name
}
