//! On this machine: from a core to a dump, and what the tracer says of that.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::guest::programs;
use crate::scenarios::stream::Stream;

/// What was made of a core.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(super) dump: PathBuf,
    /// The whole run, as `replay --json` tells it.
    pub(super) stream: Stream,
    /// What `recover` said.
    pub(crate) said: Vec<String>,
    /// What `check` said.
    pub(crate) checked: Vec<String>,
}

/// Runs `recover`, `check` and `replay`, behind what was recorded if that is given.
pub(crate) fn recover(core: &Path, recorded: Option<&Path>) -> Result<Recovered> {
    let dump = core.with_extension(if recorded.is_some() { "with.p2pt" } else { "p2pt" });
    let (core, target) = (text(core), text(&dump));
    // The cores of one guest lead to the same name.
    let mut arguments = vec!["recover", &core, "-o", &target, "--force"];
    let recorded = recorded.map(text);
    if let Some(recorded) = &recorded {
        arguments.extend(["--with", recorded]);
    }
    let (code, _, said) = run(&arguments)?;
    ensure!(code == 0, "recover ended with {code}: {}", said.join(" | "));
    of_dump(dump, said)
}

/// What is in a dump that `recover` has made, here or elsewhere.
pub(super) fn of_dump(dump: PathBuf, said: Vec<String>) -> Result<Recovered> {
    let target = text(&dump);
    let checked = judged(&["check", &target])?;
    let (code, lines, errors) = run(&["replay", "--json", &target])?;
    ensure!(code == 0, "replay ended with {code}: {}", errors.join(" | "));
    Ok(Recovered {
        stream: Stream::parse(&lines)?,
        dump,
        said,
        checked,
    })
}

/// What a command says of a dump in which a rule is violated.
pub(super) fn judged(arguments: &[&str]) -> Result<Vec<String>> {
    let (code, lines, errors) = run(arguments)?;
    ensure!(
        code == 1,
        "{} ended with {code}: {} {}",
        arguments[0],
        lines.join(" | "),
        errors.join(" | ")
    );
    Ok(lines)
}

pub(super) fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Runs the tracer that the guest has, on this machine.
fn run(arguments: &[&str]) -> Result<(i32, Vec<String>, Vec<String>)> {
    let program = programs::built(&crate::workspace(), "p2p-trace");
    let output = Command::new(&program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let lines = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes)
            .lines()
            .map(str::to_owned)
            .collect()
    };
    let code = output.status.code().context("p2p-trace was killed")?;
    Ok((code, lines(&output.stdout), lines(&output.stderr)))
}
