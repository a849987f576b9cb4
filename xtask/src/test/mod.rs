//! `cargo xtask test`: everything that must hold before a change goes in.

mod cargo;
mod licences;
mod spdx;
pub(crate) mod summary;
mod terminal;

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::bench::{self, expected};
use crate::{ebpf, fuzz, host::packages, kernels, scenarios};
use summary::{Counts, Outcome, Row, Summary};

/// What to test.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Run this stage only (repeatable).
    #[arg(long, value_name = "STAGE")]
    only: Vec<Stage>,
    /// Leave this stage out (repeatable).
    #[arg(long, value_name = "STAGE")]
    skip: Vec<Stage>,
}

/// The stages in their order: the quick ones first.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Stage {
    /// rustfmt has nothing to change.
    Format,
    /// All dependencies have licences that deny.toml allows.
    Licences,
    /// clippy finds nothing, with and without the default features.
    Lints,
    /// clippy finds nothing in the kernel side, compiled for BPF.
    LintsEbpf,
    /// rustdoc finds nothing.
    Docs,
    /// A plain build works.
    Build,
    /// Unit, property and doc tests.
    Tests,
    /// The readers bear what libFuzzer makes of the corpus, in a short run.
    Fuzz,
    /// A browser shows the page of a report, and has nothing to complain of.
    Browser,
    /// The dashboard over recorded dumps on a terminal: keys, sizes, and however it ends.
    Terminal,
    /// Tracing costs as many instructions as `bench/expected.rs` says.
    Cost,
    /// Scenarios in guests, on every kernel that can be had.
    Guests,
}

/// Runs the chosen stages and prints what they came to; returns whether all of them went well.
pub(crate) fn run(root: &Path, options: &Options) -> bool {
    let mut summary = Summary::default();
    for stage in Stage::value_variants() {
        let chosen =
            (options.only.is_empty() || options.only.contains(stage)) && !options.skip.contains(stage);
        if chosen {
            summary.extend(perform(*stage, root));
        } else {
            let reason = Outcome::Skipped("not asked for".to_owned());
            summary.push(Row::single(stage.name(), reason, std::time::Duration::ZERO));
        }
    }
    println!("\n{summary}");
    !summary.has_failed()
}

impl Stage {
    /// As it is written on the command line.
    fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }
}

/// Runs one stage, announced and timed.
fn perform(stage: Stage, root: &Path) -> Summary {
    println!("\n== {} ==", stage.name());
    let start = Instant::now();
    let result = match stage {
        Stage::Format => cargo::format(root).map(|()| None),
        Stage::Licences => licences::check(root).map(|()| None),
        Stage::Lints => cargo::lints(root).map(|()| None),
        Stage::LintsEbpf => ebpf::lint(root).map(|()| None),
        Stage::Docs => cargo::docs(root).map(|()| None),
        Stage::Build => cargo::build(root).map(|()| None),
        Stage::Tests => cargo::tests(root).map(Some),
        Stage::Fuzz => fuzz::run(root, &fuzz::Options::default()).map(|()| None),
        Stage::Browser => match packages::ensure(&packages::BROWSER) {
            Ok(()) => cargo::browser(root).map(Some),
            Err(error) => {
                let reason = format!("chromium is not installed: {error:#}");
                println!("{reason}");
                return Summary::from(Row::single(
                    stage.name(),
                    Outcome::Skipped(reason),
                    start.elapsed(),
                ));
            }
        },
        Stage::Terminal => terminal::run(root).map(Some),
        Stage::Cost => return Summary::from(Row::single(stage.name(), cost(root), start.elapsed())),
        Stage::Guests => match scenarios::run_on_all(root, &scenarios::Options::default()) {
            Ok(summary) => return summary,
            Err(error) => Err(error),
        },
    };
    Summary::from(row(stage, result, start))
}

/// Measures what tracing costs, on the kernel that there are figures for.
fn cost(root: &Path) -> Outcome {
    let selection = kernels::select(root, &["7.3"]);
    let release = selection.found.first().map(|kernel| kernel.release.as_str());
    if release != Some(expected::KERNEL) {
        let reason = format!("there are figures for Linux {} only", expected::KERNEL);
        println!("{reason}");
        return Outcome::Skipped(reason);
    }
    match bench::measure(root, "7.3", &expected::cases()).map(|rows| expected::deviations(&rows)) {
        Ok(deviations) if deviations.is_empty() => Outcome::Passed,
        Ok(deviations) => {
            for deviation in &deviations {
                println!("{deviation}");
            }
            Outcome::Failed(deviations.join("; "))
        }
        Err(error) => {
            println!("{error:#}");
            Outcome::Failed(error.to_string())
        }
    }
}

fn row(stage: Stage, result: Result<Option<Counts>>, start: Instant) -> Row {
    let outcome = match &result {
        Ok(Some(Counts {
            failed: failed @ 1.., ..
        })) => Outcome::Failed(format!("{failed} failed")),
        Ok(_) => Outcome::Passed,
        Err(error) => {
            println!("{error:#}");
            Outcome::Failed(error.to_string().lines().next().unwrap_or_default().to_owned())
        }
    };
    let single = Row::single(stage.name(), outcome, start.elapsed());
    match result {
        Ok(Some(counts)) => Row { counts, ..single },
        _ => single,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_tests_fail_the_stage() {
        let counts = Counts {
            passed: 3,
            failed: 1,
            skipped: 0,
        };
        let row = row(Stage::Tests, Ok(Some(counts)), Instant::now());
        assert_eq!(row.outcome, Outcome::Failed("1 failed".to_owned()));
        assert_eq!(row.counts, counts);
    }

    #[test]
    fn an_error_is_shown_by_its_first_line() {
        let row = row(
            Stage::Build,
            Err(anyhow::anyhow!("building failed\nlong output")),
            Instant::now(),
        );
        assert_eq!(row.outcome, Outcome::Failed("building failed".to_owned()));
    }
}
