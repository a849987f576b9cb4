//! Licenses and sources of the dependencies, and their known vulnerabilities, by cargo-deny and the rules in
//! deny.toml.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::host::command;
use crate::host::crates::Release;

const CARGO_DENY: Release = Release { name: "cargo-deny", version: "0.20.2", build_time: "two minutes" };

/// Checks every package of the lock file.
pub(super) fn check(root: &Path) -> Result<()> {
    let program = match CARGO_DENY.find() {
        Some(program) => program,
        None => CARGO_DENY.build(&format!("cargo-deny-{}", CARGO_DENY.version), |install| {
            // The release profile's optimizations alone take longer than the complete build without them.
            install.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        })?,
    };
    let deny = |arguments: &[&str]| {
        let mut deny = Command::new(&program);
        deny.args(arguments).current_dir(root);
        deny
    };
    command::show(&mut deny(&["--locked", "check", "bans", "licenses", "sources"]), "cargo-deny")?;
    // The list changes daily and is not always available: the check must not fail without a network.
    if command::run(&mut deny(&["--locked", "fetch", "db"]), "fetching the advisories").is_err() {
        println!("advisories: not checked, because RustSec's list is not available");
        return Ok(());
    }
    command::show(&mut deny(&["--locked", "--offline", "check", "advisories"]), "cargo-deny")
}
