//! What found no room in the queue: counted, and told as a loss as soon as there is room.

use p2p_trace_common::{Kind, Record, Ring};
use p2p_trace_model::{
    event::{Loss, Reason, user},
    pipeline::Slice,
    stream::order::Item,
};

/// Changes of hooks that are kept to be told: there are few hooks, and each change takes a while.
const MAX_CHANGES: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Dropped {
    /// Per ring.
    counts: [u64; 2],
    /// First and last time.
    span: Option<(u64, u64)>,
    /// What must be told nevertheless: changes of hooks, and losses that were known before.
    kept: Vec<Item>,
}

impl Dropped {
    /// Nothing is left out.
    pub(super) fn is_empty(&self) -> bool {
        self.counts == [0, 0] && self.kept.is_empty()
    }

    /// These are left out; returns how many records that are.
    pub(super) fn add(&mut self, slices: &[Slice]) -> u64 {
        let mut count = 0;
        for item in slices.iter().flat_map(|slice| &slice.items) {
            let Some(record) = omitted(item) else {
                if self.kept.len() < MAX_CHANGES {
                    self.kept.push(*item);
                }
                continue;
            };
            if record.cpu == user::CPU {
                continue;
            }
            count += 1;
            self.counts[Ring::of_sequence(record.seq).0 as usize] += 1;
            let (from_ns, to_ns) = self.span.unwrap_or((record.time_ns, record.time_ns));
            self.span = Some((from_ns.min(record.time_ns), to_ns.max(record.time_ns)));
        }
        count
    }

    /// Says so in front of what comes next.
    pub(super) fn tell(&mut self, slice: &mut Slice) {
        if self.is_empty() {
            return;
        }
        let mut told = std::mem::take(&mut self.kept);
        let (from_ns, to_ns) = self.span.take().unwrap_or_default();
        let run = run_of(slice);
        for ring in Ring::ALL {
            let count = std::mem::take(&mut self.counts[ring as usize]);
            if count > 0 {
                let loss = Loss { reason: Reason::Unrecorded, ..Loss::skipped(ring, count, from_ns, to_ns) };
                told.push(Item::Record(user::Writer::new(run).loss(&loss)));
            }
        }
        slice.items.splice(..0, told);
    }
}

/// The record, unless it must not be left out.
const fn omitted(item: &Item) -> Option<&Record> {
    match item {
        Item::Record(record) if matches!(record.kind(), Some(Kind::Attach | Kind::Loss | Kind::End)) => None,
        Item::Record(record) => Some(record),
        Item::Loss(_) => None,
    }
}

fn run_of(slice: &Slice) -> u64 {
    let run = |item: &Item| match item {
        Item::Record(record) => Some(record.run),
        Item::Loss(_) => None,
    };
    slice.items.iter().find_map(run).unwrap_or_default()
}
