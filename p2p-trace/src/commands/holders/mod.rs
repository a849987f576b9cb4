//! `holders`: the memory of a device that is allocated, its holders, and what an unbind would wait for.

mod follow;
mod observe;
mod one_shot;
mod show;
#[cfg(test)]
mod tests;
mod watch;

use std::{
    io::{self, Write},
    thread,
};

use anyhow::{Context as _, Result};

use super::{colors_stdout, is_closed};
use crate::{
    cli::{Global, HoldersArgs},
    device_report::{Answer, Report, SECOND_LOOK},
    exit::{Exit, Refusal},
    render::text::Style,
};
pub(crate) use observe::Observe;
use p2p_trace_model::event::DeviceAddress;
use p2p_trace_probe::kernel::{KernelRoot, devices};
use show::Format;
use watch::Pause;

/// The parts of the command line that are needed once the devices are known.
struct Plan {
    devices: Vec<DeviceAddress>,
    format: Format,
    /// The exit code is the answer of `--can-unbind`.
    can_unbind: bool,
}

/// Runs the command.
///
/// # Errors
///
/// When a name is not a device, no tracer and no session can be used, or stdout cannot be written to.
pub fn run(args: &HoldersArgs, global: &Global) -> Result<Exit> {
    let style = Style { color: colors_stdout(global) };
    let plan = Plan {
        devices: resolve(&KernelRoot::default(), &args.device)?,
        format: Format::new(args, style),
        can_unbind: args.can_unbind,
    };
    let mut pause = if args.watch {
        Some(Pause::before_first(args.interval).context("cannot catch SIGINT and SIGTERM")?)
    } else {
        None
    };
    let mut observe = observe::of_host(args.watch);
    let first = if args.watch {
        observe.observe(&plan.devices)?
    } else {
        decided(observe.as_mut(), &plan.devices, || thread::sleep(SECOND_LOOK))?
    };
    if let Some(pause) = &pause {
        pause.started();
    }
    let next = || pause.as_mut().is_some_and(Pause::next);
    repeat(&plan, first, observe.as_mut(), next, &mut io::stdout().lock())
}

/// The addresses of the named devices.
fn resolve(root: &KernelRoot, names: &[String]) -> Result<Vec<DeviceAddress>> {
    let resolve = |name: &String| {
        devices::resolve(root, name).map_err(|error| Refusal::new(Exit::Usage, error.to_string()))
    };
    let mut devices = names.iter().map(resolve).collect::<Result<Vec<_>, _>>()?;
    devices.sort();
    devices.dedup();
    Ok(devices)
}

/// One report. If the first one cannot separate held memory from memory in use, the report of a second snapshot.
fn decided(observe: &mut dyn Observe, devices: &[DeviceAddress], wait: impl FnOnce()) -> Result<Report> {
    let first = observe.observe(devices)?;
    if !first.calls_for_second_look() {
        return Ok(first);
    }
    wait();
    observe.observe(devices)
}

/// Shows the first report, then another one as long as `next` returns true.
fn repeat(
    plan: &Plan,
    first: Report,
    observe: &mut dyn Observe,
    mut next: impl FnMut() -> bool,
    out: &mut impl Write,
) -> Result<Exit> {
    let mut report = first;
    loop {
        let shown = plan.format.show(&report)?;
        match out.write_all(shown.as_bytes()).and_then(|()| out.flush()) {
            // The exit code has the answer, so that the rest need not be read.
            Err(error) if is_closed(&error) => return Ok(plan.exit(report.answer())),
            result => result.context("cannot write to stdout")?,
        }
        if !next() {
            return Ok(plan.exit(report.answer()));
        }
        report = observe.observe(&plan.devices)?;
    }
}

impl Plan {
    const fn exit(&self, answer: Answer) -> Exit {
        match answer {
            Answer::No if self.can_unbind => Exit::Violated,
            Answer::Unknown if self.can_unbind => Exit::Inconclusive,
            _ => Exit::Success,
        }
    }
}
