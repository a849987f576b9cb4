//! The loaded and attached kernel side, and the session that reads from it.

mod armed_hooks;
mod armed_table;
mod attach;
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
mod relocate;
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
