//! p2p-trace traces PCI peer-to-peer DMA memory (p2pdma) in a running Linux kernel: who allocated it, in which order it is
//! torn down, and who uses it after its removal. This library is the program; `main.rs` only parses the command line with
//! [`cli`] and calls one of the [`commands`].
//!
//! Other crates have the parts that do not depend on the command line: [`p2p_trace_model`] evaluates records and reports
//! findings, [`p2p_trace_dump`] reads and writes dumps and recovers records from the memory of a crashed kernel,
//! [`p2p_trace_probe`] examines the running kernel and attaches the BPF programs. Each module of this crate uses only those
//! above it, which `tests/layers.rs` checks:
//!
//! 1. [`exit`] has the exit codes, `stderr` the output of messages, [`outfile`] creates all output files.
//! 2. [`cli`] is the command line.
//! 3. `run` drives a session or a dump into a `Sink`, and has the recorder, which is one.
//! 4. [`device_report`] lists the holders of a device's memory, and what its unbind waits for.
//! 5. [`render`] writes events, findings and reports as text, JSON, Markdown and HTML.
//! 6. `serve` answers other processes over a socket.
//! 7. `tui` is the dashboard.
//! 8. [`commands`] has a module for each subcommand.
//!
//! Features, both enabled by default: `trace` is everything that talks to a running kernel, and needs Linux; without it dumps
//! can still be read, checked and recovered. `tui` is the dashboard.

#![expect(missing_docs, reason = "of a program, not of a library for others")]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests create files in their own folders"))]

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
