//! Reads of kernel memory that may fault.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use p2p_trace_common::config::MISSING;

/// What can be read in one go.
pub(crate) trait Word: Copy {}
impl Word for u8 {}
impl Word for u32 {}
impl Word for u64 {}
impl Word for [u64; 2] {}

/// Reads a `T` at `pointer + offset`; `None` where the offset is not known or the address is bad.
#[inline(always)]
pub(crate) fn read<T: Word>(pointer: u64, offset: u32) -> Option<T> {
    if offset == MISSING || pointer == 0 {
        return None;
    }
    // SAFETY: the helper handles bad addresses; T is plain data.
    unsafe { bpf_probe_read_kernel(pointer.wrapping_add(u64::from(offset)) as *const T) }.ok()
}
