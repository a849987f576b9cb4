//! The host: its packages, its package manager, its cache folder, its programs.

pub(crate) mod apt;
pub(crate) mod cache;
pub(crate) mod cargo;
pub(crate) mod command;
pub(crate) mod crates;
#[path = "../../../crates/probe/bpf/inputs.rs"]
pub(crate) mod inputs;
pub(crate) mod interrupt;
pub(crate) mod ledger;
pub(crate) mod packages;
pub(crate) mod tree;
