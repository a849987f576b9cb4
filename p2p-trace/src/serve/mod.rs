//! A running tracer answers questions over a socket, and other p2p-traces ask it.
//!
//! The socket is `/run/p2p-trace/PID.sock` (`$XDG_RUNTIME_DIR/p2p-trace/PID.sock` for a user who cannot write there, never for
//! root), for its owner only (0600). Both sides check with the kernel who is on the other one: root, or the same user. A line of JSON
//! each way, with a version; both limited in length and time.
//!
//! A socket that refuses connections is left over from a tracer that ended without its own consent; its owner removes it
//! when they find it. That is safe because a socket gets its name only once somebody listens on it.

#![forbid(unsafe_code)]

mod ask;
mod folder;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod handler;
mod line;
mod listen;
mod peer;
mod place;
mod protocol;
mod queue;
#[cfg(test)]
mod tests;

pub(crate) use ask::ask;
pub(crate) use handler::handler;
pub(crate) use listen::Server;
pub(crate) use place::Place;
pub(crate) use protocol::Request;
pub(crate) use queue::{PendingRequest, RequestQueue};
