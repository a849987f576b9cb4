//! The development tasks of p2p-trace: `cargo xtask …`.

mod bench;
mod demo;
mod ebpf;
mod fuzz;
mod guest;
mod host;
mod kernels;
mod miri;
mod scenarios;
mod shell;
mod soak;
mod summary;
mod test;
mod toolchain;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use ebpf::Verdict;

/// Development tasks of p2p-trace.
///
/// Missing tools are installed when they are needed; each is printed first.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Compile the kernel side and write it to crates/probe/bpf.
    BuildEbpf {
        /// Compare with the committed objects instead: exit code 1 if they differ, 2 if the toolchain does.
        #[arg(long)]
        check: bool,
    },
    /// Get the kernels for the guests and print their paths.
    Kernels {
        /// `host` or a version such as 7.3; all kernels of the tests if none is named.
        labels: Vec<String>,
    },
    /// Boot a kernel, block an unbind and watch it with p2p-trace.
    Demo(demo::Options),
    /// Run only the scenarios in guests.
    Scenarios(scenarios::Options),
    /// Fuzz the readers with libFuzzer.
    Fuzz(fuzz::Options),
    /// Measure the cost of tracing in guest instructions, compared with other tracers.
    Bench(bench::Options),
    /// Run a command in a guest, on the machine of the scenarios.
    Shell(shell::Options),
    /// Run all checks of a change: format, lints, docs, tests.
    Test(test::Options),
    /// Run the long checks: many inputs and cases, all scenarios on all kernels, with repetitions.
    Soak(soak::Options),
}

/// A check has failed.
const FAILED: u8 = 1;
/// The result is inconclusive.
const INCONCLUSIVE: u8 = 2;
/// The task could not be carried out.
const ERROR: u8 = 3;
/// The command line is wrong.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(answer) => return answer_of(&answer),
    };
    match perform(arguments.task, &workspace()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(ERROR)
        }
    }
}

fn perform(task: Task, root: &Path) -> Result<ExitCode> {
    Ok(match task {
        Task::BuildEbpf { check: false } => {
            ebpf::build(root)?;
            ExitCode::SUCCESS
        }
        Task::BuildEbpf { check: true } => match ebpf::check(root)? {
            Verdict::Identical => ExitCode::SUCCESS,
            Verdict::Differs => ExitCode::from(FAILED),
            Verdict::ToolchainDiffers => ExitCode::from(INCONCLUSIVE),
        },
        Task::Kernels { labels } => success_if(list_kernels(root, &labels)),
        Task::Demo(options) => demo::run(root, &options)?,
        Task::Scenarios(options) => success_if(scenarios::run_alone(root, &options)?),
        Task::Fuzz(options) => {
            fuzz::run(root, &options)?;
            ExitCode::SUCCESS
        }
        Task::Bench(options) => {
            bench::run(root, &options)?;
            ExitCode::SUCCESS
        }
        Task::Shell(options) => shell::run(root, &options)?,
        Task::Test(options) => success_if(test::run(root, &options)?),
        Task::Soak(options) => success_if(soak::run(root, &options)),
    })
}

fn success_if(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

/// Gets kernels and prints them; returns whether all named or required ones are available.
fn list_kernels(root: &Path, labels: &[String]) -> bool {
    let named: Vec<&str> = labels.iter().map(String::as_str).collect();
    let selection = kernels::select(root, if named.is_empty() { &kernels::TESTED } else { &named });
    for kernel in &selection.found {
        println!(
            "{}: {}, {} and {}",
            kernel.label,
            kernel.release,
            kernel.image.display(),
            kernel.modules.display()
        );
    }
    for missing in &selection.missing {
        println!("{}: missing: {}", missing.label, missing.reason);
    }
    selection.missing.iter().all(|missing| !missing.required && named.is_empty())
}

/// Prints clap's help, version or error.
fn answer_of(answer: &clap::Error) -> ExitCode {
    let printed = answer.print();
    if answer.use_stderr() || printed.is_err() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
}

/// The workspace's root: the checkout that `cargo xtask` runs in.
fn workspace() -> PathBuf {
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let manifest = PathBuf::from(manifest);
    manifest.parent().map_or_else(|| manifest.clone(), Path::to_path_buf)
}
