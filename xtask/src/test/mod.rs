//! `cargo xtask test`: all checks that must pass before a change is merged.

mod background;
pub(crate) mod cargo;
mod licences;
pub(crate) mod stage;
mod tools;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::bench::{self, Plan, expected, speed};
use crate::guest::programs;
use crate::host::{cargo::Profile, packages};
use crate::scenarios::{self, Effort};
use crate::summary::Outcome;
use crate::{ebpf, fuzz};
use background::Background;
use stage::{Choice, Done, Side};

/// The stages to run.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    stages: Choice<Stage>,
    /// Write the results to this file instead of printing them.
    #[arg(long, value_name = "FILE", hide = true)]
    rows: Option<PathBuf>,
}

/// The stages in their order.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Stage {
    /// rustfmt has nothing to change.
    Format,
    /// Install and download the prerequisites of the other stages.
    Tools,
    /// The programs of the guests compile in a plain build, without dependencies of tests.
    Build,
    /// clippy finds nothing, with and without the default features.
    Lints,
    /// clippy finds nothing in the kernel side, compiled for BPF.
    LintsEbpf,
    /// rustdoc finds nothing.
    Docs,
    /// Unit, property and doc tests.
    Tests,
    /// The readers withstand libFuzzer's mutations of the corpus, in a short run.
    Fuzz,
    /// A browser shows the page of a report without an error.
    Browser,
    /// All dependencies have licenses and sources that deny.toml allows.
    Licences,
    /// The cost of tracing in instructions is as `bench/expected.rs` says.
    Cost,
    /// Scenarios in guests, on every available kernel.
    Guests,
}

/// A guest mostly waits, and its time must not depend on other work.
const SIDE: Side<Stage> = Side {
    busy: &[
        Stage::Lints,
        Stage::LintsEbpf,
        Stage::Docs,
        Stage::Tests,
        Stage::Fuzz,
        Stage::Browser,
        Stage::Licences,
    ],
    waiting: &[Stage::Cost, Stage::Guests],
    start: Background::start,
};

/// Runs the chosen stages and prints a summary; returns whether all of them passed.
///
/// # Errors
///
/// The results cannot be written to the requested file.
pub(crate) fn run(root: &Path, options: &Options) -> Result<bool> {
    let stages = &options.stages;
    let show_skipped = options.rows.is_none();
    let summary = stages.perform(show_skipped, Some(SIDE), |&stage| perform(stage, root, stages));
    match &options.rows {
        Some(rows) => background::write_results(rows, &summary)?,
        None => println!("\n{summary}"),
    }
    Ok(!summary.has_failed())
}

fn perform(stage: Stage, root: &Path, choice: &Choice<Stage>) -> Result<Done> {
    match stage {
        Stage::Format => cargo::format(root)?,
        Stage::Licences => licences::check(root)?,
        Stage::Tools => tools::get(root, |stage| choice.has(&stage)),
        Stage::Lints => cargo::lints(root)?,
        Stage::LintsEbpf => ebpf::lint(root)?,
        Stage::Docs => cargo::docs(root)?,
        Stage::Build => drop(programs::build(root, Profile::Guest)?),
        Stage::Tests => return cargo::tests(root).map(Done::Tests),
        Stage::Fuzz => fuzz::run(root, &fuzz::Options::default())?,
        Stage::Browser => return browser(root),
        Stage::Cost => return cost(root),
        Stage::Guests => {
            let all = scenarios::Options::default();
            return scenarios::run_on_all(root, &all, Effort::short()).map(Done::Rows);
        }
    }
    Ok(Done::Outcome(Outcome::Passed))
}

fn browser(root: &Path) -> Result<Done> {
    if let Err(error) = packages::ensure(&packages::BROWSER) {
        let reason = format!("chromium is not installed: {error:#}");
        println!("{reason}");
        return Ok(Done::Outcome(Outcome::Skipped(reason)));
    }
    cargo::browser(root).map(Done::Tests)
}

/// Uses the programs of the tests: the figures are about the kernel side.
fn cost(root: &Path) -> Result<Done> {
    let plan =
        Plan { names: &expected::cases(), profile: Profile::Guest, pairs: speed::PAIRS, at_rest: false };
    bench::cost(root, plan).map(Done::Outcome)
}
