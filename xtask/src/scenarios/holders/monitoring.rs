//! Monitoring reads sysfs all the time, and through it the function that the tracer reads the kernel's state by: nothing of
//! that is a loss.

use std::iter;

use anyhow::{Result, ensure};

use super::expect;
use super::kernel_held::{SIZE, held_up, taken_by_module};
use super::report::{DeviceReportExt as _, ReportExt as _};
use super::unbinding::Unbinding;
use crate::guest::Job;
use crate::scenarios::expect as of_stream;
use crate::scenarios::lab::{Lab, QUEUES};
use crate::scenarios::product::CanUnbind;
use crate::scenarios::{Method, Verdict};

/// Loops that read, two for each CPU: they take the CPU from each other in the middle of the kernel's functions.
const LOOPS: usize = 4;
/// How long an unbind may take here.
const BUDGET: &str = "--stall-after 1s";
/// How long they read while the unbind is blocked.
const BLOCKED: &str = "sleep 10";
/// How often the kernel is asked without a tracer.
const LOOKS: u32 = 3;
/// Where the loops see that it is enough.
const ENOUGH: &str = "/run/monitored";

/// Memory is held across an unbind while four loops read the attributes of all PCI and block devices.
pub(in crate::scenarios) fn monitoring(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("ranges=0")?;
    let memory = lab.memory.clone();
    let loops = start(lab)?;
    let trace = lab.trace("monitoring", &format!("{} {BUDGET}", method.option()))?;
    lab.load_driver()?;
    let range = lab.range()?;
    let allocated = lab.take(&memory, SIZE)?;
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
    let mut looks = Vec::new();
    for _ in 0..LOOKS {
        looks.push(lab.look(&memory)?);
    }
    stop(lab, loops)?;
    lab.unload_module()?;
    lab.unload_driver()?;

    ensure!(
        stream.losses.is_empty() && stream.summary()?.lost == 0,
        "reads of sysfs are told as losses: {:?}, {} in the end",
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
    taken_by_module(held_up(&blocked, &memory, &unbinding, range, SIZE)?, &allocated)?;
    for look in &looks {
        let device = look.device(&memory)?;
        expect::in_use(device, range, sysfs)?;
        ensure!(device.unseen() == QUEUES, "unseen are {} bytes", device.unseen());
        expect::answer(device, CanUnbind::Unknown, "")?;
    }
    Ok(Verdict::Passed)
}

/// What the loops leave alone: windows into a device's memory, and what waits for the lock that an unbind holds to its end. Reading
/// `waiting_for_supplier` while a driver binds even hangs both for ever (`device_links_driver_bound` removes it under that lock).
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

/// Stops them. Each must have read everything several times.
fn stop(lab: &mut Lab, loops: Vec<Job>) -> Result<()> {
    lab.guest.check(&format!("touch {ENOUGH}"))?;
    for job in loops {
        let said = lab.guest.wait(job)?.success()?;
        let rounds = said.iter().find_map(|line| line.strip_prefix("rounds ")?.parse().ok());
        ensure!(rounds > Some(5u64), "a loop that reads sysfs said {said:?}");
    }
    lab.guest.check(&format!("rm {ENOUGH}")).map(drop)
}
