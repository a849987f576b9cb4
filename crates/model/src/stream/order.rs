//! Sorts the records of all CPUs by time. Records are held until the watermark guarantees that no older one
//! can follow.

use p2p_trace_common::{Kind, Record};

use crate::{
    event::{Loss, user},
    stream::Batch,
};

/// One element of the ordered stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// A record.
    Record(Record),
    /// Lost records, placed at the earliest time at which they can have been written.
    Loss(Loss),
}

impl Item {
    /// The sort key of an item.
    #[must_use]
    pub const fn time_ns(&self) -> u64 {
        match self {
            Self::Record(record) => record.time_ns,
            Self::Loss(loss) => loss.from_ns,
        }
    }

    /// A stack has the time of its event, and may be written after that event was emitted.
    const fn is_stack(&self) -> bool {
        matches!(self, Self::Record(record) if record.kind == Kind::Stack as u8)
    }

    /// By time, then CPU, then sequence, so that the order does not depend on how the batches were cut. A
    /// loss comes before a record of the same time.
    const fn key(&self) -> (u64, bool, u32, u64) {
        match self {
            Self::Record(record) => (record.time_ns, true, record.cpu, record.seq),
            Self::Loss(loss) => {
                let cpu = match loss.cpu {
                    Some(cpu) => cpu,
                    None => user::CPU,
                };
                (loss.from_ns, false, cpu, loss.first_seq())
            }
        }
    }
}

/// Items that wait for the watermark.
#[derive(Debug, Default)]
pub struct Order {
    held: Vec<Item>,
    /// Number of sorted items at the start of `held`.
    sorted: usize,
    released_ns: u64,
    late: u64,
}

impl Order {
    /// Creates an empty order.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of waiting items.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.held.len()
    }

    /// Returns whether no item waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Number of items that arrived after younger ones were emitted: 0 unless a source violated its
    /// watermark.
    #[must_use]
    pub const fn late(&self) -> u64 {
        self.late
    }

    /// Adds a batch, and emits in order the items that no older one can follow.
    pub fn release(&mut self, batch: &Batch, mut emit: impl FnMut(Item)) {
        self.held.extend(batch.records.iter().copied().map(Item::Record));
        self.held.extend(batch.losses.iter().copied().map(Item::Loss));
        if self.sorted < self.held.len() {
            let new = &self.held[self.sorted..];
            let late = |item: &&Item| item.time_ns() < self.released_ns && !item.is_stack();
            self.late += new.iter().filter(late).count() as u64;
            // The sort is stable and adaptive: a batch consists of a few runs that are already sorted.
            self.held[self.sorted..].sort_by_key(Item::key);
            let meet = self.sorted.checked_sub(1).map(|last| &self.held[last..=self.sorted]);
            // Usually all new items are younger than the held ones, of which there can be many.
            if meet.is_some_and(|meet| !meet.is_sorted_by_key(Item::key)) {
                self.held.sort_by_key(Item::key);
            }
            self.sorted = self.held.len();
        }
        let ready = self.held.partition_point(|item| item.time_ns() < batch.watermark_ns);
        self.held.drain(..ready).for_each(&mut emit);
        self.sorted = self.held.len();
        self.released_ns = self.released_ns.max(batch.watermark_ns);
    }
}

#[cfg(test)]
mod tests {
    use p2p_trace_common::Ring;
    use proptest::prelude::*;

    use super::*;
    use crate::event::Reason;

    fn record(cpu: u32, position: u64, time_ns: u64) -> Record {
        Record { cpu, seq: Ring::Hot.sequence(position), time_ns, ..user::blank(1) }
    }

    fn batch(records: Vec<Record>, losses: Vec<Loss>, watermark_ns: u64) -> Batch {
        Batch { records, losses, watermark_ns, ..Batch::default() }
    }

    #[test]
    fn holds_items_until_the_watermark() {
        let mut order = Order::new();
        let mut seen = Vec::new();
        order.release(&batch(vec![record(0, 0, 20), record(1, 0, 10)], vec![], 10), |item| seen.push(item));
        assert_eq!((seen.len(), order.len()), (0, 2), "another record of time 10 may follow");
        order.release(&batch(vec![record(0, 1, 15)], vec![], 20), |item| seen.push(item));
        assert_eq!(seen.iter().map(Item::time_ns).collect::<Vec<_>>(), [10, 15]);
        order.release(&batch(vec![], vec![], u64::MAX), |item| seen.push(item));
        assert_eq!((seen.len(), order.is_empty(), order.late()), (3, true, 0));
    }

    #[test]
    fn loss_is_placed_at_the_start_of_its_window() {
        let (cpu, ring, reason) = (Some(0), Ring::Hot, Reason::Overwritten);
        let loss = Loss { cpu, ring, first: 1, last: 5, from_ns: 15, to_ns: 40, reason, hook: None };
        let mut order = Order::new();
        let mut seen = Vec::new();
        let records = vec![record(1, 0, 10), record(0, 6, 40), record(1, 1, 15), record(1, 2, 20)];
        order.release(&batch(records, vec![loss], u64::MAX), |item| seen.push(item));
        let losses: Vec<_> = seen.iter().map(|item| matches!(item, Item::Loss(_))).collect();
        assert_eq!(losses, [false, true, false, false, false]);
    }

    #[test]
    fn counts_watermark_violations() {
        let mut order = Order::new();
        order.release(&batch(vec![record(0, 0, 10)], vec![], 50), |_| ());
        order.release(&batch(vec![record(1, 0, 49), record(1, 1, 50)], vec![], 60), |_| ());
        assert_eq!(order.late(), 1);
    }

    proptest! {
        /// However the records of several CPUs are cut into batches, the stream is the same.
        #[test]
        fn stream_does_not_depend_on_batches(
            mut times in proptest::collection::vec((0u32..4, 0u64..50), 0..200),
            cuts in proptest::collection::vec(0u64..60, 0..10),
        ) {
            times.sort_by_key(|&(_, time_ns)| time_ns);
            let records: Vec<_> = (0..).zip(&times).map(|(position, &(cpu, time))| record(cpu, position, time)).collect();
            let mut expected = Vec::new();
            Order::new().release(&batch(records.clone(), vec![], u64::MAX), |item| expected.push(item));

            let (mut order, mut seen) = (Order::new(), Vec::new());
            let mut left = records;
            let mut cuts = cuts;
            cuts.sort_unstable();
            for watermark_ns in cuts.into_iter().chain([u64::MAX]) {
                // CPUs are drained one after the other, and may be ahead of the watermark by different
                // amounts.
                let ahead = |record: &Record| record.time_ns > watermark_ns.saturating_add(u64::from(record.cpu) * 7);
                let (later, mut now): (Vec<_>, Vec<_>) = left.into_iter().partition(ahead);
                now.sort_by_key(|record| record.cpu);
                left = later;
                order.release(&batch(now, vec![], watermark_ns), |item| seen.push(item));
            }
            prop_assert_eq!(order.late(), 0);
            prop_assert!(seen.is_sorted_by_key(Item::time_ns));
            prop_assert_eq!(seen, expected);
        }
    }
}
