//! `cargo xtask demo`: a real kernel, a real device, a blocked unbind, and p2p-trace's explanation.

mod blockage;
mod crash;
mod dashboard;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use rustix::process::Signal;

use crate::guest::{Acceleration, Boot, Source, initramfs, kmodule, probe, programs, terminal};
use crate::host::{cargo::Profile, packages};
use crate::kernels::{self, GuestKernel};
use crate::scenarios::{
    Method,
    lab::{Lab, machine},
};
use blockage::Blockage;

/// How long the complete demo may take.
const LIMIT: Duration = Duration::from_mins(4);
/// Bytes read into p2p memory during the unbind.
const BYTES: u64 = 64 * 1024;
/// How long the tracer may take to write its remaining output after SIGINT.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which kernel to show it on.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Kernel image to boot instead of the host's own or Debian's.
    #[arg(long, value_name = "FILE", requires = "modules")]
    kernel: Option<PathBuf>,
    /// Folder with its modules: `lib/modules/<release>`, or the folder above it.
    #[arg(long, value_name = "FOLDER", requires = "kernel")]
    modules: Option<PathBuf>,
    /// Show a crash instead: memory is removed while it is allocated, as up to Linux 5.1, the kernel dies of
    /// its use, and its memory explains why.
    #[arg(long)]
    crash: bool,
    /// How the tracer attaches; by default, the tracer chooses.
    #[arg(long, value_enum)]
    attach: Option<Method>,
}

impl Options {
    /// The tracer's option for it, if any.
    fn attach(&self) -> String {
        self.attach.map(Method::option).unwrap_or_default()
    }
}

/// Runs the demo.
///
/// # Errors
///
/// A prerequisite is not available, the guest fails, or the trace does not show a blocked unbind in the
/// correct order without a loss.
pub(crate) fn run(root: &Path, options: &Options) -> Result<ExitCode> {
    packages::ensure(&packages::GUEST)?;
    let kernel = match (&options.kernel, &options.modules) {
        (Some(image), Some(modules)) => kernels::given(image, modules)?,
        _ => kernels::find_any()?,
    };
    let programs = programs::build(root, Profile::Guest)?;
    let module = if options.crash {
        let module = kmodule::build(root, &kernel)?;
        Some(module.context("no headers are known to build the test module for this kernel")?)
    } else {
        None
    };
    let initramfs = initramfs::build(&kernel, &programs, module.as_deref())?;
    println!("Checking whether this host's processor can run guests …");
    let acceleration = probe(&kernel, &initramfs);
    println!("{}", introduction(&kernel, acceleration));
    let mut lab = Lab::start(Boot {
        name: "demo",
        kernel: &kernel,
        initramfs: &initramfs,
        machine: &machine(&[]),
        acceleration,
        limit: LIMIT,
    })?;
    if options.crash {
        return crash::show(lab, &options.attach());
    }
    ensure!(
        lab.has_mmap,
        "Linux {} cannot map p2p memory into user space: the demo needs 6.2 or later",
        kernel.release
    );
    let attach = options.attach();
    let blockage = if terminal::is_interactive() {
        dashboard::show(&mut lab, &attach)?
    } else {
        show(&mut lab, &attach)?
    };
    lab.guest.power_off()?;
    blockage.check()?;
    println!("{blockage}");
    Ok(ExitCode::SUCCESS)
}

/// Runs the demo and measures it. Two tracers run: one is shown, the other one is evaluated.
fn show(lab: &mut Lab, attach: &str) -> Result<Blockage> {
    let command = format!("p2p-trace live {attach}");
    let command = command.trim_end();
    show_command(command);
    let seen = lab.guest.spawn_with(
        &format!("exec {command} --ready-file /run/ready.text"),
        Box::new(|source, line| match source {
            Source::Out => println!("  {line}"),
            Source::Err => eprintln!("  {line}"),
        }),
    )?;
    let trace = lab.trace("demo", attach)?;
    lab.wait_for("[ -e /run/ready.text ]")?;

    show_command("modprobe nvme");
    lab.load_driver()?;
    let disk = lab.slow_disk()?;
    show_command(&format!("p2pdio --memory {} --disk /dev/{disk} --size {BYTES} &", lab.memory));
    let read = lab.start_read(BYTES)?;
    let unbind = lab.unbind_command();
    show_command(&unbind);
    lab.guest.check(&unbind)?;
    lab.guest.wait(read)?.success().context("the read into p2p memory failed")?;

    let stream = lab.stop(trace)?;
    lab.guest.signal(seen, Signal::INT)?;
    let text = lab.guest.wait_within(seen, PATIENCE)?.context("p2p-trace does not stop on SIGINT")?;
    ensure!(text.code == 0, "p2p-trace exited with {}: {}", text.code, text.err.join("\n"));
    ensure!(!text.out.is_empty(), "p2p-trace printed nothing");
    Blockage::find(&stream, &lab.memory)
}

/// Shows a command of the guest.
fn show_command(command: &str) {
    println!("# {command}");
}

/// An introduction to the demo.
fn introduction(kernel: &GuestKernel, acceleration: Acceleration) -> String {
    let how = match acceleration {
        Acceleration::Tcg => "in software, which takes a while",
        Acceleration::Kvm => "with KVM",
    };
    format!(
        "Booting Linux {} in QEMU ({how}) with two NVMe drives below one PCIe switch:\n\
         one with a 64 MiB controller memory buffer, which is p2p memory, and a slow one.",
        kernel.release
    )
}
