//! The names of addresses that are not in the dump yet.

use std::collections::HashMap;

use p2p_trace_model::{event::Symbolize, text::Text};

/// Addresses that are remembered at most.
const MAX_SEEN: usize = 1 << 18;
/// Addresses without a name that are looked up again, at most.
const MAX_UNNAMED: usize = 1024;
/// A name can change when modules are loaded: it is looked up again after this time.
const AGAIN_NS: u64 = 1_000_000_000;

/// The names that the dump needs next.
#[derive(Debug, Default)]
pub(super) struct NewNames {
    /// When each address was last looked up.
    seen: HashMap<u64, u64>,
    /// The last two addresses. Most records alternate between two: an allocation and a free.
    last: [(u64, u64); 2],
    /// Addresses without a name, as of `generation` of the names.
    unnamed: Vec<u64>,
    generation: u64,
    new: Vec<(u64, Text)>,
}

impl NewNames {
    /// Notes an address. `now_ns` is the time of the stream.
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

    /// Whether there are addresses without a name.
    pub(super) const fn lacks_some(&self) -> bool {
        !self.unnamed.is_empty()
    }

    /// Returns the new names.
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

    /// Notes that these names could not be sent.
    pub(super) fn forget(&mut self, names: Vec<(u64, Text)>) {
        // Looking them up again is simpler than keeping them.
        self.last = [(0, 0); 2];
        for (address, _) in names {
            self.seen.remove(&address);
        }
    }
}
