//! Log statements about things that user space cannot see: failed reads, resources in use by
//! another program, filtered events, and the decisions of the armed hooks.
//!
//! `-v` sets aya-log's level (`AYA_LOG_LEVEL`, and the same number in the configuration), which is
//! constant to the verifier. Without it only an instruction that sets a register is left in the
//! programs, and only on uncommon paths. Each statement is a separate function, so that its stack
//! frame does not add to that of a hook.

use core::hint::cold_path;

use aya_log_ebpf::{debug, macro_support::Level, trace, warn};
use p2p_trace_common::{Hook, statement::What};

use crate::{config::setting, device::Address, memory::number};

/// As aya-log's own check of the level, but from an instruction, at half the cost of loading the
/// level.
#[inline(always)]
fn is_wanted(level: Level) -> bool {
    setting!(log_level) >= level as u64
}

/// A value cannot be read.
#[inline(always)]
pub(crate) fn unread(hook: Hook, what: What, at: u64) {
    if is_wanted(Level::Warn) {
        cold_path();
        say_unread(hook as u32, what as u32, at);
    }
}

/// A resource is in use by another program, which this one interrupted or which runs at the same
/// time.
#[inline(always)]
pub(crate) fn contended(what: What, number: u64) {
    if is_wanted(Level::Warn) {
        cold_path();
        say_contended(what as u32, number);
    }
}

/// A device is filtered out.
#[inline(always)]
pub(crate) fn omitted(hook: Hook, device: Address) {
    if is_wanted(Level::Debug) {
        cold_path();
        say_omitted(hook as u32, device.0);
    }
}

/// A hook ignores an object.
#[inline(always)]
pub(crate) fn passed_over(hook: Hook, what: What, value: u64) {
    if is_wanted(Level::Debug) {
        cold_path();
        say_passed_over(hook as u32, what as u32, value);
    }
}

/// The result of an armed hook's check.
#[inline(always)]
pub(crate) fn armed(hook: Hook, what: What, value: u64) {
    if is_wanted(Level::Trace) {
        cold_path();
        say_armed(hook as u32, what as u32, value);
    }
}

/// In place of a context, which a global function cannot receive and aya-log does not use.
const NO_CONTEXT: () = ();

/// Not a global function, like the last two below: they may receive an argument of the traced
/// function, which the verifier treats as a pointer, and no global function accepts pointers.
#[inline(never)]
fn say_unread(hook: u32, what: u32, at: u64) {
    let at = number(at);
    warn!(NO_CONTEXT, "hook#{}: cannot read what#{} 0x{:x}", hook, what, at);
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn say_contended(what: u32, number: u64) -> u32 {
    warn!(NO_CONTEXT, "what#{} {} is in use by another program", what, number);
    0
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn say_omitted(hook: u32, device: u64) -> u32 {
    debug!(NO_CONTEXT, "hook#{}: filters out pci#{:x}", hook, device);
    0
}

#[inline(never)]
fn say_passed_over(hook: u32, what: u32, value: u64) {
    let value = number(value);
    debug!(NO_CONTEXT, "hook#{}: what#{} 0x{:x}", hook, what, value);
}

#[inline(never)]
fn say_armed(hook: u32, what: u32, value: u64) {
    let value = number(value);
    trace!(NO_CONTEXT, "hook#{}: what#{} 0x{:x}", hook, what, value);
}
