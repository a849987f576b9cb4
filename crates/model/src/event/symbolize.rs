//! Names for the kernel addresses of a record.

/// Names for kernel addresses.
pub trait Symbolize {
    /// The symbol that `address` lies in, written `nvme_alloc_queue+0x1a3 [nvme]`.
    fn symbolize(&self, address: u64) -> Option<String>;

    /// From now on nobody waits for names that have to be read first: they are not there until [`Symbolize::generation`]
    /// changes.
    fn never_wait(&mut self) {}

    /// Another number than before: there can be names that there were not.
    fn generation(&self) -> u64 {
        0
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

/// Where a function returns to that a kretprobe waits for the end of (Linux: arch/x86/kernel/kprobes/core.c, rethook.c).
#[must_use]
pub fn is_return_trampoline(symbol: &str) -> bool {
    let function = symbol.split('+').next().unwrap_or_default();
    [
        "kretprobe_trampoline",
        "__kretprobe_trampoline",
        "arch_rethook_trampoline",
    ]
    .contains(&function)
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
