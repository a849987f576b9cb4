//! The compiled kernel side, embedded. There are two objects, because kernels before 5.12 reject atomic operations that return a
//! value, even in code that never runs.

use aya::include_bytes_aligned;

/// For Linux 5.12 and later.
static CURRENT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/p2p-trace.bpf.o"));
/// For older kernels: records that interrupt each other on a CPU may be lost without being counted.
static LEGACY: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/p2p-trace-legacy.bpf.o"));

/// The object for a kernel with or without atomic fetch-add for BPF.
pub(super) fn bytes(fetch_add: bool) -> &'static [u8] {
    if fetch_add { CURRENT } else { LEGACY }
}
