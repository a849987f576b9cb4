//! `cargo xtask test`: everything that must hold before a change goes in.

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

/// What to test.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    stages: Choice<Stage>,
    /// Write what they came to into this file instead of printing it.
    #[arg(long, value_name = "FILE", hide = true)]
    rows: Option<PathBuf>,
}

/// The stages in their order.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Stage {
    /// rustfmt has nothing to change.
    Format,
    /// What the other stages need is installed and downloaded.
    Tools,
    /// The programs of the guests compile, as a plain build does: without what only tests depend on.
    Build,
    /// clippy finds nothing, with and without the default features.
    Lints,
    /// clippy finds nothing in the kernel side, compiled for BPF.
    LintsEbpf,
    /// rustdoc finds nothing.
    Docs,
    /// Unit, property and doc tests.
    Tests,
    /// The readers bear what libFuzzer makes of the corpus, in a short run.
    Fuzz,
    /// A browser shows the page of a report, and has nothing to complain of.
    Browser,
    /// All dependencies have licences and origins that deny.toml allows.
    Licences,
    /// Tracing costs as many instructions as `bench/expected.rs` says.
    Cost,
    /// Scenarios in guests, on every kernel that can be had.
    Guests,
}

/// A guest mostly waits, and its time must not depend on what else is done.
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

/// Runs the chosen stages and prints what they came to; returns whether all of them went well.
///
/// # Errors
///
/// Whoever wants to read what they came to cannot be told.
pub(crate) fn run(root: &Path, options: &Options) -> Result<bool> {
    let stages = &options.stages;
    let whole = options.rows.is_none();
    let summary = stages.perform(whole, Some(SIDE), |&stage| perform(stage, root, stages));
    match &options.rows {
        Some(rows) => background::tell(rows, &summary)?,
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
    Ok(Done::Whole(Outcome::Passed))
}

fn browser(root: &Path) -> Result<Done> {
    if let Err(error) = packages::ensure(&packages::BROWSER) {
        let reason = format!("chromium is not installed: {error:#}");
        println!("{reason}");
        return Ok(Done::Whole(Outcome::Skipped(reason)));
    }
    cargo::browser(root).map(Done::Tests)
}

/// Programs as they are tested: the figures are of the kernel side.
fn cost(root: &Path) -> Result<Done> {
    let plan =
        Plan { names: &expected::cases(), profile: Profile::Guest, pairs: speed::PAIRS, at_rest: false };
    bench::cost(root, plan).map(Done::Whole)
}
