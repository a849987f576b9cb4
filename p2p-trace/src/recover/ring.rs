//! What was found of one run, as rings: in order, each record once, and what is missing between them.

use std::collections::BTreeMap;

use p2p_trace_common::{Record, Ring, slot::SLOT_SIZE};

use super::slot::Place;
use crate::{
    event::user,
    source::{Loss, Reason},
};

/// What was found of one run.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Records, in no order, some perhaps more than once.
    pub(super) records: Vec<Record>,
    /// Positions whose record was being written.
    pub(super) torn: Vec<Place>,
}

/// A run of the tracer, as the core holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Random number of the run.
    pub run: u64,
    /// What the kernel side wrote, and what user space added, by CPU, ring and position.
    pub records: Vec<Record>,
    /// What is missing between or before them.
    pub losses: Vec<Loss>,
    /// Positions whose record was being written when the kernel stopped; they are among the losses.
    pub torn: Vec<Place>,
    /// Records that were found a second time, the same.
    pub repeated: u64,
    /// Places for which different records were found; the first one is kept.
    pub conflicts: u64,
}

impl Recovered {
    /// Time of the youngest record, `CLOCK_BOOTTIME` in nanoseconds.
    #[must_use]
    pub fn last_ns(&self) -> u64 {
        self.records
            .iter()
            .map(|record| record.time_ns)
            .max()
            .unwrap_or(0)
    }

    /// Bytes of the transport that the records took.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        (self.records.len() * SLOT_SIZE) as u64
    }
}

/// One ring of one CPU: the next position that it would have given, where the core says so.
pub(super) type Heads = BTreeMap<(u32, Ring), u64>;

/// Puts what was found of a run in order. `heads` is how far the kernel side had come, as far as that is known.
pub(super) fn sort(run: u64, found: Found, heads: &Heads) -> Recovered {
    let Found {
        mut records,
        mut torn,
    } = found;
    records.sort_by_key(|record| (record.cpu, ring_of(record), record.seq));
    let (mut repeated, mut conflicts) = (0, 0);
    records.dedup_by(|next, kept| {
        let is_same = (next.cpu, next.seq) == (kept.cpu, kept.seq);
        if is_same && next == kept {
            repeated += 1;
        } else if is_same {
            conflicts += 1;
        }
        is_same
    });
    torn.sort_unstable();
    torn.dedup();
    let mut losses = Vec::new();
    let of_kernel = records.iter().filter(|record| record.cpu != user::CPU);
    let mut rings: BTreeMap<(u32, Ring), Vec<&Record>> = heads.keys().map(|key| (*key, Vec::new())).collect();
    for record in of_kernel {
        rings
            .entry((record.cpu, ring_of(record)))
            .or_default()
            .push(record);
    }
    for place in torn.iter().filter(|place| place.cpu != user::CPU) {
        rings.entry((place.cpu, place.ring)).or_default();
    }
    let last_ns = records.iter().map(|record| record.time_ns).max().unwrap_or(0);
    for ((cpu, ring), records) in rings {
        let begun = torn
            .iter()
            .filter(|place| (place.cpu, place.ring) == (cpu, ring))
            .map(|place| place.position + 1);
        let head = begun.chain(heads.get(&(cpu, ring)).copied()).max().unwrap_or(0);
        let gaps = Gaps {
            cpu,
            ring,
            torn: &torn,
            last_ns,
        };
        gaps.find(&records, head, &mut losses);
    }
    Recovered {
        run,
        records,
        losses,
        torn,
        repeated,
        conflicts,
    }
}

/// The ring that a record was in; what user space wrote has none, and counts as one.
pub(super) const fn ring_of(record: &Record) -> Ring {
    if record.cpu == user::CPU {
        Ring::Hot
    } else {
        Ring::of_sequence(record.seq).0
    }
}

/// Looks for what is missing in one ring.
struct Gaps<'a> {
    cpu: u32,
    ring: Ring,
    torn: &'a [Place],
    last_ns: u64,
}

impl Gaps<'_> {
    fn find(&self, records: &[&Record], head: u64, losses: &mut Vec<Loss>) {
        let mut next = 0;
        let mut before_ns = 0;
        for record in records {
            let position = Ring::of_sequence(record.seq).1;
            // What lies before the oldest one was overwritten; what lies between two is not there though it should be.
            let reason = if next == 0 && before_ns == 0 {
                Reason::Overwritten
            } else {
                Reason::Absent
            };
            self.lose(next..position, reason, before_ns, record.time_ns, losses);
            next = position.saturating_add(1);
            before_ns = record.time_ns;
        }
        let reason = if next == 0 {
            Reason::Overwritten
        } else {
            Reason::Absent
        };
        self.lose(next..head, reason, before_ns, self.last_ns.max(before_ns), losses);
    }

    /// Notes positions as lost, those whose record was begun and not finished by themselves.
    fn lose(
        &self,
        positions: std::ops::Range<u64>,
        reason: Reason,
        from_ns: u64,
        to_ns: u64,
        losses: &mut Vec<Loss>,
    ) {
        let mut first = positions.start;
        let mut push = |first: u64, end: u64, reason| {
            if first < end {
                losses.push(Loss {
                    cpu: self.cpu,
                    ring: self.ring,
                    first,
                    last: end - 1,
                    from_ns,
                    to_ns: to_ns.max(from_ns),
                    reason,
                });
            }
        };
        let here = |place: &&Place| (place.cpu, place.ring) == (self.cpu, self.ring);
        for place in self.torn.iter().filter(here) {
            if positions.contains(&place.position) {
                push(first, place.position, reason);
                push(place.position, place.position + 1, Reason::Abandoned);
                first = place.position + 1;
            }
        }
        push(first, positions.end, reason);
    }
}
