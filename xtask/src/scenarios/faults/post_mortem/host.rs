//! On the host: from a core to an event dump, and the output of the tracer's commands.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::guest::Output;
use crate::scenarios::dump::tracer;
use crate::scenarios::stream::Stream;

/// The results of a core.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(super) dump: PathBuf,
    /// The complete run, from `replay --json`.
    pub(in crate::scenarios::faults) stream: Stream,
    /// The stderr of `recover`.
    pub(crate) messages: Vec<String>,
    /// The output of `check`.
    pub(crate) checked: Vec<String>,
}

/// Runs `recover`, `check` and `replay`, with the recorded dump if there is one.
pub(crate) fn recover(core: &Path, recorded: Option<&Path>) -> Result<Recovered> {
    let dump = core.with_extension(if recorded.is_some() { "with.p2pt" } else { "p2pt" });
    let (core, target) = (text(core), text(&dump));
    // The cores of one guest lead to the same name.
    let mut arguments = vec!["recover", &core, "-o", &target, "--force"];
    let recorded = recorded.map(text);
    if let Some(recorded) = &recorded {
        arguments.extend(["--with", recorded]);
    }
    let Output { code, err: messages, .. } = tracer(&arguments)?;
    ensure!(code == 0, "recover ended with {code}: {}", messages.join(" | "));
    of_dump(dump, messages)
}

/// Checks and replays a dump that `recover` wrote, here or in a guest.
pub(super) fn of_dump(dump: PathBuf, messages: Vec<String>) -> Result<Recovered> {
    let target = text(&dump);
    let checked = violated(&["check", &target])?;
    let Output { code, out: lines, err } = tracer(["replay", "--json", &target])?;
    ensure!(code == 0, "replay ended with {code}: {}", err.join(" | "));
    Ok(Recovered { stream: Stream::parse(&lines)?, dump, messages, checked })
}

/// Runs a command on a dump in which a rule is violated, and returns its output.
pub(super) fn violated(arguments: &[&str]) -> Result<Vec<String>> {
    let output = tracer(arguments)?;
    ensure!(output.code == 1, "{} exited with {}: {}", arguments[0], output.code, output.text());
    Ok(output.out)
}

pub(super) fn text(path: &Path) -> String {
    path.display().to_string()
}
