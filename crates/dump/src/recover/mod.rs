//! Post-mortem: recovers the tracer's records from the memory dump of a crashed kernel.
//!
//! The transport's rings are kernel memory, in slots of 128 bytes that identify themselves
//! (`p2p_trace_common::slot`). So they can be found in any dump that contains the memory, without symbols and
//! without the kernel's structures. [`open`] gives access to the memory of a dump of any format, and
//! [`carve`] searches it. Nothing here needs a kernel, and sizes in a dump are never trusted beyond the
//! dump's own size.

mod bytes;
mod crash_image;
mod elf;
mod error;
mod flattened;
mod foreign;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod header;
mod input;
mod joined;
mod kdump;
mod lime;
mod memory;
mod open;
mod pipe;
mod ring;
mod search;
mod segments;
mod slot;
#[cfg(test)]
mod tests;
mod vmcoreinfo;
mod write;

pub use crash_image::CpuCounters;
pub use error::CoreError;
pub use foreign::{PREFIX, container, no_event_dump};
pub use header::Beginning;
pub use input::{CoreFile, ReadAt};
pub use joined::{Part, join};
pub use memory::{Amount, Chunk, Facts, Format, PhysicalMemory, Scratch, SkipReason, Skipped};
pub use open::open;
pub use pipe::carve_pipe;
pub use ring::{Found, Recovered};
pub use search::{Carved, Progress, Search, carve};
pub use slot::Place;
pub use vmcoreinfo::VmcoreInfo;
pub use write::{WriteError, Written, append, write};
