//! The command line.

#![forbid(unsafe_code)]

mod doctor;
mod dump;
mod recover;
mod top;
mod tracing;

use std::{ffi::OsString, time::Duration};

use clap::{
    ArgAction, Args, CommandFactory as _, Parser, Subcommand, ValueEnum, ValueHint,
    builder::{PossibleValuesParser, TypedValueParser},
};
use clap_complete::Shell;
use p2p_trace_common::Hook;
use p2p_trace_model::{rules::Severity, stream::Level};

use crate::outfile::Output;

pub use doctor::DoctorArgs;
pub use dump::{CheckArgs, ExportArgs, RecordArgs, ReplayArgs, ReportArgs};
pub use recover::{CoreFormat, RecoverArgs};
pub use top::TopArgs;
pub use tracing::{StacksOf, TracingArgs};

/// Trace PCI peer-to-peer DMA memory: who allocated it, in which order it is torn down, and who uses it after its removal.
#[derive(Debug, Parser)]
#[command(
    name = "p2p-trace",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 success; 1 a rule is violated, or an unbind would block; 2 inconclusive or unknown; 3 error; 64 wrong usage; \
                  69 this kernel cannot be traced; 77 rights are missing, or the kernel is locked down. 1 and 2 are those of check, report, \
                  live with --fail-on or --until-finding, and holders --can-unbind; recover ends with 2 if it found no records.\n\n\
                  Without a command, p2p-trace runs `top`."
)]
pub struct Cli {
    /// The command; `top` without one.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Color the output
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorWhen,

    /// Print more messages on stderr, also from the kernel side; up to three times
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

impl Global {
    /// The level of the diagnostics to request from the kernel side; `None` without `--verbose`.
    #[must_use]
    pub const fn diagnostics(&self) -> Option<Level> {
        match self.verbose {
            0 => None,
            1 => Some(Level::Info),
            2 => Some(Level::Debug),
            _ => Some(Level::Trace),
        }
    }
}

/// When to color.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the p2p memory on this host in a dashboard: its holders, and what a teardown waits for
    Top(TopArgs),
    /// Show the events of p2p memory on this host as they happen
    Live(LiveArgs),
    /// Show who holds a device's p2p memory, and what an unbind would wait for
    Holders(HoldersArgs),
    /// Extract trace records from a crash dump
    Recover(RecoverArgs),
    /// Record the events of p2p memory on this host into a dump
    Record(RecordArgs),
    /// Show a dump as `live` showed the run, or in the dashboard
    Replay(ReplayArgs),
    /// Check a dump against the rules
    Check(CheckArgs),
    /// Write a report of a dump: Markdown, or an HTML page with a diagram of each teardown
    Report(ReportArgs),
    /// Write the files of a run as one dump; redacted with --redact
    Export(ExportArgs),
    /// Show what this kernel and this user can trace, and what prevents more
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page of p2p-trace or of a command
    Man {
        /// The command
        #[arg(value_name = "COMMAND")]
        command: Option<String>,
    },
}

/// Options of `live`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "With --fail-on or --until-finding the exit code is 1 if there was a finding of sufficient severity, 2 if there was \
                  none and a rule is inconclusive, otherwise 0. Without them a run that shuts down cleanly ends with 0, even with \
                  findings.\n\n\
                  Examples:\n  p2p-trace live --device nvme0\n  p2p-trace live --json --duration 10s > trace.ndjson\n  \
                  p2p-trace live --hook kill --hook remove --stacks\n  \
                  p2p-trace live --findings --fail-on high --duration 1h"
)]
pub struct LiveArgs {
    /// Which hooks and devices to trace, and how.
    #[command(flatten)]
    pub tracing: TracingArgs,

    /// End with 1 if there was a finding of at least this severity, otherwise with 2 if a rule is inconclusive
    #[arg(long, value_name = "SEVERITY", value_parser = severities(), help_heading = "Findings")]
    pub fail_on: Option<Severity>,

    /// End with 1 at the first finding (with --fail-on: the first of at least that severity)
    #[arg(long, help_heading = "Findings")]
    pub until_finding: bool,

    /// Show findings and verdicts, but no events
    #[arg(long, help_heading = "Output")]
    pub findings: bool,

    /// Write one JSON object per line (docs/schema/live.schema.json)
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Write an event dump to stdout instead of text: see `record`
    #[arg(long, conflicts_with_all = ["json", "record", "findings", "fail_on", "until_finding"], help_heading = "Output")]
    pub raw: bool,

    /// Also record into this file, which must not exist yet; with --force it is replaced once the new one has its header
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub record: Option<Output>,
}

/// Options of `holders`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "If a tracer is running, it is asked: it knows who allocated memory since it was started. Otherwise a single snapshot \
                  of the kernel's state shows the allocated memory and an unbind that hangs, but not who allocated the memory.\n\n\
                  With --can-unbind the exit code is 0 if nothing would block an unbind, 1 if something would, 2 if \
                  that is unknown.\n\n\
                  Examples:\n  p2p-trace holders\n  p2p-trace holders nvme0 --watch\n  \
                  p2p-trace holders --can-unbind 0000:01:00.0 && echo nothing would block"
)]
pub struct HoldersArgs {
    /// Only these devices: 0000:01:00.0, 01:00.0, or a name such as nvme0; all that have p2p memory, if none is given
    #[arg(value_name = "DEVICE")]
    pub device: Vec<String>,

    /// Print one line per device, and set the exit code: whether an unbind would complete without waiting
    #[arg(long, conflicts_with = "watch")]
    pub can_unbind: bool,

    /// Refresh continuously, until interrupted
    #[arg(long)]
    pub watch: bool,

    /// Time between refreshes: seconds, or 500ms, 10s, 2m
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1s", requires = "watch")]
    pub interval: Duration,

    /// Write JSON (docs/schema/holders.schema.json); with --watch one object per line
    #[arg(long)]
    pub json: bool,
}

/// How to attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AttachHow {
    /// fentry where it works, otherwise kprobe; kprobe before Linux 6.0, where fentry blocks live patches; where the kernel counts
    /// the runs that kprobes skip, kprobe also for the armed hooks, which attach sooner that way, and for hooks with stacks (--stacks)
    #[default]
    Auto,
    /// Only fentry and fexit
    Fentry,
    /// Only kprobe and kretprobe
    Kprobe,
}

/// Parses a command line.
///
/// # Errors
///
/// When the command line is invalid, or asks for help or the version.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(arguments)
}

/// The definition of the command line, for completions and manual pages.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

fn parse_hook(name: &str) -> Result<Hook, String> {
    Hook::from_name(name).ok_or_else(|| {
        let names: Vec<_> = Hook::ALL.iter().map(|hook| hook.name()).collect();
        format!("unknown hook; the hooks are {}", names.join(", "))
    })
}

/// Parses a severity by its name. Help and completions list the names.
fn severities() -> impl TypedValueParser<Value = Severity> {
    PossibleValuesParser::new(Severity::ALL.map(Severity::name))
        .try_map(|name| Severity::from_name(&name).ok_or("unknown severity"))
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    const HELP: &str = "write seconds, or 500ms, 10s, 2m, 1h30m";
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let unit_length = tail.find(|digit: char| digit.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_length);
        let number: u64 = number.parse().map_err(|_error| HELP.to_owned())?;
        let millis: u64 = match unit {
            "ms" => 1,
            "" | "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            _ => return Err(HELP.to_owned()),
        };
        let part = number.checked_mul(millis).map(Duration::from_millis);
        total = part.and_then(|part| total.checked_add(part)).ok_or("the time is too long")?;
        rest = tail;
    }
    if total.is_zero() { Err(format!("the time must not be zero: {HELP}")) } else { Ok(total) }
}

fn parse_size(text: &str) -> Result<u64, String> {
    const HELP: &str = "write bytes, or 512K, 4M, 1G";
    let digits = text.len() - text.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" | "B" => 0,
        "K" | "k" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        _ => return Err(HELP.to_owned()),
    };
    let number: u64 = number.parse().map_err(|_error| HELP.to_owned())?;
    number.checked_mul(1 << shift).filter(|&size| size > 0).ok_or_else(|| HELP.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2p_trace_probe::transport::{self, Attach, Request, Stacks};

    #[test]
    fn the_command_line_is_valid() {
        command().debug_assert();
    }

    #[test]
    fn parses_durations() {
        for (text, millis) in [("5", 5000), ("500ms", 500), ("2m", 120_000), ("1h30m", 5_400_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "0", "-1", "5x", "s", "99999999999999999999", "18446744073709551615h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn parses_sizes() {
        for (text, size) in [("65536", 65536), ("512K", 524_288), ("4M", 4 << 20), ("1GiB", 1 << 30)] {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        for text in ["", "0", "M", "4X", "-4", "18446744073709551615G"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn verbose_sets_the_level_of_diagnostics() {
        let level = |options: &[&str]| {
            let arguments = [&["p2p-trace"], options, &["live"]].concat();
            let cli = parse(arguments.into_iter().map(OsString::from)).unwrap();
            let Some(Command::Live(args)) = &cli.command else { panic!("{cli:?}") };
            args.tracing.request(&cli.global).diagnostics
        };
        assert_eq!(level(&[]), None);
        assert_eq!(level(&["-v"]), Some(Level::Info));
        assert_eq!(level(&["-vv"]), Some(Level::Debug));
        assert_eq!(level(&["-v", "-vv"]), Some(Level::Trace));
        assert_eq!(level(&["-vvvv"]), Some(Level::Trace));
    }

    #[test]
    fn options_are_part_of_the_request() {
        let arguments = [
            "p2p-trace",
            "live",
            "--device",
            "nvme0",
            "--hook",
            "kill",
            "--attach",
            "kprobe",
            "--fail-on",
            "high",
        ];
        let cli = parse(arguments.map(OsString::from)).unwrap();
        let Some(Command::Live(args)) = cli.command else { panic!("{cli:?}") };
        let expected = Request {
            devices: vec!["nvme0".to_owned()],
            hooks: vec![Hook::Kill],
            attach: Attach::Kprobe,
            ..Request::default()
        };
        assert_eq!(args.tracing.request(&cli.global), expected);
        assert_eq!(args.fail_on, Some(Severity::High));
        assert_eq!(args.tracing.stall_after, TracingArgs::default().stall_after, "the two defaults differ");
        assert_eq!(args.tracing.stack_depth, TracingArgs::default().stack_depth, "the two defaults differ");
    }

    #[test]
    fn stacks_are_those_of_allocations_by_default() {
        let asked = |options: &[&str]| {
            let arguments = ["p2p-trace", "live"].iter().chain(options).map(OsString::from);
            let cli = parse(arguments)?;
            let Some(Command::Live(args)) = cli.command else { panic!("{options:?}") };
            Ok::<_, clap::Error>(args.tracing.request(&cli.global).stacks)
        };
        let default = TracingArgs::default().stack_depth;
        let stacks = |of, depth| Some(Stacks { of, depth });
        assert_eq!(asked(&[]).unwrap(), None);
        assert_eq!(asked(&["--stacks"]).unwrap(), stacks(transport::StacksOf::Taking, default));
        assert_eq!(asked(&["--stacks=all"]).unwrap(), stacks(transport::StacksOf::All, default));
        let three = asked(&["--stacks=allocations", "--stack-depth", "3"]).unwrap();
        assert_eq!(three, stacks(transport::StacksOf::Taking, 3));
        assert!(asked(&["--stacks", "--stack-depth", "32"]).is_ok());
        for refused in [
            &["--stacks", "--stack-depth", "0"][..],
            &["--stacks", "--stack-depth", "33"],
            &["--stack-depth", "3"],
            &["--stacks=frees"],
        ] {
            assert!(asked(refused).is_err(), "{refused:?}");
        }
    }
}
