//! Names of addresses that the dump does not have yet.

use std::collections::HashMap;

use crate::output::Symbolize;

/// Addresses that are remembered.
const MAX_SEEN: usize = 1 << 18;
/// A name can change when modules come and go: so often it is looked up again.
const AGAIN_NS: u64 = 1_000_000_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct NewNames {
    /// When each was last looked up.
    seen: HashMap<u64, u64>,
    new: Vec<(u64, String)>,
}

impl NewNames {
    /// An address was met at `now_ns`, in time of the stream.
    pub(super) fn see(&mut self, address: u64, now_ns: u64, symbols: &dyn Symbolize) {
        if self.seen.len() >= MAX_SEEN {
            self.seen.clear();
        }
        if let Some(seen_ns) = self.seen.get(&address)
            && now_ns.saturating_sub(*seen_ns) < AGAIN_NS
        {
            return;
        }
        self.seen.insert(address, now_ns);
        if let Some(name) = symbols.symbolize(address) {
            self.new.push((address, name));
        }
    }

    /// Those that are new.
    pub(super) fn take(&mut self) -> Vec<(u64, String)> {
        std::mem::take(&mut self.new)
    }

    /// They could not be passed on.
    pub(super) fn put_back(&mut self, names: Vec<(u64, String)>) {
        // Looked up once more is easier than kept.
        for (address, _) in names {
            self.seen.remove(&address);
        }
    }
}
