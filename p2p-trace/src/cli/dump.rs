//! Options of the commands that write and read dumps.

use std::time::Duration;

use clap::{Args, ValueHint};
use p2p_trace_model::rules::Severity;

use super::{TracingArgs, parse_duration, parse_size, severities};
use crate::outfile::{Input, Output};

/// Options of `record`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The first file is FILE, the next ones are FILE.1, FILE.2 and so on. Each can be read alone. What belongs to a \
                  teardown and each finding is on the disk at once, the rest within a second. With --force each of them replaces \
                  the file of its name as soon as its own beginning is written. Without it a single FILE must not exist; \
                  a run in several files (--max-size, --max-age, --flight-recorder) goes on behind those that are \
                  there, with the next free number, so that a service can be started again as it is.\n\n\
                  Examples:\n  p2p-trace record -o trace.p2pt\n  \
                  p2p-trace record -o /var/log/p2p.p2pt --max-size 256M --keep 8\n  \
                  p2p-trace record -o /var/log/p2p.p2pt --flight-recorder --history 10m\n  \
                  ssh host p2p-trace record -o - | p2p-trace check -"
)]
pub struct RecordArgs {
    /// The file to write; `-` writes to stdout
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Output,

    /// What to trace, and how.
    #[command(flatten)]
    pub tracing: TracingArgs,

    /// Begin another file when one has grown so large, such as 256M
    #[arg(long, value_name = "BYTES", value_parser = parse_size, help_heading = "Output")]
    pub max_size: Option<u64>,

    /// Begin another file when one is so old
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "Output")]
    pub max_age: Option<Duration>,

    /// Keep so many files, the latest, and remove older dumps of this name, also those of earlier runs
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Output")]
    pub keep: Option<u32>,

    /// Write nothing until a finding is told, SIGUSR1 arrives or the run breaks off; then the last minutes, and what comes
    /// just after them
    #[arg(long, conflicts_with_all = ["max_size", "max_age"], help_heading = "Flight recorder")]
    pub flight_recorder: bool,

    /// Keep so much history in memory
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5m", requires = "flight_recorder", help_heading = "Flight recorder")]
    pub history: Duration,

    /// Keep at most so many bytes of it
    #[arg(long, value_name = "BYTES", value_parser = parse_size, default_value = "64M", requires = "flight_recorder", help_heading = "Flight recorder")]
    pub history_size: u64,

    /// Make it fit to be given away: addresses are moved; tasks, cgroups and the boot id get other names; the host's name and
    /// error texts go (docs/dump-format.md)
    #[arg(long, help_heading = "Output")]
    pub redact: bool,
}

/// Options of `replay`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "The exit code is 0 once everything was shown, whatever was found: `check` judges.\n\n\
                  Examples:\n  p2p-trace replay trace.p2pt\n  p2p-trace replay --json trace.p2pt.* > trace.ndjson\n  \
                  p2p-trace replay --follow --findings /var/log/p2p.p2pt"
)]
pub struct ReplayArgs {
    /// The files of a dump, in any order; `-` reads stdin
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub files: Vec<Input>,

    /// Write text for people, as `live` does; without it, and without --json, a terminal gets the dashboard
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    pub text: bool,

    /// Write one JSON object per line, as `live --json` does (docs/schema/live.schema.json)
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Nothing but ASCII on the dashboard, whatever the locale says
    #[arg(long, help_heading = "Output")]
    pub ascii: bool,

    /// Show findings and verdicts, but no events: as text or JSON
    #[arg(long, help_heading = "Output")]
    pub findings: bool,

    /// Follow a dump that is still being written, from this file through the next ones (FILE.1, FILE.2 …) to the end of the
    /// run, or until interrupted: as text or JSON
    #[arg(long, help_heading = "Output")]
    pub follow: bool,

    /// Show all stacks
    #[arg(long, help_heading = "Output")]
    pub stacks: bool,

    /// Show it as `export --redact` would write it: fit to be given away
    #[arg(long, help_heading = "Output")]
    pub redact: bool,
}

/// Options of `export`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The rules come to the same for what is written, damage included. What is redacted goes by other names with \
                  each export: export all files of a run at once.\n\n\
                  Exit codes: 0 a dump was written, 3 a file could not be read, they are not of one run, or the dump could not be \
                  written, such as because there is a file of its name, 64 the dump would be one of the files that are read.\n\n\
                  Examples:\n  p2p-trace export --redact trace.p2pt -o for-the-maintainers.p2pt\n  \
                  p2p-trace export /var/log/p2p.p2pt* -o one.p2pt"
)]
pub struct ExportArgs {
    /// The files of one run, in any order; `-` reads stdin
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub files: Vec<Input>,

    /// The dump to write, which must not exist yet; `-` writes to stdout
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Output,

    /// Replace the dump if it exists already, once the new one is complete
    #[arg(long)]
    pub force: bool,

    /// Make it fit to be given away: addresses are moved; tasks, cgroups and the boot id get other names; the host's name and
    /// error texts go (docs/dump-format.md)
    #[arg(long)]
    pub redact: bool,
}

/// Options of `check`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "Exit codes: 0 every rule that was checked holds, 1 one is violated, 2 none is violated, and at least one \
                  is inconclusive, 3 a file could not be read. What was not checked, because its hook was not asked for or \
                  does not exist on that kernel, does not count.\n\n\
                  Examples:\n  p2p-trace check trace.p2pt\n  p2p-trace check --json host-*/trace.p2pt*\n  \
                  ssh host p2p-trace live --raw | p2p-trace check -"
)]
pub struct CheckArgs {
    /// The files of one dump or of several, in any order; `-` reads stdin
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub files: Vec<Input>,

    /// Write one JSON object per dump (docs/schema/check.schema.json)
    #[arg(long)]
    pub json: bool,

    /// Only a finding at least this grave counts as a violation for the exit code
    #[arg(long, value_name = "SEVERITY", value_parser = severities())]
    pub fail_on: Option<Severity>,

    /// Judge stalls by this time, not by the one that the dump was recorded with
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub stall_after: Option<Duration>,
}

/// Options of `report`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "Exit codes: those of `check`, so that one command serves both: 0 every rule that was checked holds, 1 one is \
                  violated, 2 none is violated, and at least one is inconclusive, 3 a file could not be read, or the page not written, \
                  such as because there is a file of its name, 64 the page would be one of the dumps.\n\n\
                  Examples:\n  p2p-trace report trace.p2pt > mail.md\n  \
                  p2p-trace report --html report.html host-*/trace.p2pt*\n  \
                  ssh host p2p-trace live --raw | p2p-trace report -"
)]
pub struct ReportArgs {
    /// The files of one dump or of several, in any order; `-` reads stdin
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub files: Vec<Input>,

    /// Write a page that needs nothing else, with a picture of each teardown, to this file, which must not exist yet, and no
    /// Markdown; `-` writes to stdout
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub html: Option<Output>,

    /// Replace the page if it exists already, once the new one is complete
    #[arg(long, requires = "html")]
    pub force: bool,

    /// Only a finding at least this grave counts as a violation
    #[arg(long, value_name = "SEVERITY", value_parser = severities())]
    pub fail_on: Option<Severity>,

    /// Judge stalls by this time, not by the one that the dump was recorded with
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub stall_after: Option<Duration>,

    /// Tell it as `export --redact` would write it: fit to be given away
    #[arg(long)]
    pub redact: bool,
}
