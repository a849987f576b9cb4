//! The options of `top`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use p2p_trace_common::Hook;

use super::{AttachHow, LiveArgs, parse_duration, parse_hook, parse_size};

/// Options of `top`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Where stdout is no terminal it does what `live` does.\n\n\
                  Examples:\n  p2p-trace\n  p2p-trace top --device nvme0 --stall-after 2s\n\n\
                  `?` shows the keys. Ctrl-C, q or SIGTERM end it in order: detach, read the rest, count.")]
pub struct TopArgs {
    /// Only this device: 0000:01:00.0, 01:00.0, or a name such as nvme0; can be given more than once
    #[arg(long, value_name = "DEV", help_heading = "What to trace")]
    pub device: Vec<String>,

    /// Only this hook, such as alloc or kill; can be given more than once
    #[arg(long, value_name = "NAME", value_parser = parse_hook, help_heading = "What to trace")]
    pub hook: Vec<Hook>,

    /// Capture the stacks of allocations, frees and maps too
    #[arg(long, help_heading = "What to trace")]
    pub stacks: bool,

    /// End after this time: seconds, or 500ms, 10s, 2m, 1h30m
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "What to trace")]
    pub duration: Option<Duration>,

    /// A drain or an unbind that takes longer than this is a finding
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5s", help_heading = "Findings")]
    pub stall_after: Duration,

    /// Keep so much of the run in memory, for a dump of it at a key
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5m", help_heading = "Output")]
    pub history: Duration,

    /// Nothing but ASCII on the screen, whatever the locale says
    #[arg(long, help_heading = "Output")]
    pub ascii: bool,

    /// Create this file once everything is attached
    #[arg(long, value_name = "PATH", help_heading = "Output")]
    pub ready_file: Option<PathBuf>,

    /// Write critical findings to the kernel's log too, and uses of removed memory to its trace
    #[arg(long, help_heading = "Output")]
    pub kmsg: bool,

    /// How to attach to the kernel
    #[arg(long, value_name = "HOW", default_value = "auto", help_heading = "Kernel")]
    pub attach: AttachHow,

    /// Size of the ring for hot events (allocations, frees, maps) over all CPUs, such as 4M
    #[arg(long, value_name = "BYTES", value_parser = parse_size, help_heading = "Kernel")]
    pub ring_size: Option<u64>,

    /// Read the kernel's types from this file, not from /sys/kernel/btf/vmlinux
    #[arg(long, value_name = "FILE", help_heading = "Kernel")]
    pub kernel_btf: Option<PathBuf>,
}

/// As on a command line without options.
impl Default for TopArgs {
    fn default() -> Self {
        let LiveArgs {
            stall_after, attach, ..
        } = LiveArgs::default();
        Self {
            device: Vec::new(),
            hook: Vec::new(),
            stacks: false,
            duration: None,
            stall_after,
            history: Duration::from_mins(5),
            ascii: false,
            ready_file: None,
            attach,
            ring_size: None,
            kernel_btf: None,
            kmsg: false,
        }
    }
}

impl TopArgs {
    /// What `live` does with the same.
    #[must_use]
    pub fn live(&self) -> LiveArgs {
        LiveArgs {
            device: self.device.clone(),
            hook: self.hook.clone(),
            stacks: self.stacks,
            duration: self.duration,
            stall_after: self.stall_after,
            ready_file: self.ready_file.clone(),
            attach: self.attach,
            ring_size: self.ring_size,
            kernel_btf: self.kernel_btf.clone(),
            kmsg: self.kmsg,
            ..LiveArgs::default()
        }
    }
}
