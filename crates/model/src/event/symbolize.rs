//! Names for the kernel addresses of a record, and the one place where they are kept.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Names that are kept: more than a kernel has places that call p2p memory.
const MAX_NAMES: usize = 1 << 16;

/// Names for kernel addresses.
pub trait Symbolize {
    /// The symbol that `address` lies in, written `nvme_alloc_queue+0x1a3 [nvme]`. Nobody waits for one that has to be read
    /// first: it is there when [`Symbolize::generation`] has changed.
    fn symbolize(&self, address: u64) -> Option<String>;

    /// What has been named so far: it grows with what is named, and can be read by any thread.
    fn names(&self) -> Names {
        Names::default()
    }

    /// Another number than before: there can be names that there were not.
    fn generation(&self) -> u64 {
        0
    }

    /// Waits for names that were asked for, so long at most: for whoever has nothing else to do any more. True when none is being
    /// looked up.
    fn settle(&self, _limit: Duration) -> bool {
        true
    }
}

/// No names at all: without the right to see kernel addresses, and in tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSymbols;

impl Symbolize for NoSymbols {
    fn symbolize(&self, _address: u64) -> Option<String> {
        None
    }
}

/// Names of addresses, each the latest that was told. A clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<Table>);

#[derive(Debug, Default)]
struct Table {
    names: RwLock<HashMap<u64, String>>,
    /// How often one of them was told.
    told: AtomicU64,
}

impl Names {
    /// Keeps a name; where too many are kept, only those of addresses that have one already.
    pub fn learn(&self, address: u64, name: String) {
        let mut names = self.0.names.write().unwrap_or_else(PoisonError::into_inner);
        if names.len() < MAX_NAMES || names.contains_key(&address) {
            names.insert(address, name);
            self.0.told.fetch_add(1, Ordering::Release);
        }
    }

    /// Whether there is a name of this address.
    #[must_use]
    pub fn knows(&self, address: u64) -> bool {
        let names = self.0.names.read().unwrap_or_else(PoisonError::into_inner);
        names.contains_key(&address)
    }

    /// All that are known now.
    #[must_use]
    pub fn all(&self) -> Vec<(u64, String)> {
        let names = self.0.names.read().unwrap_or_else(PoisonError::into_inner);
        names.iter().map(|(&address, name)| (address, name.clone())).collect()
    }
}

impl Symbolize for Names {
    fn symbolize(&self, address: u64) -> Option<String> {
        let names = self.0.names.read().unwrap_or_else(PoisonError::into_inner);
        names.get(&address).cloned()
    }

    fn names(&self) -> Names {
        self.clone()
    }

    fn generation(&self) -> u64 {
        self.0.told.load(Ordering::Acquire)
    }
}

/// Where a function returns to that a kretprobe waits for the end of (Linux: arch/x86/kernel/kprobes/core.c, rethook.c).
#[must_use]
pub fn is_return_trampoline(symbol: &str) -> bool {
    let function = symbol.split('+').next().unwrap_or_default();
    ["kretprobe_trampoline", "__kretprobe_trampoline", "arch_rethook_trampoline"].contains(&function)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trampoline_of_a_kretprobe_is_no_caller() {
        assert!(is_return_trampoline("kretprobe_trampoline+0x0"));
        assert!(is_return_trampoline("arch_rethook_trampoline+0x0"));
        assert!(!is_return_trampoline("nvme_alloc_queue+0x1a3 [nvme]"));
        assert!(!is_return_trampoline("kretprobe_trampoline_handler+0x1"));
    }
}
