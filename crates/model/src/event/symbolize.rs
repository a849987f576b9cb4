//! Names for the kernel addresses in records, and the table that keeps them.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::text::Text;

/// Limit on the number of names: more than a kernel has call sites of p2p memory.
pub const MAX_NAMES: usize = 1 << 16;
/// Limit on the bytes of one name: the longest symbol a kernel can have (`KSYM_NAME_LEN`).
pub const MAX_NAME: usize = 512;
/// Limit on the bytes of all names together: far more than those of a kernel.
const MAX_BYTES: usize = 16 << 20;

/// Names for kernel addresses.
pub trait Symbolize {
    /// Returns the symbol that `address` lies in, written `nvme_alloc_queue+0x1a3 [nvme]`. This never waits:
    /// a name that has to be read first is available once [`Symbolize::generation`] has changed.
    fn symbolize(&self, address: u64) -> Option<Text>;

    /// The names found so far. The table grows as names are found, and any thread can read it.
    fn names(&self) -> Names {
        Names::default()
    }

    /// Changes when names may have been added.
    fn generation(&self) -> u64 {
        0
    }

    /// Waits at most this long for requested names. Call it when no other work is left. Returns true if no
    /// lookup is pending.
    fn settle(&self, _limit: Duration) -> bool {
        true
    }
}

/// Provides no names: for processes without the right to see kernel addresses, and for tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSymbols;

impl Symbolize for NoSymbols {
    fn symbolize(&self, _address: u64) -> Option<Text> {
        None
    }
}

/// Names of addresses; a later name replaces an earlier one. Clones share one table.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<Table>);

#[derive(Debug, Default)]
struct Table {
    names: RwLock<Kept>,
    /// Number of names added or replaced.
    updates: AtomicU64,
    /// Number of names that were cut to [`MAX_NAME`].
    cut: AtomicU64,
    /// Number of names that did not fit.
    omitted: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    names: HashMap<u64, Text>,
    bytes: usize,
}

impl Names {
    /// Stores a name, cut to [`MAX_NAME`] bytes. When the table is full, it only replaces names of known
    /// addresses.
    pub fn learn(&self, address: u64, mut name: Text) {
        if name.len() > MAX_NAME {
            name = name[..name.floor_char_boundary(MAX_NAME)].into();
            self.0.cut.fetch_add(1, Ordering::Relaxed);
        }
        let mut kept = self.0.names.write().unwrap_or_else(PoisonError::into_inner);
        let before = kept.names.get(&address).map(|name| name.len());
        let bytes = kept.bytes - before.unwrap_or_default() + name.len();
        if bytes > MAX_BYTES || before.is_none() && kept.names.len() >= MAX_NAMES {
            self.0.omitted.fetch_add(1, Ordering::Relaxed);
            return;
        }
        kept.bytes = bytes;
        kept.names.insert(address, name);
        self.0.updates.fetch_add(1, Ordering::Release);
    }

    /// The number of names that were cut to [`MAX_NAME`] bytes, and the number that did not fit.
    #[must_use]
    pub fn limited(&self) -> (u64, u64) {
        (self.0.cut.load(Ordering::Relaxed), self.0.omitted.load(Ordering::Relaxed))
    }

    /// Returns whether this address has a name.
    #[must_use]
    pub fn knows(&self, address: u64) -> bool {
        let kept = self.0.names.read().unwrap_or_else(PoisonError::into_inner);
        kept.names.contains_key(&address)
    }

    /// All names known now.
    #[must_use]
    pub fn all(&self) -> Vec<(u64, Text)> {
        let kept = self.0.names.read().unwrap_or_else(PoisonError::into_inner);
        kept.names.iter().map(|(&address, name)| (address, name.clone())).collect()
    }
}

impl Symbolize for Names {
    fn symbolize(&self, address: u64) -> Option<Text> {
        let kept = self.0.names.read().unwrap_or_else(PoisonError::into_inner);
        kept.names.get(&address).cloned()
    }

    fn names(&self) -> Names {
        self.clone()
    }

    fn generation(&self) -> u64 {
        self.0.updates.load(Ordering::Acquire)
    }
}

/// Returns whether the symbol is the trampoline through which a function with a kretprobe returns (Linux:
/// arch/x86/kernel/kprobes/core.c, rethook.c).
#[must_use]
pub fn is_return_trampoline(symbol: &str) -> bool {
    let function = symbol.split('+').next().unwrap_or_default();
    ["kretprobe_trampoline", "__kretprobe_trampoline", "arch_rethook_trampoline"].contains(&function)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_omissions_are_counted() {
        let names = Names::default();
        names.learn(0, format!("{}\u{e9}", "x".repeat(MAX_NAME - 1)).into());
        assert_eq!(
            names.symbolize(0).map(|name| name.len()),
            Some(MAX_NAME - 1),
            "cut at a character boundary"
        );
        for address in 0..MAX_NAMES as u64 {
            names.learn(address, "x".repeat(MAX_NAME).into());
        }
        let (kept, bytes) =
            (names.all().len(), names.all().iter().map(|(_, name)| name.len()).sum::<usize>());
        assert_eq!((kept, bytes), (MAX_BYTES / MAX_NAME, MAX_BYTES));
        assert_eq!(names.limited(), (1, (MAX_NAMES - kept) as u64));
        names.learn(0, "short".into());
        assert_eq!(names.symbolize(0).as_deref(), Some("short"), "a later name replaces an earlier one");
    }

    #[test]
    fn recognizes_kretprobe_trampolines() {
        assert!(is_return_trampoline("kretprobe_trampoline+0x0"));
        assert!(is_return_trampoline("arch_rethook_trampoline+0x0"));
        assert!(!is_return_trampoline("nvme_alloc_queue+0x1a3 [nvme]"));
        assert!(!is_return_trampoline("kretprobe_trampoline_handler+0x1"));
    }
}
