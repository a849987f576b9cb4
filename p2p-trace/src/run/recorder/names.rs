//! Names of addresses that the dump does not have yet.

use std::collections::HashMap;

use p2p_trace_model::{event::Symbolize, text::Text};

/// Addresses that are remembered.
const MAX_SEEN: usize = 1 << 18;
/// Addresses without a name that are looked up again when there can be new names.
const MAX_UNNAMED: usize = 1024;
/// A name can change when modules come and go: so often it is looked up again.
const AGAIN_NS: u64 = 1_000_000_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct NewNames {
    /// When each was last looked up.
    seen: HashMap<u64, u64>,
    /// The last two, which most records are from: an allocation and a free take turns.
    last: [(u64, u64); 2],
    /// Those without a name, and the generation of the names in which they have none.
    unnamed: Vec<u64>,
    generation: u64,
    new: Vec<(u64, Text)>,
}

impl NewNames {
    /// An address was met at `now_ns`, in time of the stream.
    pub(super) fn see(&mut self, address: u64, now_ns: u64, symbols: &dyn Symbolize) {
        let is_fresh =
            |&(last, seen_ns): &(u64, u64)| last == address && now_ns.saturating_sub(seen_ns) < AGAIN_NS;
        if self.last.iter().any(is_fresh) {
            return;
        }
        if self.seen.len() >= MAX_SEEN {
            self.seen.clear();
        }
        if let Some(seen_ns) = self.seen.get(&address)
            && now_ns.saturating_sub(*seen_ns) < AGAIN_NS
        {
            self.last = [(address, *seen_ns), self.last[0]];
            return;
        }
        self.last = [(address, now_ns), self.last[0]];
        self.seen.insert(address, now_ns);
        match symbols.symbolize(address) {
            Some(name) => self.new.push((address, name)),
            None if self.unnamed.len() < MAX_UNNAMED && !self.unnamed.contains(&address) => {
                self.unnamed.push(address);
            }
            None => {}
        }
    }

    /// There are addresses without a name.
    pub(super) const fn lacks_some(&self) -> bool {
        !self.unnamed.is_empty()
    }

    /// Those that are new.
    pub(super) fn take(&mut self, symbols: &dyn Symbolize) -> Vec<(u64, Text)> {
        let generation = symbols.generation();
        if generation != self.generation {
            self.generation = generation;
            let (new, known) = (&mut self.new, symbols.names());
            self.unnamed.retain(|&address| match known.symbolize(address) {
                Some(name) => {
                    new.push((address, name));
                    false
                }
                None => true,
            });
        }
        std::mem::take(&mut self.new)
    }

    /// They could not be passed on.
    pub(super) fn put_back(&mut self, names: Vec<(u64, Text)>) {
        // Looked up once more is easier than kept.
        self.last = [(0, 0); 2];
        for (address, _) in names {
            self.seen.remove(&address);
        }
    }
}
