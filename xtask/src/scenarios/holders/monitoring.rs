//! Monitoring reads sysfs all the time, and thereby calls the function through which the tracer reads the
//! kernel's state: this must not count as losses.

use std::iter;

use anyhow::{Result, ensure};

use super::expect;
use super::kernel_held::{SIZE, held_by_module, is_blocked};
use super::report::{DeviceReportExt as _, ReportExt as _};
use super::unbinding::Unbinding;
use crate::guest::Job;
use crate::scenarios::expect as of_stream;
use crate::scenarios::lab::{Lab, QUEUES};
use crate::scenarios::product::CanUnbind;
use crate::scenarios::{Method, Verdict};

/// Reading loops, two for each CPU: they preempt each other in the middle of the kernel's functions.
const LOOPS: usize = 4;
/// The stall budget of this scenario.
const BUDGET: &str = "--stall-after 1s";
/// How long the loops read while the unbind is blocked.
const BLOCKED: &str = "sleep 10";
/// Number of reports without a tracer.
const REPORTS: u32 = 3;
/// This file ends the loops.
const ENOUGH: &str = "/run/monitored";

/// Memory is held across an unbind while four loops read the attributes of all PCI and block devices.
pub(in crate::scenarios) fn monitoring(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("ranges=0")?;
    let memory = lab.memory.clone();
    let loops = start(lab)?;
    let trace = lab.trace("monitoring", &format!("{} {BUDGET}", method.option()))?;
    lab.load_driver()?;
    let range = lab.range()?;
    let allocated = lab.allocate(&memory, SIZE)?;
    let held = lab.ask_tracer(&memory)?;
    let unbinding = Unbinding::start(lab, &memory, "nvme")?;
    lab.wait_finding(&trace, "stalled-drain")?;
    lab.wait_finding(&trace, "stalled-unbind")?;
    lab.guest.check(BLOCKED)?;
    let blocked = lab.ask_tracer(&memory)?;
    lab.command(&format!("free {}", allocated.handle))?;
    unbinding.wait(lab)?;
    let stream = lab.stop(trace)?;
    lab.unload_driver()?;

    lab.load_driver()?;
    let sysfs = lab.sysfs(&memory)?;
    let mut reports = Vec::new();
    for _ in 0..REPORTS {
        reports.push(lab.one_shot(&memory)?);
    }
    stop(lab, loops)?;
    lab.unload_module()?;
    lab.unload_driver()?;

    ensure!(
        stream.losses.is_empty() && stream.summary()?.lost == 0,
        "reads of sysfs are reported as losses: {:?}, {} in the summary",
        stream.losses,
        stream.summary()?.lost
    );
    for snapshot_end in stream.of_kind("snapshot_end") {
        ensure!(snapshot_end.complete == Some(true), "{} is not complete", snapshot_end.id.0);
    }
    of_stream::attached_by(&stream, method)?;
    of_stream::teardown(&stream, range)?;
    of_stream::verdicts(&stream, &memory, &["stalled-drain", "stalled-unbind"], &[])?;
    expect::quiet(held.device(&memory)?)?;
    held_by_module(is_blocked(&blocked, &memory, &unbinding, range, SIZE)?, &allocated)?;
    for report in &reports {
        let device = report.device(&memory)?;
        expect::in_use(device, range, sysfs)?;
        ensure!(device.unseen() == QUEUES, "{} bytes have unknown holders", device.unseen());
        expect::answer(device, CanUnbind::Unknown, "")?;
    }
    Ok(Verdict::Passed)
}

/// Files that the loops skip: windows into a device's memory, and attributes that wait for the lock that an
/// unbind holds to its end. Reading `waiting_for_supplier` while a driver binds even hangs both for ever
/// (`device_links_driver_bound` removes it under that lock).
const OMITTED: &str = "resource[0-9].*|rom|vpd|config|waiting_for_supplier|driver_override|reset_method";

/// Starts the loops.
fn start(lab: &mut Lab) -> Result<Vec<Job>> {
    let files = format!(
        "ls -d /sys/bus/pci/devices/*/* /sys/block/*/* /sys/block/*/queue/* | grep -vE '/({OMITTED})$'"
    );
    let command = format!(
        "n=0; while [ ! -e {ENOUGH} ]; do cat $({files}) > /dev/null; n=$((n+1)); done 2> /dev/null; echo rounds $n"
    );
    iter::repeat_with(|| lab.guest.spawn(&command)).take(LOOPS).collect()
}

/// Stops the loops. Each must have read everything several times.
fn stop(lab: &mut Lab, loops: Vec<Job>) -> Result<()> {
    lab.guest.check(&format!("touch {ENOUGH}"))?;
    for job in loops {
        let output = lab.guest.wait(job)?.success()?;
        let rounds = output.iter().find_map(|line| line.strip_prefix("rounds ")?.parse().ok());
        ensure!(rounds > Some(5u64), "a loop that reads sysfs printed {output:?}");
    }
    lab.guest.check(&format!("rm {ENOUGH}")).map(drop)
}
