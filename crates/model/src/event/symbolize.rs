//! Names for the kernel addresses of a record, and the one place where they are kept.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::text::Text;

/// Names that are kept: more than a kernel has places that call p2p memory.
pub const MAX_NAMES: usize = 1 << 16;
/// Bytes of a name that are kept: as long as a kernel's symbols get (`KSYM_NAME_LEN`).
pub const MAX_NAME: usize = 512;
/// Bytes that all names together may take: far more than those of a kernel do.
const MAX_BYTES: usize = 16 << 20;

/// Names for kernel addresses.
pub trait Symbolize {
    /// The symbol that `address` lies in, written `nvme_alloc_queue+0x1a3 [nvme]`. Nobody waits for one that has to be read
    /// first: it is there when [`Symbolize::generation`] has changed.
    fn symbolize(&self, address: u64) -> Option<Text>;

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
    fn symbolize(&self, _address: u64) -> Option<Text> {
        None
    }
}

/// Names of addresses, each the latest that was told. A clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<Table>);

#[derive(Debug, Default)]
struct Table {
    names: RwLock<Kept>,
    /// How often one of them was told.
    told: AtomicU64,
    /// How many were longer than what is kept of one.
    cut: AtomicU64,
    /// How many there was no room for.
    omitted: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    names: HashMap<u64, Text>,
    bytes: usize,
}

impl Names {
    /// Keeps a name, or the first [`MAX_NAME`] bytes of it; where too many are kept, only those of addresses that have one already.
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
        self.0.told.fetch_add(1, Ordering::Release);
    }

    /// How many names were cut to [`MAX_NAME`] bytes, and how many there was no room for.
    #[must_use]
    pub fn limited(&self) -> (u64, u64) {
        (self.0.cut.load(Ordering::Relaxed), self.0.omitted.load(Ordering::Relaxed))
    }

    /// Whether there is a name of this address.
    #[must_use]
    pub fn knows(&self, address: u64) -> bool {
        let kept = self.0.names.read().unwrap_or_else(PoisonError::into_inner);
        kept.names.contains_key(&address)
    }

    /// All that are known now.
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
    fn names_take_a_bounded_place_and_what_is_omitted_is_counted() {
        let names = Names::default();
        names.learn(0, format!("{}\u{e9}", "x".repeat(MAX_NAME - 1)).into());
        assert_eq!(
            names.symbolize(0).map(|name| name.len()),
            Some(MAX_NAME - 1),
            "at the edge of a character"
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
    fn the_trampoline_of_a_kretprobe_is_no_caller() {
        assert!(is_return_trampoline("kretprobe_trampoline+0x0"));
        assert!(is_return_trampoline("arch_rethook_trampoline+0x0"));
        assert!(!is_return_trampoline("nvme_alloc_queue+0x1a3 [nvme]"));
        assert!(!is_return_trampoline("kretprobe_trampoline_handler+0x1"));
    }
}
