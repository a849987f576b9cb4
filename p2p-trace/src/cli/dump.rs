//! Options of the commands that write and read dumps.

use std::time::Duration;

use clap::{Args, ValueHint};
use p2p_trace_model::rules::Severity;

use super::{TracingArgs, parse_duration, parse_size, severities};
use crate::outfile::{Input, Output};

/// Options of `record`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The first file is FILE, the next ones are FILE.1, FILE.2 and so on. Each can be read alone. Records of a \
                  teardown and findings are on the disk at once, other records within a second. With --force, each new file replaces \
                  an existing file of its name once its own header is written. Without --force, a single FILE must not exist; \
                  a run in several files (--max-size, --max-age, --flight-recorder) continues after the existing \
                  ones with the next free number, so that a service can be restarted without changes.\n\n\
                  Examples:\n  p2p-trace record -o trace.p2pt\n  \
                  p2p-trace record -o /var/log/p2p.p2pt --max-size 256M --keep 8\n  \
                  p2p-trace record -o /var/log/p2p.p2pt --flight-recorder --history 10m\n  \
                  ssh host p2p-trace record -o - | p2p-trace check -"
)]
pub struct RecordArgs {
    /// The file to write; `-` writes to stdout
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Output,

    /// Which hooks and devices to trace, and how.
    #[command(flatten)]
    pub tracing: TracingArgs,

    /// Rotate at this size, such as 256M
    #[arg(long, value_name = "BYTES", value_parser = parse_size, help_heading = "Output")]
    pub max_size: Option<u64>,

    /// Rotate when a file reaches this age
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "Output")]
    pub max_age: Option<Duration>,

    /// Keep the newest COUNT files and remove older dumps of this name, also those of earlier runs
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Output")]
    pub keep: Option<u32>,

    /// Write nothing until there is a finding, SIGUSR1 arrives or the run breaks off; then write the last minutes and the
    /// records that follow
    #[arg(long, conflicts_with_all = ["max_size", "max_age"], help_heading = "Flight recorder")]
    pub flight_recorder: bool,

    /// Keep this much history in memory
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5m", requires = "flight_recorder", help_heading = "Flight recorder")]
    pub history: Duration,

    /// Limit the history in memory to this size
    #[arg(long, value_name = "BYTES", value_parser = parse_size, default_value = "64M", requires = "flight_recorder", help_heading = "Flight recorder")]
    pub history_size: u64,

    /// Redact the dump: addresses are moved; tasks, cgroups and the boot id get pseudonyms; the host name and error texts are
    /// removed (docs/dump-format.md)
    #[arg(long, help_heading = "Output")]
    pub redact: bool,
}

/// Options of `replay`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "The exit code is 0 once everything was shown, even with findings: use `check` for an exit code by rules.\n\n\
                  Examples:\n  p2p-trace replay trace.p2pt\n  p2p-trace replay --json trace.p2pt.* > trace.ndjson\n  \
                  p2p-trace replay --follow --findings /var/log/p2p.p2pt"
)]
pub struct ReplayArgs {
    /// The files of a dump, in any order; `-` reads stdin
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub files: Vec<Input>,

    /// Write text for people, as `live` does; without --text and --json, a terminal shows the dashboard
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    pub text: bool,

    /// Write one JSON object per line, as `live --json` does (docs/schema/live.schema.json)
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Use only ASCII on the dashboard, whatever the locale
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

    /// Show the dump as `export --redact` would write it
    #[arg(long, help_heading = "Output")]
    pub redact: bool,
}

/// Options of `export`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The rules give the same answers for the new dump, even for a damaged one. Each export uses different \
                  pseudonyms: export all files of a run at once.\n\n\
                  Exit codes: 0 a dump was written, 3 a file could not be read, the files are not of one run, or the dump could \
                  not be written, for example because it exists, 64 the dump would overwrite a file that is read.\n\n\
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

    /// Replace an existing dump once the new one is complete
    #[arg(long)]
    pub force: bool,

    /// Redact the dump: addresses are moved; tasks, cgroups and the boot id get pseudonyms; the host name and error texts are
    /// removed (docs/dump-format.md)
    #[arg(long)]
    pub redact: bool,
}

/// Options of `check`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "Exit codes: 0 every rule that was checked holds, 1 a rule is violated, 2 no rule is violated and at least one \
                  is inconclusive, 3 a file could not be read. Rules that were not checked, because their hook was not enabled or \
                  does not exist on that kernel, do not count.\n\n\
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

    /// Only findings of at least this severity count as violations for the exit code
    #[arg(long, value_name = "SEVERITY", value_parser = severities())]
    pub fail_on: Option<Severity>,

    /// Use this limit for stalls instead of the recorded one
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub stall_after: Option<Duration>,
}

/// Options of `report`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "Exit codes, as of `check`: 0 every rule that was checked holds, 1 a rule is violated, 2 no rule is violated and at \
                  least one is inconclusive, 3 a file could not be read or the page could not be written, for example because it \
                  exists, 64 the page would overwrite a dump that is read.\n\n\
                  Examples:\n  p2p-trace report trace.p2pt > mail.md\n  \
                  p2p-trace report --html report.html host-*/trace.p2pt*\n  \
                  ssh host p2p-trace live --raw | p2p-trace report -"
)]
pub struct ReportArgs {
    /// The files of one dump or of several, in any order; `-` reads stdin
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub files: Vec<Input>,

    /// Write a self-contained HTML page with a diagram of each teardown to this file, which must not exist yet, instead of
    /// Markdown to stdout; `-` writes the page to stdout
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub html: Option<Output>,

    /// Replace an existing page once the new one is complete
    #[arg(long, requires = "html")]
    pub force: bool,

    /// Only findings of at least this severity count as violations
    #[arg(long, value_name = "SEVERITY", value_parser = severities())]
    pub fail_on: Option<Severity>,

    /// Use this limit for stalls instead of the recorded one
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub stall_after: Option<Duration>,

    /// Report the dump as `export --redact` would write it
    #[arg(long)]
    pub redact: bool,
}
