//! Records that did not fit into the queue. They are counted, and recorded as a loss once there is room.

use p2p_trace_common::{Kind, Record, Ring};
use p2p_trace_model::{
    event::{Loss, Reason, user},
    pipeline::Slice,
    stream::order::Item,
};

/// Changes of hooks that are kept at most. There are few hooks, and each change takes a while.
const MAX_CHANGES: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Dropped {
    /// The number of dropped records per ring.
    counts: [u64; 2],
    /// The times of the first and the last dropped record.
    span: Option<(u64, u64)>,
    /// Items that must not be dropped: changes of hooks, and losses.
    kept: Vec<Item>,
}

impl Dropped {
    /// Whether nothing was dropped.
    pub(super) fn is_empty(&self) -> bool {
        self.counts == [0, 0] && self.kept.is_empty()
    }

    /// Drops the records of these slices. Returns how many.
    pub(super) fn add(&mut self, slices: &[Slice]) -> u64 {
        let mut count = 0;
        for item in slices.iter().flat_map(|slice| &slice.items) {
            let Some(record) = droppable(item) else {
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

    /// Inserts the losses and the kept items before the slice.
    pub(super) fn insert_into(&mut self, slice: &mut Slice) {
        if self.is_empty() {
            return;
        }
        let mut inserted = std::mem::take(&mut self.kept);
        let (from_ns, to_ns) = self.span.take().unwrap_or_default();
        let run = run_of(slice);
        for ring in Ring::ALL {
            let count = std::mem::take(&mut self.counts[ring as usize]);
            if count > 0 {
                let loss = Loss { reason: Reason::Unrecorded, ..Loss::skipped(ring, count, from_ns, to_ns) };
                inserted.push(Item::Record(user::Writer::new(run).loss(&loss)));
            }
        }
        slice.items.splice(..0, inserted);
    }
}

/// The record, if it may be dropped.
const fn droppable(item: &Item) -> Option<&Record> {
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
