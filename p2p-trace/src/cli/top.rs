//! The options of `top`.

use std::time::Duration;

use clap::Args;

use super::{LiveArgs, TracingArgs, parse_duration};

/// Options of `top`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Where stdout is no terminal it does what `live` does.\n\n\
                  Examples:\n  p2p-trace\n  p2p-trace top --device nvme0 --stall-after 2s\n\n\
                  `?` shows the keys. Ctrl-C, q or SIGTERM end it in order: detach, read the rest, count.")]
pub struct TopArgs {
    /// What to trace, and how.
    #[command(flatten)]
    pub tracing: TracingArgs,

    /// Keep so much of the run in memory, for a dump of it at a key
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5m", help_heading = "Output")]
    pub history: Duration,

    /// Nothing but ASCII on the screen, whatever the locale says
    #[arg(long, help_heading = "Output")]
    pub ascii: bool,
}

/// As on a command line without options.
impl Default for TopArgs {
    fn default() -> Self {
        Self { tracing: TracingArgs::default(), history: Duration::from_mins(5), ascii: false }
    }
}

impl TopArgs {
    /// What `live` does with the same.
    pub(crate) fn live(&self) -> LiveArgs {
        LiveArgs { tracing: self.tracing.clone(), ..LiveArgs::default() }
    }
}
