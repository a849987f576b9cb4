//! Readers of both transports, and the test of a record's content.

use std::{
    collections::HashSet,
    sync::atomic::{Ordering::Acquire, fence},
};

use aya::maps::{MapData, RingBuf};

use crate::kernel::{Kernel, SLOT};

const BUSY: u64 = 1 << 63;
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// A record's 15 words after the transport header.
pub type Body = [u64; 15];

/// What a reader has seen. `delivered + lost` is every position once the producers have stopped.
#[derive(Debug, Default, Clone, Copy)]
pub struct Seen {
    pub delivered: u64,
    /// Positions overwritten before they could be copied.
    pub overwritten: u64,
    /// Copies that were thrown away since header or guard changed under them.
    pub torn_caught: u64,
    /// Records delivered whose content does not fit its checksum.
    pub torn_delivered: u64,
    pub wrong_seq: u64,
    pub duplicates: u64,
    pub late: u64,
    pub sum: u64,
}

/// Whether the content is what one program wrote in one run.
pub fn is_whole(b: &Body) -> bool {
    let mut sum = 0u64;
    // The words as the producer mixes them: kind|magic, cpu|valid, run, seq, time, pid|tgid, comm, domain.., arg, payload.
    for w in [
        b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
    ] {
        sum = (sum ^ w).wrapping_mul(MIX);
    }
    sum == b[13]
}

/// Follows one CPU's part of the array.
pub struct Follower {
    cpu: usize,
    /// The next position never looked at.
    next: u64,
    /// Positions passed over since they were not committed yet.
    holes: Vec<u64>,
    checks: bool,
    seqs: HashSet<u64>,
    pub seen: Seen,
}

enum Slot {
    Committed(Body),
    Pending,
    Overwritten,
}

impl Follower {
    /// Follows CPU `cpu` from position `next` on.
    pub fn new(cpu: usize, next: u64, checks: bool) -> Self {
        Self {
            cpu,
            next,
            holes: Vec::new(),
            checks,
            seqs: HashSet::new(),
            seen: Seen::default(),
        }
    }

    fn read(&mut self, k: &Kernel, pos: u64) -> Slot {
        let at = (self.cpu as u64 * k.per_cpu + (pos & (k.per_cpu - 1))) as usize * SLOT;
        let header = k.slots.word(at);
        let position = header & !BUSY;
        if position > pos + 1 {
            return Slot::Overwritten;
        }
        if header != pos + 1 {
            return Slot::Pending;
        }
        fence(Acquire);
        let body: Body = std::array::from_fn(|i| k.slots.word(at + 8 + i * 8));
        fence(Acquire);
        if k.slots.word(at) != header || (body[14] >> 32) as u32 != pos as u32 {
            self.seen.torn_caught += 1;
            return Slot::Overwritten;
        }
        Slot::Committed(body)
    }

    fn deliver(&mut self, pos: u64, body: &Body) {
        self.seen.delivered += 1;
        self.seen.sum = self.seen.sum.wrapping_add(body[3]);
        if self.checks {
            self.seen.torn_delivered += u64::from(!is_whole(body));
            self.seen.wrong_seq += u64::from(body[3] != pos);
            self.seen.duplicates += u64::from(!self.seqs.insert(body[3]));
        }
    }

    /// Reads what is there; returns whether anything was.
    pub fn poll(&mut self, k: &Kernel) -> bool {
        let head = k.head(self.cpu);
        fence(Acquire);
        let before = self.next;
        for pos in std::mem::take(&mut self.holes) {
            match self.read(k, pos) {
                Slot::Committed(body) => {
                    self.seen.late += 1;
                    self.deliver(pos, &body);
                }
                Slot::Overwritten => self.seen.overwritten += 1,
                Slot::Pending if head > pos + k.per_cpu => self.seen.overwritten += 1,
                Slot::Pending => self.holes.push(pos),
            }
        }
        if head > self.next + k.per_cpu {
            // Lapped: start again at what is still there, with an eighth as margin.
            let to = head - k.per_cpu + k.per_cpu / 8;
            self.seen.overwritten += to - self.next;
            self.next = to;
        }
        while self.next < head {
            match self.read(k, self.next) {
                Slot::Committed(body) => self.deliver(self.next, &body),
                Slot::Pending => self.holes.push(self.next),
                Slot::Overwritten => self.seen.overwritten += 1,
            }
            self.next += 1;
        }
        self.next != before
    }

    /// Positions that were never committed.
    pub fn unresolved(&self) -> u64 {
        self.holes.len() as u64
    }
}

/// Reads the BPF ring buffer; `checks` keeps a set of (cpu, seq).
pub fn drain_ring(
    ring: &mut RingBuf<MapData>,
    checks: bool,
    seqs: &mut HashSet<u64>,
    seen: &mut Seen,
) -> u64 {
    let mut read = 0;
    while let Some(item) = ring.next() {
        read += 1;
        seen.delivered += 1;
        if item.len() != 120 {
            seen.torn_delivered += 1;
            continue;
        }
        // SAFETY: 120 bytes, 8-byte aligned by the ring buffer's format.
        let body: Body = unsafe { item.as_ptr().cast::<Body>().read() };
        seen.sum = seen.sum.wrapping_add(body[3]);
        if checks {
            seen.torn_delivered += u64::from(!is_whole(&body));
            seen.wrong_seq += u64::from((body[14] >> 32) as u32 != body[3] as u32);
            seen.duplicates += u64::from(!seqs.insert(body[1] >> 32 << 56 | body[3]));
        }
    }
    read
}
