//! `cargo xtask soak`: what takes long, before something larger is called done. Whatever `cargo xtask test` has in a short form or
//! leaves out on some kernels is here.

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

/// What to run, and for how long.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(flatten)]
    stages: Choice<Stage>,
    /// So many times as many cases, inputs, kills and repetitions.
    #[arg(long, value_name = "FACTOR", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    scale: u16,
    /// Feed each fuzz target for so many seconds, in place of a number of inputs.
    #[arg(long, value_name = "SECONDS")]
    fuzz_seconds: Option<u32>,
}

/// The stages in their order.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Stage {
    /// The kernel side compiled anew is byte for byte what is committed.
    Objects,
    /// Property tests, with many cases each.
    Properties,
    /// Miri finds no undefined behaviour in what reads the rings, and in the codec.
    Miri,
    /// The readers bear what libFuzzer makes of the corpus, in a long run.
    Fuzz,
    /// All scenarios on every kernel, also where the short run leaves them out; a recorder is killed many times.
    Guests,
    /// Scenarios in which something races, again and again.
    Repeats,
    /// The cost, and many events at full speed, of the programs as users have them.
    Cost,
}

/// Cases of a property test; 256 in a plain run.
const CASES: u64 = 4096;
/// So many times as many inputs of a fuzz target as in the short run.
const RUNS: u32 = 50;
/// How often something that races is run.
const TIMES: usize = 5;
/// What races with the kernel, or with itself.
const RACING: [&str; 5] = ["race-2018", "late-uses", "racing-allocations", "dead-chunk", "nested-producers"];
/// Pairs that each processor makes at full speed, four times those of the short run.
const PAIRS: u64 = 4 * speed::PAIRS;

/// Runs the chosen stages and prints what they came to; returns whether all of them went well.
pub(crate) fn run(root: &Path, options: &Options) -> bool {
    let work = |&stage: &Stage| perform(stage, root, options);
    let summary = options.stages.perform(true, None, work);
    println!("\n{summary}");
    !summary.has_failed()
}

fn perform(stage: Stage, root: &Path, options: &Options) -> Result<Done> {
    let scale = options.scale;
    Ok(match stage {
        Stage::Objects => Done::Whole(objects(root)?),
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
            println!("fuzz: {} inputs so far on this machine, all targets together", fuzz::total(root));
            Done::Whole(Outcome::Passed)
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
        Stage::Cost => Done::Whole(cost(root)?),
    })
}

fn objects(root: &Path) -> Result<Outcome> {
    Ok(match ebpf::check(root)? {
        Verdict::Identical => Outcome::Passed,
        Verdict::Differs => Outcome::Failed("the objects differ".to_owned()),
        Verdict::ToolchainDiffers => Outcome::Skipped("the toolchain differs".to_owned()),
    })
}

/// On the kernel that there are figures for.
fn cost(root: &Path) -> Result<Outcome> {
    let plan = Plan { names: &expected::cases(), profile: Profile::Release, pairs: PAIRS, at_rest: true };
    bench::cost(root, plan)
}
