//! Licences and origins of the dependencies, and what is known of their vulnerabilities, by cargo-deny and the rules in deny.toml.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::host::command;
use crate::host::crates::Release;

const CARGO_DENY: Release = Release { name: "cargo-deny", version: "0.20.2", takes: "two minutes" };

/// Checks every package of the lock file.
pub(super) fn check(root: &Path) -> Result<()> {
    let program = match CARGO_DENY.find() {
        Some(program) => program,
        None => CARGO_DENY.build(&format!("cargo-deny-{}", CARGO_DENY.version), |install| {
            // As it is released, optimizing alone takes longer than all of this.
            install.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        })?,
    };
    let deny = |arguments: &[&str]| {
        let mut deny = Command::new(&program);
        deny.args(arguments).current_dir(root);
        deny
    };
    command::show(&mut deny(&["--locked", "check", "bans", "licenses", "sources"]), "cargo-deny")?;
    // The list changes by the day, and is not everywhere to be had: a check must not fail for want of a network.
    if command::run(&mut deny(&["--locked", "fetch", "db"]), "fetching the advisories").is_err() {
        println!("advisories: not checked, for the list of RustSec cannot be had here");
        return Ok(());
    }
    command::show(&mut deny(&["--locked", "--offline", "check", "advisories"]), "cargo-deny")
}
