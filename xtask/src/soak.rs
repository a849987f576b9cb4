//! `cargo xtask soak`: long checks, before a larger change is complete. It runs in full everything that
//! `cargo xtask test` shortens or omits on some kernels.

use std::path::Path;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::bench::{self, Plan, expected, speed};
use crate::ebpf::{self, Verdict};
use crate::fuzz;
use crate::host::cargo::{Profile, user_space};
use crate::miri;
use crate::scenarios::{self, Effort};
use crate::summary::Outcome;
use crate::test::cargo::counted;
use crate::test::stage::{Choice, Done};

/// The stages to run, and for how long.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    stages: Choice<Stage>,
    /// Multiplies the numbers of cases, inputs, kills and repetitions.
    #[arg(long, value_name = "FACTOR", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    scale: u16,
    /// Run each fuzz target for this many seconds instead of a number of inputs.
    #[arg(long, value_name = "SECONDS")]
    fuzz_seconds: Option<u32>,
}

/// The stages in their order.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Stage {
    /// The kernel side compiles to exactly the committed bytes.
    Objects,
    /// Property tests, with many cases each.
    Properties,
    /// Miri finds no undefined behavior in the code that reads the rings, and in the codec.
    Miri,
    /// The readers withstand libFuzzer's mutations of the corpus, in a long run.
    Fuzz,
    /// All scenarios on every kernel, including those that the short run omits; a recorder is killed many
    /// times.
    Guests,
    /// Scenarios with races, repeated.
    Repeats,
    /// The cost, and many events at full speed, of release builds.
    Cost,
}

/// Cases of a property test; 256 in a plain run.
const CASES: u64 = 4096;
/// Multiple of a short run's inputs for each fuzz target.
const RUNS: u32 = 50;
/// Repetitions of scenarios with races.
const TIMES: usize = 5;
/// Scenarios that race with the kernel, or with themselves.
const RACING: [&str; 5] = ["race-2018", "late-uses", "racing-allocations", "dead-chunk", "nested-producers"];
/// Pairs that each processor makes at full speed, four times those of the short run.
const PAIRS: u64 = 4 * speed::PAIRS;

/// Runs the chosen stages and prints a summary; returns whether all of them passed.
pub(crate) fn run(root: &Path, options: &Options) -> bool {
    let work = |&stage: &Stage| perform(stage, root, options);
    let summary = options.stages.perform(true, None, work);
    println!("\n{summary}");
    !summary.has_failed()
}

fn perform(stage: Stage, root: &Path, options: &Options) -> Result<Done> {
    let scale = options.scale;
    Ok(match stage {
        Stage::Objects => Done::Outcome(objects(root)?),
        Stage::Properties => {
            let mut test = user_space(root, "test");
            test.args(["--lib", "--no-fail-fast"])
                .env("PROPTEST_CASES", (CASES * u64::from(scale)).to_string());
            Done::Tests(counted(test)?)
        }
        Stage::Miri => miri::run(root)?,
        Stage::Fuzz => {
            let runs = match options.fuzz_seconds {
                Some(seconds) => vec![fuzz::Options::timed(seconds)],
                None => fuzz::Options::scaled(RUNS.saturating_mul(scale.into())),
            };
            for run in runs {
                fuzz::run(root, &run)?;
            }
            println!("fuzz: {} inputs so far on this host, all targets together", fuzz::total(root));
            Done::Outcome(Outcome::Passed)
        }
        Stage::Guests => {
            let effort = Effort::long(1, Effort::KILLS * u32::from(scale));
            let all = scenarios::Options::default();
            Done::Rows(scenarios::run_on_all(root, &all, effort)?)
        }
        Stage::Repeats => {
            let racing = scenarios::Options::of(&RACING);
            let effort = Effort::long(TIMES * usize::from(scale), 1);
            Done::Rows(scenarios::run_on_all(root, &racing, effort)?)
        }
        Stage::Cost => Done::Outcome(cost(root)?),
    })
}

fn objects(root: &Path) -> Result<Outcome> {
    Ok(match ebpf::check(root)? {
        Verdict::Identical => Outcome::Passed,
        Verdict::Differs => Outcome::Failed("the objects differ".to_owned()),
        Verdict::ToolchainDiffers => Outcome::Skipped("the toolchain differs".to_owned()),
    })
}

/// Runs on the kernel of the expected figures.
fn cost(root: &Path) -> Result<Outcome> {
    let plan = Plan { names: &expected::cases(), profile: Profile::Release, pairs: PAIRS, at_rest: true };
    bench::cost(root, plan)
}
