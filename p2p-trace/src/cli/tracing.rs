//! The options that `top`, `live` and `record` share.

use std::{path::Path, time::Duration};

use clap::{Args, ValueEnum, ValueHint, value_parser};
use p2p_trace_common::Hook;
use p2p_trace_model::rules;
use p2p_trace_probe::transport::{self, Attach, Request, Stacks};

use super::{AttachHow, Global, parse_duration, parse_hook, parse_size};
use crate::outfile::{Input, Output, Outputs};

/// Frames of a stack without `--stack-depth`. The limit bounds the cost of a stack; the omitted frames are the outermost ones, on
/// the way into the kernel.
const DEFAULT_DEPTH: u8 = 12;

/// Options of every command that traces.
#[derive(Clone, Debug, Args)]
pub struct TracingArgs {
    /// Only this device: 0000:01:00.0, 01:00.0, or a name such as nvme0; can be given more than once
    #[arg(long, value_name = "DEV", help_heading = "What to trace")]
    pub device: Vec<String>,

    /// Only this hook, such as alloc or kill; can be given more than once
    #[arg(long, value_name = "NAME", value_parser = parse_hook, help_heading = "What to trace")]
    pub hook: Vec<Hook>,

    /// Capture the stacks of allocations too, with =all those of frees and maps as well; text output then shows all stacks
    #[arg(
        long, value_name = "OF", num_args = 0..=1, require_equals = true, default_missing_value = "allocations",
        help_heading = "What to trace"
    )]
    pub stacks: Option<StacksOf>,

    /// Frames to capture of each stack, innermost first: 1 to 32; each frame has a cost
    #[arg(
        long, value_name = "N", value_parser = value_parser!(u8).range(1..=i64::from(Stacks::MAX_DEPTH)),
        default_value_t = DEFAULT_DEPTH, requires = "stacks", help_heading = "What to trace"
    )]
    pub stack_depth: u8,

    /// End after this time: seconds, or 500ms, 10s, 2m, 1h30m
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = "What to trace")]
    pub duration: Option<Duration>,

    /// Report a drain or an unbind that takes longer than this as a finding
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5s", help_heading = "Findings")]
    pub stall_after: Duration,

    /// Create this file, which must not exist yet, once everything is attached
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub ready_file: Option<Output>,

    /// Replace files that this command writes and that exist already
    #[arg(long, help_heading = "Output")]
    pub force: bool,

    /// Write critical findings to the kernel log too, and uses of removed memory to the kernel's trace buffer
    #[arg(long, help_heading = "Output")]
    pub kmsg: bool,

    /// How to attach to the kernel
    #[arg(long, value_name = "HOW", default_value = "auto", help_heading = "Kernel")]
    pub attach: AttachHow,

    /// Size of the ring for hot events (allocations, frees, maps) over all CPUs, such as 4M
    #[arg(long, value_name = "BYTES", value_parser = parse_size, help_heading = "Kernel")]
    pub ring_size: Option<u64>,

    /// Read the kernel's types from this file, not from /sys/kernel/btf/vmlinux
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Kernel")]
    pub kernel_btf: Option<Input>,
}

/// The values of a command line without options.
impl Default for TracingArgs {
    fn default() -> Self {
        Self {
            device: Vec::new(),
            hook: Vec::new(),
            stacks: None,
            stack_depth: DEFAULT_DEPTH,
            duration: None,
            stall_after: rules::Options::default().stall_after,
            ready_file: None,
            force: false,
            attach: AttachHow::default(),
            ring_size: None,
            kernel_btf: None,
            kmsg: false,
        }
    }
}

impl TracingArgs {
    /// The session to request.
    pub(crate) fn request(&self, global: &Global) -> Request {
        Request {
            devices: self.device.clone(),
            hooks: self.hook.clone(),
            stacks: self.stacks.map(|of| Stacks { of: of.into(), depth: self.stack_depth }),
            attach: self.attach.into(),
            ring_size: self.ring_size,
            kernel_btf: self.kernel_btf.as_deref().map(Path::to_owned),
            kmsg: self.kmsg,
            diagnostics: global.diagnostics(),
        }
    }

    /// The outputs of a command with these options.
    pub(crate) fn outputs(&self) -> Outputs {
        Outputs::new(&self.kernel_btf, self.force)
    }

    /// Options of the rules.
    pub(crate) const fn rules(&self) -> rules::Options {
        rules::Options { stall_after: self.stall_after }
    }
}

/// The events whose stacks `--stacks` captures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StacksOf {
    /// Of allocations, scatter lists and mappings by user space
    Allocations,
    /// Of frees and maps as well
    All,
}

impl From<StacksOf> for transport::StacksOf {
    fn from(of: StacksOf) -> Self {
        match of {
            StacksOf::Allocations => Self::Taking,
            StacksOf::All => Self::All,
        }
    }
}

impl From<AttachHow> for Attach {
    fn from(how: AttachHow) -> Self {
        match how {
            AttachHow::Auto => Self::Auto,
            AttachHow::Fentry => Self::Fentry,
            AttachHow::Kprobe => Self::Kprobe,
        }
    }
}
