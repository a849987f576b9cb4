//! The running kernel: its facts, the functions to trace, and the BPF programs that are attached to them.
//!
//! [`kernel`] reads what the kernel says of itself. [`hook_table`] says which functions are wanted, [`plan`] what the running
//! kernel has of them, [`rings`] how large their rings are, [`layout`] where the fields lie that the programs read, `arming` when the hooks of hot functions
//! are attached, and [`ways`] how. [`transport`] drains the rings that the programs write into. `live` loads and attaches the programs:
//! only it needs aya, and only with the feature of that name it is there.

#![cfg_attr(not(feature = "live"), allow(dead_code, reason = "most of it is for the session"))]
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests make what they need in folders of their own")
)]

mod arming;
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
pub mod ways;
