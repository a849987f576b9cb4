//! Sorts the records of one run into rings: in order, each record once, with the losses between them.

use std::{collections::BTreeMap, ops::Range};

use p2p_trace_common::{Record, Ring, slot::Sharing};
use p2p_trace_model::event::{Loss, Reason, user};

use crate::{Entry, Reader};

use super::{
    crash_image::{CpuCounters, Images, heads},
    slot::Place,
};

/// Everything found of one run.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Records, unordered, possibly with repetitions.
    pub(super) records: Vec<Record>,
    /// Records at addresses where a ring cannot hold them: copies, and every record if the dump does not
    /// preserve page alignment.
    pub(super) strays: Vec<Record>,
    /// Positions whose record was being written.
    pub(super) torn: Vec<Place>,
    /// Counters, by CPU.
    pub(super) counters: Vec<CpuCounters>,
    pub(super) images: Images,
}

/// A run of the tracer, as recovered from the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Random number of the run.
    pub run: u64,
    /// Records of the kernel side and of user space, by CPU, ring and position.
    pub records: Vec<Record>,
    /// Positions whose record was being written when the kernel stopped.
    pub torn: Vec<Place>,
    /// Records that were found again, with the same content.
    pub repeated: u64,
    /// Counters of the kernel side, for the CPUs whose counters are in the core.
    pub counters: Vec<CpuCounters>,
    /// Images of the beginning of a dump of this run, the youngest first.
    pub images: Vec<Vec<u8>>,
    /// Which CPUs share their rings.
    pub sharing: Sharing,
    /// Positions with several different records: the record at an address where a ring holds it is kept.
    pub conflicts: u64,
}

impl Recovered {
    /// Time of the youngest record, `CLOCK_BOOTTIME` in nanoseconds.
    #[must_use]
    pub fn last_ns(&self) -> u64 {
        self.records.iter().map(|record| record.time_ns).max().unwrap_or(0)
    }

    /// The key of a CPU's ring.
    pub(super) const fn ring(&self, cpu: u32, ring: Ring) -> (u32, Ring) {
        (self.sharing.of_cpu(cpu), ring)
    }

    /// Missing records from `first` on (from the beginning for rings not in `first`), as far as younger
    /// records, unfinished records and the counters show that they existed.
    pub(crate) fn losses(&self, first: &Heads) -> Vec<Loss> {
        let heads = heads(&self.counters);
        let mut rings: BTreeMap<(u32, Ring), Vec<&Record>> =
            heads.keys().map(|key| (*key, Vec::new())).collect();
        for record in self.records.iter().filter(|record| record.cpu != user::CPU) {
            rings.entry(self.ring(record.cpu, ring_of(record))).or_default().push(record);
        }
        for place in self.torn.iter().filter(|place| place.cpu != user::CPU) {
            rings.entry(self.ring(place.cpu, place.ring)).or_default();
        }
        let mut losses = Vec::new();
        for ((cpu, ring), mut records) in rings {
            // So far the records of CPUs that share the ring are sorted by CPU.
            records.sort_by_key(|record| record.seq);
            let of_ring = |place: &&Place| self.ring(place.cpu, place.ring) == (cpu, ring);
            let mut torn: Vec<_> = self.torn.iter().filter(of_ring).map(|place| place.position).collect();
            torn.sort_unstable();
            let begun = torn.iter().map(|position| position + 1);
            let head = begun.chain(heads.get(&(cpu, ring)).copied()).max().unwrap_or(0);
            let gaps = Gaps {
                cpu,
                ring,
                torn: &torn,
                first: first.get(&(cpu, ring)).copied().unwrap_or(0),
                last_ns: self.last_ns(),
            };
            gaps.find(&records, head, &mut losses);
        }
        losses
    }
}

/// A position of each ring, by the lowest CPU that writes into it.
pub(crate) type Heads = BTreeMap<(u32, Ring), u64>;

/// Sorts everything found of a run.
pub(super) fn sort(run: u64, found: Found) -> Recovered {
    let Found { mut records, mut strays, mut torn, mut counters, images } = found;
    // Stable: records in their rings stay in front of copies, and are kept.
    records.append(&mut strays);
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
    counters.sort_by_key(|counters| counters.cpu);
    counters.dedup_by_key(|counters| counters.cpu);
    let images = images.complete();
    let sharing = counters.first().map_or_else(|| sharing_of(run, &images), |counters| counters.sharing);
    Recovered { run, records, torn, repeated, counters, images, sharing, conflicts }
}

/// The sharing of rings according to the youngest image of this run; none without an image.
fn sharing_of(run: u64, images: &[Vec<u8>]) -> Sharing {
    let status = images.iter().find_map(|image| match Reader::new(image.as_slice()).next_entry() {
        Ok(Some(Entry::Header(header))) if header.status.run == run => Some(header.status),
        _ => None,
    });
    status.map_or(Sharing::NONE, |status| status.rings.sharing(status.cpus))
}

/// The ring of a record. Records of user space have no ring and count as hot.
pub(super) const fn ring_of(record: &Record) -> Ring {
    if record.cpu == user::CPU { Ring::Hot } else { Ring::of_sequence(record.seq).0 }
}

/// Looks for missing records in one ring.
struct Gaps<'a> {
    cpu: u32,
    ring: Ring,
    /// Positions whose record was being written, in order.
    torn: &'a [u64],
    /// Positions below are ignored.
    first: u64,
    last_ns: u64,
}

impl Gaps<'_> {
    fn find(&self, records: &[&Record], head: u64, losses: &mut Vec<Loss>) {
        let (mut next, mut before_ns) = (self.first, 0);
        // Records before the oldest one were overwritten; those missing in between are absent for another
        // reason.
        let mut reason = Reason::Overwritten;
        for record in records {
            let position = Ring::of_sequence(record.seq).1;
            self.lose(next..position, reason, [before_ns, record.time_ns], losses);
            next = position.saturating_add(1).max(self.first);
            before_ns = record.time_ns;
            reason = Reason::Absent;
        }
        self.lose(next..head, reason, [before_ns, self.last_ns.max(before_ns)], losses);
    }

    /// Records the positions as lost, unfinished records separately.
    fn lose(
        &self,
        positions: Range<u64>,
        reason: Reason,
        [from_ns, to_ns]: [u64; 2],
        losses: &mut Vec<Loss>,
    ) {
        let mut first = positions.start;
        let mut push = |first: u64, end: u64, reason| {
            if first < end {
                losses.push(Loss {
                    cpu: Some(self.cpu),
                    ring: self.ring,
                    first,
                    last: end - 1,
                    from_ns,
                    to_ns: to_ns.max(from_ns),
                    reason,
                    hook: None,
                });
            }
        };
        for &torn in self.torn.iter().filter(|torn| positions.contains(torn)) {
            push(first, torn, reason);
            push(torn, torn + 1, Reason::Abandoned);
            first = torn + 1;
        }
        push(first, positions.end, reason);
    }
}
