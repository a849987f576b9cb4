//! p2p-trace traces PCI peer-to-peer DMA memory (p2pdma) in a running Linux kernel: who allocated it, in which order it was
//! torn down, and who uses it after its removal. This library contains the entire program; `main.rs` only parses the
//! command line with [`cli`] and calls one of the [`commands`].
//!
//! The building blocks are separate crates: [`p2p_trace_model`] derives findings from records, [`p2p_trace_dump`] stores
//! records in files and finds them in the memory of a crashed kernel, and [`p2p_trace_probe`] examines the running kernel
//! and attaches the BPF programs. In this crate, each module depends only on modules that are listed before it;
//! `tests/layers.rs` enforces that:
//!
//! 1. [`exit`] defines the exit codes, `stderr` writes logs and messages, [`outfile`] creates every file that a command
//!    writes.
//! 2. [`cli`] is the command line.
//! 3. `run` drives a session or a dump into a `Sink`. It contains the recorder, which is a sink.
//! 4. [`device_report`] lists the holders of a device's memory, and what its unbind waits for.
//! 5. [`render`] writes events, findings and reports as text, JSON, Markdown and HTML.
//! 6. `serve` answers other processes over a socket.
//! 7. `tui` is the dashboard.
//! 8. [`commands`] has a file for each subcommand.
//!
//! Both features are on by default. `trace` covers everything that talks to a running kernel and needs Linux; without it,
//! dumps can still be read, checked and recovered. `tui` is the dashboard.

#![expect(missing_docs, reason = "this library is only used by its own program")]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests create files in temporary folders"))]

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
