//! Miri, an interpreter that detects undefined behavior, for the tests of the codec and of the code that
//! reads memory with concurrent writers.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::host::command;
use crate::summary::Outcome;
use crate::test::cargo::counted;
use crate::test::stage::Done;

/// No stable Rust has it.
const TOOLCHAIN: &str = "nightly";
/// Tests of the rings and of the codec. Tests that would take minutes skip themselves.
const TESTS: [&str; 4] = ["transport::", "rings::", "block::", "codec::"];
const PACKAGES: [&str; 4] = ["--package", "p2p-trace-probe", "--package", "p2p-trace-dump"];

/// Runs the tests if Miri is installed; it is never installed, and nothing is downloaded.
///
/// # Errors
///
/// The tests cannot be compiled.
pub(crate) fn run(root: &Path) -> Result<Done> {
    if !is_available(root) {
        let reason = "Miri is not installed: `rustup toolchain install nightly --component miri --component rust-src`, \
                      then `cargo +nightly miri setup`";
        println!("{reason}");
        return Ok(Done::Outcome(Outcome::Skipped(reason.to_owned())));
    }
    let mut test = miri(root, "test");
    test.args(["--locked", "--no-default-features", "--lib"]).args(PACKAGES).arg("--").args(TESTS);
    counted(test).map(Done::Tests)
}

/// Checks Miri and the library that it compiles for itself.
fn is_available(root: &Path) -> bool {
    command::exists("rustup") && command::probe(&mut miri(root, "setup")).is_some()
}

fn miri(root: &Path, task: &str) -> Command {
    let mut miri = Command::new("rustup");
    miri.current_dir(root)
        .args(["run", TOOLCHAIN, "cargo", "miri", task])
        .env("CARGO_NET_OFFLINE", "true")
        .env("RUSTUP_AUTO_INSTALL", "0")
        // Property tests look for the cases that failed before, which are files.
        .env("MIRIFLAGS", "-Zmiri-disable-isolation")
        .env("PROPTEST_CASES", "1");
    miri
}
