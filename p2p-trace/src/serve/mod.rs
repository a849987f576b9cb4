//! A running tracer answers requests on a socket; other p2p-trace processes are its clients.
//!
//! The socket is `/run/p2p-trace/PID.sock`, with mode 0600. Users who cannot write there use
//! `$XDG_RUNTIME_DIR/p2p-trace/PID.sock`; root never does. Both sides check the peer with the kernel: it must be root or the same
//! user. A request and an answer are one line of JSON each, with a version, and limited in length and time.
//!
//! A socket that refuses connections is left over from a tracer that was killed. A client of the same user removes it. That is
//! safe, because a socket gets its name only after its process listens.

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
