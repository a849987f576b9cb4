//! Options of the commands that write and read dumps.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{parse_duration, severities};
use crate::rules::Severity;

/// Options of `replay`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "The exit code is 0 once everything was shown, whatever was found: `check` judges.\n\n\
                  Examples:\n  p2p-trace replay trace.p2pt\n  p2p-trace replay --json trace.p2pt.* > trace.ndjson"
)]
pub struct ReplayArgs {
    /// The files of a dump, in any order; `-` reads stdin
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

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

    /// Show all stacks
    #[arg(long, help_heading = "Output")]
    pub stacks: bool,
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
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

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
                  violated, 2 none is violated, and at least one is inconclusive, 3 a file could not be read, or the page not written.\n\n\
                  Examples:\n  p2p-trace report trace.p2pt > mail.md\n  \
                  p2p-trace report --html report.html host-*/trace.p2pt*\n  \
                  ssh host p2p-trace live --raw | p2p-trace report -"
)]
pub struct ReportArgs {
    /// The files of one dump or of several, in any order; `-` reads stdin
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// Write a page that needs nothing else, with a picture of each teardown, to this file, and no Markdown
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Only a finding at least this grave counts as a violation
    #[arg(long, value_name = "SEVERITY", value_parser = severities())]
    pub fail_on: Option<Severity>,

    /// Judge stalls by this time, not by the one that the dump was recorded with
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub stall_after: Option<Duration>,
}
