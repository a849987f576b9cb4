//! The configuration, constant to the verifier.

use p2p_trace_common::Config;

/// Overwritten by user space before the programs are loaded; frozen afterwards.
#[unsafe(no_mangle)]
pub(crate) static CONFIG: Config = Config::EMPTY;

/// Reads one field of [`CONFIG`], which costs two instructions: for what is no [`setting`]. Volatile, so that the compiler
/// does not take the value that the object file holds for the one it will have.
macro_rules! config {
    ($($field:tt)+) => {
        // SAFETY: a reference to a static is valid for reads.
        unsafe { core::ptr::read_volatile(&raw const $crate::config::CONFIG.$($field)+) }
    };
}
pub(crate) use config;

/// One 32-bit field of [`CONFIG`] (below 2³¹), in 64 bits, which saves its extension; `field + 4` is what follows it. User space puts it into
/// the instruction.
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

/// A 64-bit number, masked with (`"&="`) or multiplied by (`"*="`) a 32-bit field of [`CONFIG`], as [`setting`] has it; a mask may be
/// all ones.
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

/// One 64-bit field of [`CONFIG`], or the one `index` (`usize`) behind it. User space puts it into the instruction.
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
