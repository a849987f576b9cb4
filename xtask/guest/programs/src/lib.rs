//! The programs of the test guests and their shared code.
//!
//! | program | does |
//! |---|---|
//! | `p2p-agent` | runs commands for the host, over a virtio-serial port |
//! | `p2pdio` | reads from an NVMe drive directly into the p2p memory of another one (`O_DIRECT`) |
//! | `p2pmap` | maps and unmaps p2p memory, once or in a storm of processes |
//! | `p2pkexec` | loads a crash kernel, which saves the memory of the running one |
//! | `p2pcaps` | runs a command as an ordinary user with only the named capabilities |
//!
//! They print one `key=value` line per fact, so that a test can parse them.

pub mod frame;
mod mapping;

pub use mapping::{Mapping, page_size};
