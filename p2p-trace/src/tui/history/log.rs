//! The latest events and losses, in pieces that never change once they are full, so that sharing all of them costs little.

use std::{collections::VecDeque, sync::Arc};

use p2p_trace_model::event::{Event, Loss};

/// Entries in one piece.
const PIECE: usize = 256;
/// Full pieces that are kept.
const PIECES: usize = 64;

/// One entry.
#[expect(clippy::large_enum_variant, reason = "losses are rare, and a box each would cost every event")]
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// Something happened.
    Event(Event),
    /// Records were lost.
    Loss(Loss),
}

/// As it was at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pieces: Vec<Arc<[Entry]>>,
    /// Entries before those.
    pub(crate) forgotten: u64,
}

impl Log {
    /// Oldest first.
    pub(crate) fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.pieces.iter().flat_map(|piece| piece.iter())
    }
}

/// The one that grows.
#[derive(Debug, Default)]
pub(super) struct Writer {
    full: VecDeque<Arc<[Entry]>>,
    open: Vec<Entry>,
    forgotten: u64,
}

impl Writer {
    pub(super) fn push(&mut self, event: &Event) {
        self.add(Entry::Event(event.clone()));
    }

    pub(super) fn lose(&mut self, loss: &Loss) {
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
            self.forgotten += PIECE as u64;
        }
        self.full.push_back(std::mem::take(&mut self.open).into());
    }

    pub(super) fn share(&self) -> Log {
        let open = (!self.open.is_empty()).then(|| Arc::from(self.open.as_slice()));
        Log { pieces: self.full.iter().cloned().chain(open).collect(), forgotten: self.forgotten }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2p_trace_model::testing::status::LOSS;

    #[test]
    fn the_latest_are_kept_in_order_and_the_rest_is_counted() {
        let mut writer = Writer::default();
        let total = (PIECE * (PIECES + 2) + 7) as u64;
        for first in 0..total {
            writer.lose(&Loss { first, last: first, ..LOSS });
        }
        let log = writer.share();
        let firsts: Vec<_> = log
            .entries()
            .map(|entry| match entry {
                Entry::Loss(loss) => loss.first,
                Entry::Event(_) => panic!("{entry:?}"),
            })
            .collect();
        assert_eq!(firsts.len() as u64 + log.forgotten, total);
        assert_eq!(firsts, (log.forgotten..total).collect::<Vec<_>>());
    }
}
