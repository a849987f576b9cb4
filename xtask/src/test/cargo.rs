//! The stages that cargo itself performs.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::host::cargo::{plain, user_space};
use crate::host::command;
use crate::summary::Counts;

/// Warnings are errors.
const STRICT: &str = "-Dwarnings";

pub(super) fn format(root: &Path) -> Result<()> {
    command::show(plain(root).args(["fmt", "--all", "--check"]), "checking the format")
}

/// Lints everything except for the kernel side.
pub(super) fn lints(root: &Path) -> Result<()> {
    for (name, features) in
        [("clippy, default features", None), ("clippy, no default features", Some("--no-default-features"))]
    {
        println!("-- {name} --");
        let mut clippy = user_space(root, "clippy");
        clippy.arg("--all-targets").args(features).args(["--", STRICT]);
        command::show(&mut clippy, name)?;
    }
    Ok(())
}

pub(super) fn docs(root: &Path) -> Result<()> {
    let mut doc = user_space(root, "doc");
    doc.arg("--no-deps").env("RUSTDOCFLAGS", STRICT);
    command::show(&mut doc, "rustdoc")
}

/// Runs all tests, shows their output, and counts them.
pub(super) fn tests(root: &Path) -> Result<Counts> {
    let mut test = user_space(root, "test");
    test.arg("--no-fail-fast");
    counted(test)
}

/// Runs the test that loads the report's page in a browser, which is ignored by default.
pub(super) fn browser(root: &Path) -> Result<Counts> {
    let mut test = user_space(root, "test");
    test.args(["--lib", "browser_shows_the_page_without_errors", "--", "--ignored"]);
    counted(test)
}

/// Runs tests, shows their output, and counts them.
pub(crate) fn counted(mut test: Command) -> Result<Counts> {
    let mut child = test.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let mut counts = Counts::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("the output of the tests is not UTF-8")?;
        println!("{line}");
        if let Some(more) = counts_of(&line) {
            counts += more;
        }
    }
    let status = child.wait()?;
    if !status.success() && counts.failed == 0 {
        bail!("cargo test failed without a failed test ({status})");
    }
    if counts.passed == 0 {
        bail!("cargo test ran no test");
    }
    Ok(counts)
}

/// Parses the counts in a line `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`.
fn counts_of(line: &str) -> Option<Counts> {
    let (_, numbers) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |suffix: &str| {
        numbers
            .split("; ")
            .find_map(|part| part.strip_suffix(suffix)?.trim().parse().ok())
            .unwrap_or_default()
    };
    Some(Counts { passed: number("passed"), failed: number("failed"), skipped: number("ignored") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_harness_line() {
        let line = "test result: FAILED. 12 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(counts_of(line), Some(Counts { passed: 12, failed: 2, skipped: 1 }));
        assert_eq!(counts_of("running 3 tests"), None);
    }
}
