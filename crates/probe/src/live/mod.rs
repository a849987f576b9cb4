//! The kernel side, loaded and attached, and the session that reads it.

mod armed_table;
mod armer;
mod attach;
mod complete;
mod crash_image;
mod diagnostics;
pub mod error;
mod functions;
mod holders;
mod load;
mod mapping;
mod object;
mod prepare;
mod priority;
mod refusal;
pub mod session;
mod setup;
mod skipped;
mod snapshot;
mod statements;
mod statistics;
mod sys;
pub mod verification;

pub use error::ProbeError;
pub use session::LiveSession;
