//! Names of the kernel's addresses that were met, for a thread that cannot ask for them.

use std::collections::HashMap;

use p2p_trace_model::event::Symbolize;

/// Names that are kept.
const MAX_NAMES: usize = 1 << 16;

/// See the module. A name is that of the first time at which its address was met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    names: HashMap<u64, String>,
}

impl Names {
    /// Nothing more can be learnt of this address.
    pub(super) fn knows(&self, address: u64) -> bool {
        self.names.contains_key(&address) || self.names.len() >= MAX_NAMES
    }

    pub(super) fn insert(&mut self, address: u64, name: String) {
        self.names.insert(address, name);
    }
}

impl Symbolize for Names {
    fn symbolize(&self, address: u64) -> Option<String> {
        self.names.get(&address).cloned()
    }
}
