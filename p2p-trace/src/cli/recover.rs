//! Options of `recover`.

use clap::{Args, ValueEnum, ValueHint};
use p2p_trace_dump::recover::Format;

use crate::outfile::{Input, Output};

/// Options of `recover`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Exit codes: 0 a dump was written, 2 the memory dump has no records of p2p-trace (or of that run), 3 the memory dump \
                  cannot be read, less than half of the memory that its headers promise is there (the records found are still \
                  written), or the event dump cannot be written, for example because it exists, 64 the event dump would overwrite \
                  an input.\n\n\
                  Examples:\n  p2p-trace recover /var/crash/vmcore -o crash.p2pt && p2p-trace check crash.p2pt\n  \
                  p2p-trace recover part1 part2 part3 -o crash.p2pt\n  \
                  p2p-trace recover vmcore --with trace.p2pt -o complete.p2pt\n  \
                  ssh host cat /proc/vmcore | p2p-trace recover - -o crash.p2pt"
)]
pub struct RecoverArgs {
    /// The memory dump: ELF (/proc/vmcore, QEMU, virsh), kdump-compressed (makedumpfile, flattened too), a `LiME` image, or a raw
    /// image; all parts of a split dump (makedumpfile --split); `-` reads an ELF dump or a raw image from stdin
    #[arg(value_name = "CORE", required = true, value_hint = ValueHint::FilePath)]
    pub core: Vec<Input>,

    /// The event dump to write, which must not exist yet; `-` writes to stdout
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Output,

    /// Replace an existing event dump once the new one is complete
    #[arg(long)]
    pub force: bool,

    /// A file of the event dump that was recorded of the same run: the recovered records that are not in it are appended to it;
    /// can be given more than once
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub with: Vec<Input>,

    /// Recover this run, by its id, instead of the latest one
    #[arg(long, value_name = "RUN", value_parser = parse_run)]
    pub run: Option<u64>,

    /// Read the memory dump in this format instead of detecting it
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<CoreFormat>,
}

/// Formats of memory dumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CoreFormat {
    /// ELF
    Elf,
    /// kdump-compressed
    Kdump,
    /// `LiME`
    Lime,
    /// Raw memory
    Raw,
}

impl From<CoreFormat> for Format {
    fn from(format: CoreFormat) -> Self {
        match format {
            CoreFormat::Elf => Self::Elf,
            CoreFormat::Kdump => Self::Kdump,
            CoreFormat::Lime => Self::Lime,
            CoreFormat::Raw => Self::Raw,
        }
    }
}

fn parse_run(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16)
        .map_err(|_malformed| "write it as the first part of an id, such as 0123456789abcdef".to_owned())
}
