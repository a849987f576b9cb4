//! The configuration, constant to the verifier.

use p2p_trace_common::Config;

/// Overwritten by user space before the programs are loaded; frozen afterwards.
#[unsafe(no_mangle)]
pub(crate) static CONFIG: Config = Config::EMPTY;

/// Reads one field of [`CONFIG`]. Volatile, so that the compiler does not take the value that the object
/// file holds for the one it will have.
macro_rules! config {
    ($($field:tt)+) => {
        // SAFETY: a reference to a static is valid for reads.
        unsafe { core::ptr::read_volatile(&raw const $crate::config::CONFIG.$($field)+) }
    };
}
pub(crate) use config;

/// Reads one member offset.
macro_rules! offset {
    ($field:ident) => {
        $crate::config::config!(layout.$field)
    };
}
pub(crate) use offset;
