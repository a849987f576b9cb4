//! Boots a real kernel in QEMU and runs commands in it.
//!
//! ```text
//! GuestKernel + programs + module → initramfs ┐
//!                                   Machine   ┴→ Guest::start → run, spawn, qmp … → power_off
//! ```
//!
//! The host and a small agent in the guest communicate over a virtio-serial port; the kernel's console goes
//! to a file; QEMU is controlled over its own socket. A guest has a time limit and never outlives its value.

mod acceleration;
mod attached;
mod console;
mod cpio;
mod devices;
pub(crate) mod disk;
mod evidence;
pub(crate) mod initramfs;

mod job;
pub(crate) mod kmodule;
mod link;
mod machine;
pub(crate) mod makedumpfile;
mod modules;
mod process;
pub(crate) mod programs;
mod qmp;
mod scratch;
mod session;
pub(crate) mod terminal;

pub(crate) use acceleration::probe;
pub(crate) use attached::{CAPTURE, HOST_TAG, OUT_TAG};
pub(crate) use devices::{Card, Nvme, Slot};
pub(crate) use evidence::Stuck;
pub(crate) use job::{Job, Output, Source};
pub(crate) use machine::{Acceleration, Clock, Machine};
pub(crate) use session::{Boot, Guest};
