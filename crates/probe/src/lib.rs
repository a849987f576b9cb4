//! The running kernel: its facts, the functions to trace, and the BPF programs that are attached to them.
//!
//! [`kernel`] reads facts about the kernel. [`hook_table`] lists the functions to hook, [`plan`] selects those that the running
//! kernel has, [`rings`] sizes the rings, [`layout`] finds the offsets of the fields that the programs read, `arming` decides
//! when the hooks of hot functions are attached, and [`attach_methods`] how. [`transport`] drains the rings that the programs
//! write into. `live` loads and attaches the programs: it alone needs aya, and exists only with the feature of that name.

#![cfg_attr(
    not(feature = "live"),
    allow(dead_code, reason = "most of the crate is used by the session only")
)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests create files in their own folders"))]

mod arming;
pub mod attach_methods;
#[cfg(test)]
mod documented;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod hook_table;
pub mod kernel;
pub mod layout;
#[cfg(feature = "live")]
pub mod live;
pub mod plan;
pub mod rings;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod transport;
