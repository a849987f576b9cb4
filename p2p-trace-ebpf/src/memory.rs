//! Reads of kernel memory that may fault.

use core::ptr::read_volatile;

use aya_ebpf::helpers::bpf_probe_read_kernel;
use p2p_trace_common::config::MISSING;

use crate::config::setting;

/// Types that can be read at once.
pub(crate) trait Word: Copy {}
impl Word for u8 {}
impl Word for u32 {}
impl Word for u64 {}
impl Word for [u64; 2] {}

/// Reads a `T` at `pointer + offset`; `None` if the offset is not known or the address is bad.
#[inline(always)]
pub(crate) fn read<T: Word>(pointer: u64, offset: u32) -> Option<T> {
    if offset == MISSING || pointer == 0 {
        return None;
    }
    read_at(pointer.wrapping_add(u64::from(offset)))
}

/// Reads a `T`; `None` if the address is bad.
#[inline(always)]
fn read_at<T: Word>(address: u64) -> Option<T> {
    // SAFETY: the helper handles bad addresses; T is plain data.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}

/// A pointer as a value that the verifier treats as a number. The read cannot fail, so the fallback
/// 0 never occurs.
#[inline(always)]
pub(crate) fn number(pointer: u64) -> u64 {
    read_at(&raw const pointer as u64).unwrap_or(0)
}

/// As [`read`], for hot paths: by a plain load if the kernel allows it, at a tenth of the helper's
/// cost. A bad address then reads as zero, so the caller must be sure of the address.
#[inline(always)]
pub(crate) fn load<T: Word>(address: u64) -> Option<T> {
    if cfg!(feature = "no-fetch-add") || setting!(cast_type) == 0 {
        return read_at(address);
    }
    // SAFETY: the verifier turns the load into one that survives a bad address; T is plain data,
    // and no larger than the struct that the address was cast to.
    Some(unsafe { read_volatile(cast(address) as *const T) })
}

/// `bpf_rdonly_cast`: turns a number into a pointer to a struct of words, which the verifier then
/// accepts. It is a function of the kernel in name only and becomes a move.
#[cfg(not(feature = "no-fetch-add"))]
#[inline(always)]
fn cast(address: u64) -> u64 {
    use core::arch::asm;

    use p2p_trace_common::config::marker;

    let type_id = setting!(cast_type);
    let typed;
    // SAFETY: it accepts any number; like every call it leaves the argument registers undefined.
    unsafe {
        asm!(
            "call {cast}",
            cast = const marker::CAST,
            inlateout("r1") address => _,
            inlateout("r2") type_id => _,
            lateout("r0") typed,
            lateout("r3") _,
            lateout("r4") _,
            lateout("r5") _,
            options(nostack),
        );
    }
    typed
}

/// The kernels that load this object have no such function.
#[cfg(feature = "no-fetch-add")]
#[inline(always)]
const fn cast(address: u64) -> u64 {
    address
}

/// Adds a number that user space puts into the instruction.
macro_rules! add {
    ($pointer:expr, $marker:expr) => {{
        let mut address: u64 = $pointer;
        // SAFETY: adds a constant.
        unsafe {
            core::arch::asm!("{0} += {1}", inlateout(reg) address, const $marker, options(pure, nomem, nostack));
        }
        address
    }};
}
pub(crate) use add;

/// Address of a member behind a pointer, for hot paths; `None` for a null pointer, unless it is
/// `sure`. The caller must know that this kernel has the member.
macro_rules! member {
    ($pointer:expr, $field:ident) => {{
        let pointer: u64 = $pointer;
        (pointer != 0).then(|| $crate::memory::member!(sure pointer, $field))
    }};
    (sure $pointer:expr, $field:ident) => {
        $crate::memory::add!(
            $pointer,
            p2p_trace_common::config::marker::MEMBER
                + p2p_trace_common::config::marker::member(core::mem::offset_of!(
                    p2p_trace_common::config::Layout,
                    $field
                ))
        )
    };
}
pub(crate) use member;
