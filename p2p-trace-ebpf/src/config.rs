//! The configuration, which is constant to the verifier.

use p2p_trace_common::Config;

/// User space overwrites it before it loads the programs; it is frozen afterwards.
#[unsafe(no_mangle)]
pub(crate) static CONFIG: Config = Config::EMPTY;

/// Reads one field of [`CONFIG`] that is not available as a [`setting`], in two instructions.
/// Volatile, so that the compiler does not use the value in the object file.
macro_rules! config {
    ($($field:tt)+) => {
        // SAFETY: a reference to a static is valid for reads.
        unsafe { core::ptr::read_volatile(&raw const $crate::config::CONFIG.$($field)+) }
    };
}
pub(crate) use config;

/// A 32-bit field of [`CONFIG`] (below 2³¹) as 64 bits, which saves the extension; `field + 4` is
/// the next word. User space puts the value into the instruction.
macro_rules! setting {
    ($field:ident $(+ $bytes:literal)?) => {{
        let value: u64;
        // SAFETY: sets a register.
        unsafe {
            core::arch::asm!(
                "{0} = {1}",
                out(reg) value,
                const p2p_trace_common::config::marker::setting(
                    core::mem::offset_of!(p2p_trace_common::Config, $field) $(+ $bytes)?
                ),
                options(pure, nomem, nostack)
            );
        }
        value
    }};
}
pub(crate) use setting;

/// A 64-bit number masked with (`"&="`) or multiplied by (`"*="`) a 32-bit field of [`CONFIG`],
/// which user space puts into the instruction as for [`setting`]. A mask may be all ones.
macro_rules! with_setting {
    ($number:expr, $operator:literal, $field:ident $(+ $bytes:literal)?) => {{
        let mut number: u64 = $number;
        // SAFETY: changes a register.
        unsafe {
            core::arch::asm!(
                concat!("{0} ", $operator, " {1}"),
                inlateout(reg) number,
                const p2p_trace_common::config::marker::setting(
                    core::mem::offset_of!(p2p_trace_common::Config, $field) $(+ $bytes)?
                ),
                options(pure, nomem, nostack)
            );
        }
        number
    }};
}
pub(crate) use with_setting;

/// A 64-bit field of [`CONFIG`], or the one `index` (`usize`) behind it. User space puts the value
/// into the instruction.
macro_rules! wide_setting {
    ($field:ident, $index:expr) => {{
        let value: u64;
        // SAFETY: sets a register.
        unsafe {
            core::arch::asm!(
                "{0} = {1} ll",
                out(reg) value,
                const p2p_trace_common::config::marker::wide_setting(
                    core::mem::offset_of!(p2p_trace_common::Config, $field) + $index * 8
                ),
                options(pure, nomem, nostack)
            );
        }
        value
    }};
}
pub(crate) use wide_setting;

/// Reads one member offset.
macro_rules! offset {
    ($field:ident) => {
        $crate::config::config!(layout.$field)
    };
}
pub(crate) use offset;
