//! The kernel side, loaded and attached, and the session that reads it.

mod armed_table;
mod armer;
mod attach;
mod complete;
mod diagnostics;
pub mod error;
mod functions;
mod load;
mod mapping;
mod mirror;
mod object;
mod prepare;
mod priority;
mod pull;
mod refusal;
pub mod session;
mod setup;
mod skipped;
mod statements;
mod statistics;
mod sys;
mod takers;
pub mod verification;

pub use error::ProbeError;
pub use session::LiveSession;
