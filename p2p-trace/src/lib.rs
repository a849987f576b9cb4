//! p2p-trace traces PCI peer-to-peer DMA memory (p2pdma) in a running Linux kernel: who allocated it, in which order it was
//! torn down, and who uses it after its removal. This library is all of the program; `main.rs` only parses the command line
//! with [`cli`] and calls one of the [`commands`].
//!
//! A run goes through these modules, live and after the fact alike:
//!
//! 1. Records come from one of three places. [`probe`] loads and attaches the BPF programs, and [`source`] drains their
//!    per-CPU rings. [`dump`] reads them back from the files that the recorder wrote. [`recover`] finds them in the memory
//!    dump of a kernel that has crashed, and makes such a file of them.
//! 2. The [`pipeline`] turns them into findings: [`order`] sorts the records of all CPUs by time, [`event`] decodes them,
//!    [`model`] keeps what is true after each of them, [`rules`] judges it, and [`account`] compares what the kernel
//!    counted with what arrived.
//! 3. The driver passes each step of the pipeline on to whoever shows or keeps it: [`output`] writes text and JSON lines,
//!    `tui` draws the dashboard, the recorder writes a dump, [`report`] collects what goes into a report, and [`holders`]
//!    answers who has taken memory, also to other processes over the socket of `server`.
//!
//! Beside them, [`kernel`] reads facts of the running kernel (types, symbols, devices, rights), [`outfile`] creates every
//! file that a command writes, and [`exit`] is the table of exit codes.
//!
//! Features, both on by default: `trace` is everything that talks to a running kernel and needs Linux; without it dumps can
//! still be read, judged and recovered. `tui` is the dashboard.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests make what they need in folders of their own"
    )
)]

pub mod cli;
pub mod commands;
mod drive;
pub mod exit;
pub mod holders;
pub mod outfile;
pub mod output;
mod recorder;
pub mod report;
#[cfg(feature = "trace")]
pub mod server;
pub mod stderr;
#[cfg(feature = "tui")]
pub mod tui;
