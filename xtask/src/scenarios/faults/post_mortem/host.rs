//! On this machine: from a core to a dump, and what the tracer says of that.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::guest::Output;
use crate::scenarios::dump::tracer;
use crate::scenarios::stream::Stream;

/// What was made of a core.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(super) dump: PathBuf,
    /// The whole run, as `replay --json` tells it.
    pub(in crate::scenarios::faults) stream: Stream,
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
    let Output { code, err: said, .. } = tracer(&arguments)?;
    ensure!(code == 0, "recover ended with {code}: {}", said.join(" | "));
    of_dump(dump, said)
}

/// What is in a dump that `recover` has made, here or elsewhere.
pub(super) fn of_dump(dump: PathBuf, said: Vec<String>) -> Result<Recovered> {
    let target = text(&dump);
    let checked = judged(&["check", &target])?;
    let Output { code, out: lines, err } = tracer(["replay", "--json", &target])?;
    ensure!(code == 0, "replay ended with {code}: {}", err.join(" | "));
    Ok(Recovered { stream: Stream::parse(&lines)?, dump, said, checked })
}

/// What a command says of a dump in which a rule is violated.
pub(super) fn judged(arguments: &[&str]) -> Result<Vec<String>> {
    let said = tracer(arguments)?;
    ensure!(said.code == 1, "{} ended with {}: {}", arguments[0], said.code, said.text());
    Ok(said.out)
}

pub(super) fn text(path: &Path) -> String {
    path.display().to_string()
}
