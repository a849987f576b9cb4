//! Runs the fuzz targets of `fuzz/` with the stable compiler: libFuzzer needs only the coverage, and no
//! sanitizer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::host::cargo::plain;
use crate::host::{command, packages};

/// The targets to run, and for how long.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Options {
    /// Run only this target (repeatable): dump, core, btf, texts or shown.
    #[arg(long, value_name = "NAME", value_parser = TARGETS.map(|target| target.name))]
    target: Vec<String>,
    /// Number of inputs for each target; by default, as many as take a quarter of a minute or less.
    #[arg(long, value_name = "COUNT")]
    runs: Option<u32>,
    /// Run each target for this many seconds, with any number of inputs.
    #[arg(long, value_name = "SECONDS", conflicts_with = "runs")]
    seconds: Option<u32>,
}

impl Options {
    /// All targets, with `factor` times the inputs of a short run.
    pub(crate) fn scaled(factor: u32) -> Vec<Self> {
        let of = |target: &Target| Self {
            target: vec![target.name.to_owned()],
            runs: Some(target.runs.saturating_mul(factor)),
            seconds: None,
        };
        TARGETS.iter().map(of).collect()
    }

    /// All targets, each for this many seconds.
    pub(crate) const fn timed(seconds: u32) -> Self {
        Self { target: Vec::new(), runs: None, seconds: Some(seconds) }
    }
}

struct Target {
    name: &'static str,
    /// Folders of its corpus in the repository.
    corpus: &'static [&'static str],
    /// Inputs of a short run: enough to check that target and corpus work, and to find shallow bugs.
    runs: u32,
}

const DUMPS: &str = "crates/dump/tests/fixtures/dumps";

const TARGETS: [Target; 5] = [
    Target { name: "dump", corpus: &[DUMPS, "p2p-trace/tests/golden/1"], runs: 4_000 },
    Target { name: "core", corpus: &["crates/dump/tests/fixtures/cores"], runs: 15_000 },
    Target { name: "btf", corpus: &["fuzz/corpus/btf"], runs: 200_000 },
    Target { name: "texts", corpus: &["fuzz/corpus/texts"], runs: 60_000 },
    Target { name: "shown", corpus: &["fuzz/corpus/shown", DUMPS], runs: 400 },
];

/// The folder of the number of inputs of each target over all runs on this host.
const COUNTS: &str = "executions";

/// The coverage that libFuzzer uses, with the flags of `cargo fuzz` (its options `--sanitizer none` and
/// `--release`).
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";
/// Named explicitly, so that the flags do not apply to build scripts and macros.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// Limits of each input, in seconds and MiB.
const LIMITS: [&str; 2] = ["-timeout=30", "-rss_limit_mb=1024"];

/// Builds and runs the targets, and prints the number of inputs of each. Findings are kept below
/// `target/fuzz`.
///
/// # Errors
///
/// A target cannot be built, or has found something.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let target_dir = build(root)?;
    let is_chosen =
        |target: &&Target| options.target.is_empty() || options.target.iter().any(|name| name == target.name);
    for target in TARGETS.iter().filter(is_chosen) {
        let length = match options.seconds {
            Some(seconds) => format!("-max_total_time={seconds}"),
            None => format!("-runs={}", options.runs.unwrap_or(target.runs)),
        };
        fuzz(root, &target_dir, target, &length)?;
    }
    Ok(())
}

fn build(root: &Path) -> Result<PathBuf> {
    packages::ensure(&packages::FUZZ)?;
    let target_dir = root.join("target/fuzz");
    let mut build = plain(&root.join("fuzz"));
    build
        .args([
            "build",
            // Not locked: its lock file follows p2p-trace's own dependencies.
            "--release",
            "--target",
            TRIPLE,
            "--target-dir",
        ])
        .arg(&target_dir)
        .env("RUSTFLAGS", FLAGS)
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    command::run(&mut build, "building the fuzz targets")?;
    Ok(target_dir)
}

fn fuzz(root: &Path, target_dir: &Path, target: &Target, length: &str) -> Result<()> {
    let name = target.name;
    let found = target_dir.join("corpus").join(name);
    fs::create_dir_all(&found).with_context(|| format!("cannot create {}", found.display()))?;
    let started = Instant::now();
    let mut fuzz = Command::new(target_dir.join(TRIPLE).join("release").join(name));
    fuzz.arg(length)
        .args(LIMITS)
        .arg("-print_final_stats=1")
        .arg(format!("-artifact_prefix={}/{name}-", target_dir.display()))
        // New inputs go into the first folder.
        .arg(found)
        .args(target.corpus.iter().map(|folder| root.join(folder)));
    let output = command::listen(&mut fuzz, &format!("fuzzing {name}"))?;
    let count = executions(&output).context("libFuzzer does not print the number of inputs")?;
    let total = add_up(target_dir, name, count)?;
    let seconds = started.elapsed().as_secs();
    println!("fuzz: {name}: {count} inputs in {seconds} s, {total} so far on this host");
    Ok(())
}

/// Parses libFuzzer's final statistics.
fn executions(output: &str) -> Option<u64> {
    let line = output.lines().rev().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    line?.trim().parse().ok()
}

/// Adds to the stored number of inputs over all runs, and returns the sum.
fn add_up(target_dir: &Path, name: &str, count: u64) -> Result<u64> {
    let folder = target_dir.join(COUNTS);
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(name);
    let before = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let total = before.unwrap_or_default() + count;
    fs::write(&path, format!("{total}\n")).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(total)
}

/// Inputs of all targets together, over all runs on this host.
pub(crate) fn total(root: &Path) -> u64 {
    let folder = root.join("target/fuzz").join(COUNTS);
    let count =
        |target: &Target| fs::read_to_string(folder.join(target.name)).ok()?.trim().parse::<u64>().ok();
    TARGETS.iter().filter_map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_the_inputs_of_all_runs() {
        let output = "#4096\tDONE\nstat::number_of_executed_units: 4096\nstat::peak_rss_mb: 80\n";
        assert_eq!((executions(output), executions("#1 DONE")), (Some(4096), None));
        let root = tempfile::tempdir().unwrap();
        let target_dir = root.path().join("target/fuzz");
        assert_eq!(add_up(&target_dir, "dump", 4096).unwrap(), 4096);
        assert_eq!(add_up(&target_dir, "dump", 4).unwrap(), 4100);
        assert_eq!(add_up(&target_dir, "btf", 7).unwrap(), 7);
        assert_eq!(total(root.path()), 4107);
    }
}
