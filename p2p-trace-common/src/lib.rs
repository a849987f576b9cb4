//! The interface between the kernel side and user space of p2p-trace: the record, its kinds, the
//! hooks that produce them, the configuration that user space writes into the programs, and the
//! shared counters.
//!
//! Everything here is plain data with a fixed layout. Assertions check it at compile time, and
//! `docs/events.md` lists it byte by byte.
#![no_std]

pub mod armed;
pub mod config;
pub mod counters;
pub mod crash_image;
pub mod hook;
pub mod kind;
pub mod record;
pub mod slot;
pub mod snapshot;
pub mod state;
pub mod statement;
pub mod valid;

pub use config::Config;
pub use counters::Counters;
pub use hook::Hook;
pub use kind::Kind;
pub use record::{Record, StackRecord};
pub use slot::Ring;
