//! p2p-trace traces PCI peer-to-peer DMA memory (p2pdma) in a running Linux kernel: who allocated it, in which order it was
//! torn down, and who uses it after its removal. This library is all of the program; `main.rs` only parses the command line
//! with [`cli`] and calls one of the [`commands`].
//!
//! What it is made of lies in crates of their own: [`p2p_trace_model`] makes findings of records, [`p2p_trace_dump`] keeps
//! records in files and finds them in the memory of a crashed kernel, [`p2p_trace_probe`] knows the running kernel and
//! attaches the BPF programs. Here each module needs only those above it, which `tests/layers.rs` holds it to:
//!
//! 1. [`exit`] is the table of exit codes, `stderr` what logs go to, [`outfile`] creates every file that a command writes.
//! 2. [`cli`] is the command line.
//! 3. `run` drives a session or a dump into a `Sink`, and has the recorder, which is one.
//! 4. [`device_report`] says who took what of a device, and what its unbind waits for.
//! 5. [`render`] writes events, findings and reports as text, JSON, Markdown and HTML.
//! 6. `serve` answers other processes over a socket.
//! 7. `tui` is the dashboard.
//! 8. [`commands`] has a file for each subcommand.
//!
//! Features, both on by default: `trace` is everything that talks to a running kernel and needs Linux; without it dumps can
//! still be read, judged and recovered. `tui` is the dashboard.

#![expect(missing_docs, reason = "of a program, not of a library for others: names say what they are")]
#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests make what they need in folders of their own")
)]

pub mod cli;
pub mod commands;
pub mod device_report;
pub mod exit;
pub mod outfile;
pub mod render;
mod run;
#[cfg(test)]
mod schema_tests;
#[cfg(feature = "trace")]
mod serve;
pub mod stderr;
#[cfg(feature = "tui")]
pub mod tui;
