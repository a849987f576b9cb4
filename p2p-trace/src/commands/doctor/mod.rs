//! `p2p-trace doctor`: what this kernel and this user can and cannot trace, and why.

mod hooks;
mod kernel_side;
#[cfg(test)]
mod tests;
mod verifier;

use std::io::{self, Write as _};

use anyhow::Context as _;

pub use hooks::hooks;
pub use verifier::verify;

use crate::{
    cli::DoctorArgs,
    exit::Exit,
    render::doctor::{DoctorReport, HookReport, VerificationReport},
};
use p2p_trace_model::stream::Level;
use p2p_trace_probe::kernel::{Kernel, KernelRoot};

/// Examines the running kernel and prints the report.
///
/// `hooks` returns how each hook would be attached on this kernel. `verify` loads the programs into the verifier. With `listen`
/// they are attached for a moment, to read the diagnostics of the kernel side at that level.
///
/// # Errors
///
/// If the kernel's release cannot be read, or the report cannot be printed. A closed stdout is not an error.
pub fn run(
    args: &DoctorArgs,
    root: &KernelRoot,
    hooks: impl FnOnce(&Kernel) -> Vec<HookReport>,
    verify: Option<fn(&KernelRoot, &Kernel, &DoctorArgs) -> VerificationReport>,
    listen: Option<Level>,
) -> anyhow::Result<Exit> {
    let kernel = Kernel::collect(root, args.kernel_btf.as_deref())?;
    let hooks = hooks(&kernel);
    let (mut report, exit) = DoctorReport::new(&kernel, hooks);
    // If nothing can be traced, the verdict has the reason.
    report.verification =
        verify.filter(|_| report.verdict.can_trace).map(|verify| verify(root, &kernel, args));
    report.kernel_side =
        listen.filter(|_| report.verdict.can_trace).map(|level| kernel_side::listen(args, level));
    let text = if args.json {
        let json = serde_json::to_string_pretty(&report).context("cannot write the report as JSON")?;
        format!("{json}\n")
    } else {
        report.to_string()
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write the report to stdout")
        }
        _ => Ok(exit),
    }
}
