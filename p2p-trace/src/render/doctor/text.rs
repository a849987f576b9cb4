//! The report as text for people.

use std::fmt::{self, Display, Formatter};

use p2p_trace_probe::kernel::{
    accounting::{LossAccounting, Misses},
    devices::P2pDevice,
    patching::Patching,
};

use p2p_trace_model::{accounting::RingSizes, text::Text};

use crate::render::words::rings;

use super::report::{
    DoctorReport, HookReport, KernelReport, KernelSideReport, MessageReport, Method, RightsReport, Verdict,
    VerificationReport,
};

impl Display for DoctorReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.kernel.fmt(f)?;
        self.rights.fmt(f)?;
        write_devices(f, &self.devices)?;
        write_hooks(f, &self.hooks)?;
        write_accounting(f, self.loss_accounting)?;
        write_rings(f, self.rings.as_ref(), self.kernel.possible_cpus)?;
        if let Some(verification) = &self.verification {
            write_verification(f, verification)?;
        }
        if let Some(kernel_side) = &self.kernel_side {
            write_kernel_side(f, kernel_side)?;
        }
        self.verdict.fmt(f)
    }
}

impl Display for KernelReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "Kernel")?;
        write!(f, "  release   {}", self.release)?;
        match self.possible_cpus {
            Some(cpus) => writeln!(f, ", {cpus} possible CPUs")?,
            None => writeln!(f)?,
        }
        match (&self.btf.error, self.btf.types) {
            (Some(error), _) => writeln!(f, "  BTF       {error}")?,
            (None, types) => {
                let types = types.unwrap_or_default();
                writeln!(f, "  BTF       {}, {types} types", Text::from(self.btf.path.as_path()))?;
            }
        }
        let symbols = match (&self.symbols.error, self.symbols.addresses) {
            (Some(error), _) => error.as_str(),
            (None, true) => "with addresses",
            (None, false) => "names only, addresses are hidden",
        };
        writeln!(f, "  symbols   {symbols}")?;
        writeln!(f, "  lockdown  {}", self.lockdown)?;
        let patches = match self.live_patches {
            Patching::Shared => "live patches and fentry can have the same function",
            Patching::Exclusive => "a function has either a live patch or fentry, whichever is first",
            Patching::Never => "no live patches",
        };
        writeln!(f, "  patches   {patches}")?;
        match &self.config.path {
            Some(path) => writeln!(f, "  config    {}", Text::from(path.as_path()))?,
            None => writeln!(f, "  config    not found")?,
        }
        if self.config.path.is_some() {
            for option in &self.config.options {
                let setting = option.setting.to_string();
                writeln!(f, "    {:<42}{setting:<3}{}", option.name, option.purpose)?;
            }
        }
        Ok(())
    }
}

impl Display for RightsReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nRights")?;
        for capability in &self.capabilities {
            let effective = if capability.effective { "yes" } else { "no" };
            writeln!(f, "  {:<34}{effective}", capability.name)?;
        }
        if self.initial_user_namespace == Some(false) {
            writeln!(f, "  in a user namespace, where none of them counts for BPF")?;
        }
        write_sysctl(f, "perf_event_paranoid", self.perf_event_paranoid)?;
        write_sysctl(f, "kptr_restrict", self.kptr_restrict)?;
        write_sysctl(f, "unprivileged_bpf_disabled", self.unprivileged_bpf_disabled)
    }
}

fn write_sysctl(f: &mut Formatter<'_>, name: &str, value: Option<impl Display>) -> fmt::Result {
    let name = format!("kernel.{name}");
    match value {
        Some(value) => writeln!(f, "  {name:<34}{value}"),
        None => writeln!(f, "  {name:<34}unknown"),
    }
}

fn write_devices(f: &mut Formatter<'_>, devices: &[P2pDevice]) -> fmt::Result {
    writeln!(f, "\nDevices with peer-to-peer memory")?;
    if devices.is_empty() {
        writeln!(
            f,
            "  none now; a driver adds some when it is loaded, such as nvme for a controller memory buffer"
        )?;
    }
    for device in devices {
        write!(f, "  {}", device.address)?;
        for name in &device.names {
            write!(f, " {name}")?;
        }
        writeln!(
            f,
            "  driver {}, size {}, available {}, {}",
            device.driver.as_deref().unwrap_or("none"),
            Bytes(device.size),
            Bytes(device.available),
            match device.published {
                Some(true) => "published",
                Some(false) => "not published",
                None => "published unknown",
            },
        )?;
    }
    Ok(())
}

fn write_rings(f: &mut Formatter<'_>, sizes: Option<&RingSizes>, cpus: Option<u32>) -> fmt::Result {
    write!(f, "\nMemory while tracing\n  rings     ")?;
    match (sizes, cpus) {
        (Some(sizes), Some(cpus)) => writeln!(f, "{}", rings(sizes, cpus)),
        _ => writeln!(f, "the possible CPUs are unknown, so that tracing is not possible"),
    }
}

/// A number of bytes in the largest unit that shows it exactly; `None` for one that could not be read.
struct Bytes(Option<u64>);

impl Display for Bytes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("unknown"),
            Some(bytes) if bytes != 0 && bytes.is_multiple_of(1 << 20) => write!(f, "{} MiB", bytes >> 20),
            Some(bytes) if bytes != 0 && bytes.is_multiple_of(1 << 10) => write!(f, "{} KiB", bytes >> 10),
            Some(bytes) => write!(f, "{bytes} B"),
        }
    }
}

fn write_hooks(f: &mut Formatter<'_>, hooks: &[HookReport]) -> fmt::Result {
    if hooks.is_empty() {
        return Ok(());
    }
    let width = hooks.iter().map(|hook| hook.hook.len()).max().unwrap_or_default();
    writeln!(f, "\nHooks")?;
    for hook in hooks {
        let method = match hook.method {
            Method::Fentry => "fentry",
            Method::Kprobe => "kprobe",
            Method::None => "none",
        };
        let need = if hook.required { "required" } else { "optional" };
        write!(f, "  {:<width$}  {need}  {method:<6}", hook.hook)?;
        if let Some(symbol) = hook.symbol.as_deref().filter(|&symbol| symbol != hook.hook) {
            write!(f, "  {symbol}")?;
        }
        if let Some(reason) = &hook.reason {
            write!(f, "  {reason}")?;
        }
        if hook.method == Method::None {
            write!(f, "; lost: {}", hook.lost_without)?;
        }
        writeln!(f)?;
    }
    Ok(())
}

fn write_accounting(f: &mut Formatter<'_>, accounting: LossAccounting) -> fmt::Result {
    let counts = if accounting.exact {
        "exact (atomic fetch-add)"
    } else {
        "partial: this kernel's BPF has no atomic fetch-add"
    };
    let misses = |misses| match misses {
        Misses::Counted => "counted by the kernel",
        Misses::Unknown => "unknown: this kernel does not count them",
    };
    writeln!(f, "\nLoss accounting")?;
    writeln!(f, "  counts          {counts}")?;
    writeln!(f, "  fentry missed   {}", misses(accounting.fentry_misses))?;
    writeln!(f, "  kprobe missed   {}", misses(accounting.kprobe_misses))
}

fn write_verification(f: &mut Formatter<'_>, verification: &VerificationReport) -> fmt::Result {
    write!(f, "\nVerifier")?;
    match verification.cpus {
        Some(cpus) => writeln!(f, " (programs loaded for {cpus} possible CPUs, not attached)")?,
        None => writeln!(f)?,
    }
    let width = verification.programs.iter().map(|program| program.program.len()).max().unwrap_or_default();
    for program in &verification.programs {
        write!(f, "  {:<width$}", program.program)?;
        match program.instructions {
            Some(instructions) => writeln!(f, "  {instructions:>7} instructions")?,
            None => writeln!(f, "  accepted")?,
        }
    }
    let count = verification.programs.len();
    match verification.instructions {
        Some(instructions) => writeln!(f, "  {count} programs, {instructions} instructions verified")?,
        None => writeln!(f, "  {count} programs; this kernel does not count verified instructions")?,
    }
    verification.refused.iter().try_for_each(|refused| writeln!(f, "  refused: {refused}"))
}

fn write_kernel_side(f: &mut Formatter<'_>, kernel_side: &KernelSideReport) -> fmt::Result {
    let KernelSideReport { level, messages, omitted, error } = kernel_side;
    writeln!(f, "\nKernel side (attached for a moment, at level {})", level.name())?;
    for MessageReport { level, text } in messages {
        writeln!(f, "  {:<5}  {}", level.name(), text)?;
    }
    if *omitted > 0 {
        writeln!(f, "  and {omitted} more messages")?;
    }
    match error {
        Some(error) => writeln!(f, "  {error}"),
        None if messages.is_empty() => {
            writeln!(f, "  no messages: no read failed, and nothing was omitted")
        }
        None => Ok(()),
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        // The summary has the deciding one.
        let others = self.problems.iter().filter(|problem| !self.summary.ends_with(&problem.to_string()));
        for problem in others {
            let mark = if problem.blocking { "problem" } else { "limit" };
            writeln!(f, "{mark}: {problem}")?;
        }
        writeln!(f, "verdict: {}", self.summary)
    }
}
