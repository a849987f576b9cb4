//! The latest events and losses. Full pieces are immutable, so that sharing the log is cheap.

use std::{collections::VecDeque, sync::Arc};

use p2p_trace_model::event::{Event, Loss};

/// Entries per piece.
const PIECE: usize = 256;
/// The maximum number of full pieces.
const PIECES: usize = 64;

/// An entry of the log.
#[expect(clippy::large_enum_variant, reason = "losses are rare, and a box each would cost every event")]
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// An event.
    Event(Event),
    /// Records were lost.
    Loss(Loss),
}

/// An immutable copy of the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pieces: Vec<Arc<[Entry]>>,
    /// The number of older entries that were dropped.
    pub(crate) dropped: u64,
}

impl Log {
    /// The entries, oldest first.
    pub(crate) fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.pieces.iter().flat_map(|piece| piece.iter())
    }
}

/// The growing log.
#[derive(Debug, Default)]
pub(super) struct Writer {
    full: VecDeque<Arc<[Entry]>>,
    open: Vec<Entry>,
    dropped: u64,
}

impl Writer {
    pub(super) fn push_event(&mut self, event: &Event) {
        self.add(Entry::Event(event.clone()));
    }

    pub(super) fn push_loss(&mut self, loss: &Loss) {
        self.add(Entry::Loss(*loss));
    }

    fn add(&mut self, entry: Entry) {
        if self.open.is_empty() {
            self.open.reserve_exact(PIECE);
        }
        self.open.push(entry);
        if self.open.len() < PIECE {
            return;
        }
        if self.full.len() == PIECES {
            self.full.pop_front();
            self.dropped += PIECE as u64;
        }
        self.full.push_back(std::mem::take(&mut self.open).into());
    }

    pub(super) fn share(&self) -> Log {
        let open = (!self.open.is_empty()).then(|| Arc::from(self.open.as_slice()));
        Log { pieces: self.full.iter().cloned().chain(open).collect(), dropped: self.dropped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2p_trace_model::testing::status::LOSS;

    #[test]
    fn keeps_latest_entries_in_order_and_counts_dropped_ones() {
        let mut writer = Writer::default();
        let total = (PIECE * (PIECES + 2) + 7) as u64;
        for first in 0..total {
            writer.push_loss(&Loss { first, last: first, ..LOSS });
        }
        let log = writer.share();
        let firsts: Vec<_> = log
            .entries()
            .map(|entry| match entry {
                Entry::Loss(loss) => loss.first,
                Entry::Event(_) => panic!("{entry:?}"),
            })
            .collect();
        assert_eq!(firsts.len() as u64 + log.dropped, total);
        assert_eq!(firsts, (log.dropped..total).collect::<Vec<_>>());
    }
}
