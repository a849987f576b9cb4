//! p2p-trace.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests make what they need in folders of their own"
    )
)]

pub mod account;
pub mod cli;
pub mod commands;
mod drive;
pub mod dump;
pub mod event;
pub mod exit;
pub mod holders;
pub mod kernel;
pub mod model;
pub mod order;
pub mod outfile;
pub mod output;
pub mod pipeline;
pub mod probe;
mod recorder;
pub mod recover;
pub mod report;
pub mod rules;
#[cfg(test)]
mod samples;
#[cfg(feature = "trace")]
pub mod server;
pub mod source;
pub mod stderr;
#[cfg(feature = "tui")]
pub mod tui;
