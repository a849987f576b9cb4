//! What user space cannot see: reads that failed, what is in use by another program, what is left out, what the armed hooks decide.
//!
//! `-v` sets aya-log's level (`AYA_LOG_LEVEL`, and the same number in the configuration), which is constant to the verifier. Without it nothing
//! of this is left in a program but an instruction that sets a register, and that only where something went another way than it mostly goes. Each statement is a function of its own, which has
//! a stack frame that lies in no hook's way.

use core::hint::cold_path;

use aya_log_ebpf::{debug, macro_support::Level, trace, warn};
use p2p_trace_common::{Hook, statement::What};

use crate::{config::setting, device::Address, memory::number};

/// What aya-log asks before it says something, from an instruction, which costs half as much as a load of its level.
#[inline(always)]
fn is_wanted(level: Level) -> bool {
    setting!(log_level) >= level as u64
}

/// Something cannot be read.
#[inline(always)]
pub(crate) fn unread(hook: Hook, what: What, at: u64) {
    if is_wanted(Level::Warn) {
        cold_path();
        say_unread(hook as u32, what as u32, at);
    }
}

/// Something is in use by another program, which this one has interrupted or runs beside.
#[inline(always)]
pub(crate) fn contended(what: What, number: u64) {
    if is_wanted(Level::Warn) {
        cold_path();
        say_contended(what as u32, number);
    }
}

/// A device was not asked for.
#[inline(always)]
pub(crate) fn omitted(hook: Hook, device: Address) {
    if is_wanted(Level::Debug) {
        cold_path();
        say_omitted(hook as u32, device.0);
    }
}

/// Something is no business of the hook's.
#[inline(always)]
pub(crate) fn passed_over(hook: Hook, what: What, value: u64) {
    if is_wanted(Level::Debug) {
        cold_path();
        say_passed_over(hook as u32, what as u32, value);
    }
}

/// What became of something that an armed hook looked at.
#[inline(always)]
pub(crate) fn armed(hook: Hook, what: What, value: u64) {
    if is_wanted(Level::Trace) {
        cold_path();
        say_armed(hook as u32, what as u32, value);
    }
}

/// In place of a context, which a global function cannot be given, and aya-log does not look at.
const NO_CONTEXT: () = ();

/// No global function, as the two below that may be given an argument of the traced function: to the verifier that is a pointer, which no global
/// function takes.
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
    debug!(NO_CONTEXT, "hook#{}: leaves out pci#{:x}", hook, device);
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
