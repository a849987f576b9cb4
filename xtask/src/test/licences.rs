//! Licences and origins of the dependencies, by cargo-deny and the rules in deny.toml.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::host::command;
use crate::host::crates::Release;

const CARGO_DENY: Release = Release { name: "cargo-deny", version: "0.20.2", takes: "two minutes" };

/// Checks every package of the lock file. What is known of vulnerabilities is left out: it changes by the day, and this must not.
pub(super) fn check(root: &Path) -> Result<()> {
    let program = match CARGO_DENY.find() {
        Some(program) => program,
        None => CARGO_DENY.build(&format!("cargo-deny-{}", CARGO_DENY.version), |install| {
            // As it is released, optimizing alone takes longer than all of this.
            install.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        })?,
    };
    let mut deny = Command::new(program);
    deny.args(["--locked", "check", "bans", "licenses", "sources"]).current_dir(root);
    command::show(&mut deny, "cargo-deny")
}
