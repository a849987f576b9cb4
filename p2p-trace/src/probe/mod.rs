//! The kernel side, attached: what sits where, how it got there, and the session that reads it.
//!
//! [`table`] says which functions are wanted, [`plan`] what the running kernel has of them, [`layout`] and
//! `setup` configure the programs, [`attach`] and [`session`] run them.

#[cfg(feature = "trace")]
mod armer;
pub mod arming;
#[cfg(feature = "trace")]
pub mod attach;
#[cfg(feature = "trace")]
mod complete;
#[cfg(test)]
mod documented;
#[cfg(feature = "trace")]
pub mod error;
#[cfg(feature = "trace")]
mod hooks;
pub mod layout;
#[cfg(feature = "trace")]
mod load;
#[cfg(feature = "trace")]
mod mapping;
#[cfg(feature = "trace")]
mod mirror;
#[cfg(feature = "trace")]
mod object;
pub mod plan;
#[cfg(feature = "trace")]
mod prepare;
#[cfg(feature = "trace")]
mod pull;
#[cfg(feature = "trace")]
mod refusal;
#[cfg(feature = "trace")]
pub mod session;
#[cfg(feature = "trace")]
mod setup;
#[cfg(feature = "trace")]
mod skipped;
#[cfg(feature = "trace")]
mod statistics;
#[cfg(feature = "trace")]
mod sys;
pub mod table;
#[cfg(feature = "trace")]
mod takers;
#[cfg(feature = "trace")]
pub mod verification;

#[cfg(feature = "trace")]
pub use error::ProbeError;
#[cfg(feature = "trace")]
pub use session::LiveSession;
