//! Runs the fuzz targets of `fuzz/`, on the stable compiler: libFuzzer needs only the coverage, and no sanitizer.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::host::cargo::plain;
use crate::host::{command, packages};

/// Which targets to run, and how long.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Run this target only (repeatable): dump or core.
    #[arg(long, value_name = "NAME", value_parser = ["dump", "core"])]
    target: Vec<String>,
    /// So many inputs for each.
    #[arg(long, value_name = "COUNT", default_value_t = RUNS)]
    runs: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self::of(RUNS)
    }
}

impl Options {
    /// All targets, so many inputs for each.
    pub(crate) const fn of(runs: u32) -> Self {
        Self { target: Vec::new(), runs }
    }
}

/// Enough to see that targets and corpus are alive, and to find what is easily found.
const RUNS: u32 = 20_000;

/// A target, and where its corpus lies in the repository.
const TARGETS: [(&str, &[&str]); 2] = [
    ("dump", &["crates/dump/tests/fixtures/dumps", "p2p-trace/tests/golden/1"]),
    ("core", &["crates/dump/tests/fixtures/cores"]),
];

/// The coverage that libFuzzer goes by, as `cargo fuzz` asks for it (its options `--sanitizer none` and `--release`).
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                     -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";
/// Named, so that build scripts and macros are compiled without.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// No input may take so many seconds, nor so many MiB.
const LIMITS: [&str; 2] = ["-timeout=30", "-rss_limit_mb=1024"];

/// Builds the targets and runs them. What they find is kept below `target/fuzz`.
///
/// # Errors
///
/// They cannot be built, or one has found something.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    packages::ensure(&packages::FUZZ)?;
    let target_dir = root.join("target/fuzz");
    let mut build = plain(&root.join("fuzz"));
    build
        .args([
            "build",
            // Not locked: its lock file follows what p2p-trace itself depends on.
            "--release",
            "--target",
            TRIPLE,
            "--target-dir",
        ])
        .arg(&target_dir)
        .env("RUSTFLAGS", FLAGS)
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    command::run(&mut build, "building the fuzz targets")?;
    for (name, corpus) in TARGETS {
        if !options.target.is_empty() && !options.target.iter().any(|target| target == name) {
            continue;
        }
        println!("-- {name} --");
        let found = target_dir.join("corpus").join(name);
        fs::create_dir_all(&found).with_context(|| format!("cannot create {}", found.display()))?;
        let mut fuzz = Command::new(target_dir.join(TRIPLE).join("release").join(name));
        fuzz.arg(format!("-runs={}", options.runs))
            .args(LIMITS)
            .arg("-print_final_stats=1")
            .arg(format!("-artifact_prefix={}/{name}-", target_dir.display()))
            // What is new goes into the first folder.
            .arg(found)
            .args(corpus.iter().map(|folder| root.join(folder)));
        command::run(&mut fuzz, &format!("fuzzing {name}"))?;
    }
    Ok(())
}
