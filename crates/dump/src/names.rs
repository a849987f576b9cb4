//! Names of addresses, as a dump tells them.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use p2p_trace_model::event::Symbolize;

use super::describe::Symbols;

/// Names that are kept: more than a kernel has functions that call p2p memory.
const MAX_NAMES: usize = 1 << 20;

/// Grows while the dump is read. A clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Names {
    names: Arc<RwLock<HashMap<u64, String>>>,
}

impl Names {
    /// Takes over what a block tells.
    pub fn learn(&self, symbols: Symbols) {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        for (address, name) in symbols.names {
            if names.len() < MAX_NAMES || names.contains_key(&address.0) {
                names.insert(address.0, name);
            }
        }
    }

    /// All that are known now.
    #[must_use]
    pub fn all(&self) -> Vec<(u64, String)> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names
            .iter()
            .map(|(&address, name)| (address, name.clone()))
            .collect()
    }
}

impl Symbolize for Names {
    fn symbolize(&self, address: u64) -> Option<String> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.get(&address).cloned()
    }
}
