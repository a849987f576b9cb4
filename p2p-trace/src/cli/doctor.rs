//! The options of `doctor`.

use clap::{Args, ValueHint};

use crate::outfile::Input;

/// Options of `doctor`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Read the kernel's types from this file (raw BTF or a vmlinux) instead of /sys/kernel/btf/vmlinux
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub kernel_btf: Option<Input>,
}
