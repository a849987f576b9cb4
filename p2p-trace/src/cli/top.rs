//! The options of `top`.

use std::time::Duration;

use clap::Args;

use super::{LiveArgs, TracingArgs, parse_duration};

/// Options of `top`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "If stdout is not a terminal, it shows the stream as `live` does.\n\n\
                  Examples:\n  p2p-trace\n  p2p-trace top --device nvme0 --stall-after 2s\n\n\
                  `?` shows the keys. Ctrl-C, q or SIGTERM end the run cleanly: detach, read the remaining records, count.")]
pub struct TopArgs {
    /// Which hooks and devices to trace, and how.
    #[command(flatten)]
    pub tracing: TracingArgs,

    /// Keep this much of the run in memory, to write a dump of it by key
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5m", help_heading = "Output")]
    pub history: Duration,

    /// Use only ASCII on the screen, whatever the locale
    #[arg(long, help_heading = "Output")]
    pub ascii: bool,
}

/// The values of a command line without options.
impl Default for TopArgs {
    fn default() -> Self {
        Self { tracing: TracingArgs::default(), history: Duration::from_mins(5), ascii: false }
    }
}

impl TopArgs {
    /// The options of `live` with the same effect.
    pub(crate) fn live(&self) -> LiveArgs {
        LiveArgs { tracing: self.tracing.clone(), ..LiveArgs::default() }
    }
}
