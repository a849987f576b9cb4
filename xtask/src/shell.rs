//! `cargo xtask shell`: runs a command in a guest, for experiments on the machine of the scenarios.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::guest::{Acceleration, Boot, Clock, Machine, Source, initramfs, kmodule, probe, programs};
use crate::host::{cargo::Profile, packages};
use crate::kernels;
use crate::scenarios::lab::{Lab, machine};

/// The command, and the kernel to run it on.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The command, for the guest's shell; p2p-trace, the programs of the scenarios and the test module are
    /// available.
    command: String,
    /// Kernel to run it on: 7.3, 6.12, 6.1, 5.10 or host; any available one if none is named.
    #[arg(long, value_name = "LABEL")]
    kernel: Option<String>,
    /// Seconds after which the guest is killed.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    limit: u64,
    /// Use a clock that counts instructions, one per nanosecond, and one processor: times then do not depend
    /// on the host's load.
    #[arg(long)]
    icount: bool,
}

/// Boots a guest, runs the command in it, shows its output, and powers the guest off.
///
/// # Errors
///
/// A prerequisite of the guest is not available, or it does not boot or exit in time.
pub(crate) fn run(root: &Path, options: &Options) -> Result<ExitCode> {
    packages::ensure(&packages::GUEST)?;
    let kernel =
        match &options.kernel {
            None => kernels::find_any()?,
            Some(label) => {
                let selection = kernels::select(root, &[label.as_str()]);
                let reason = selection.missing.into_iter().next().map(|missing| missing.reason);
                selection.found.into_iter().next().with_context(|| {
                    format!("kernel {label} is not available: {}", reason.unwrap_or_default())
                })?
            }
        };
    let programs = programs::build(root, Profile::Guest)?;
    let module = kmodule::build(root, &kernel)?;
    let initramfs = initramfs::build(&kernel, &programs, module.as_deref())?;
    let counted = Machine {
        cpus: 1,
        clock: Clock::Instructions { shift: 0 },
        ..machine(&["clocksource=tsc", "tsc=reliable", "nokaslr"])
    };
    let (machine, acceleration) = if options.icount {
        (counted, Acceleration::Tcg)
    } else {
        (machine(&[]), probe(&kernel, &initramfs))
    };
    let mut lab = Lab::start(Boot {
        name: "shell",
        kernel: &kernel,
        initramfs: &initramfs,
        machine: &machine,
        acceleration,
        limit: Duration::from_secs(options.limit),
    })?;
    let show = Box::new(|source, line: &str| match source {
        Source::Out => println!("{line}"),
        Source::Err => eprintln!("{line}"),
    });
    let job = lab.guest.spawn_with(&options.command, show)?;
    let code = lab.guest.wait(job)?.code;
    lab.guest.power_off()?;
    Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from))
}
