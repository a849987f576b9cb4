//! What the programs of the test guests share.
//!
//! | program | does |
//! |---|---|
//! | `p2p-agent` | runs commands for the host, over a virtio-serial port |
//! | `p2pdio` | reads from an NVMe drive straight into the p2p memory of another one (`O_DIRECT`) |
//! | `p2pmap` | maps and unmaps p2p memory, once or in a storm of processes |
//! | `p2pkexec` | loads the kernel that saves the memory of this one when it dies |
//! | `p2pcaps` | runs a command as an ordinary user with nothing but the named capabilities |
//!
//! They print one `key=value` line per fact, so that a test can read them.

pub mod frame;
mod mapping;

pub use mapping::{Mapping, page_size};
