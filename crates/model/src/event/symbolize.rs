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
