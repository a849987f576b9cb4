//! A user's mapping, made while a tracer watches, or before.

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::PAGE;
use super::expect;
use super::report::{DeviceReportExt as _, ReportExt as _};
use crate::scenarios::lab::{Lab, QUEUES};
use crate::scenarios::mapping::number;
use crate::scenarios::product::{CanUnbind, DeviceReport, HolderKind, Liveness, Why};
use crate::scenarios::{Method, Verdict};

/// Bytes of the mapping.
const SIZE: u64 = 64 * 1024;
/// Longer than any scenario.
const HOLD: &str = "600000";

/// Mapped under a tracer, asked, unmapped, asked again; then mapped without.
pub(in crate::scenarios) fn mapping(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_driver()?;
    let memory = lab.memory.clone();
    let range = lab.range()?;
    let trace = lab.trace("holders-mapping", &method.option())?;
    let command = format!("exec p2pmap {memory} --size {SIZE} --hold {HOLD}");
    let map = lab.guest.spawn(&command)?;
    let line = lab.guest.wait_line(map, "mapped ")?;
    let pid = number(&line, "pid")?;
    let sysfs = lab.sysfs(&memory)?;
    let held = lab.ask_tracer(&memory)?;
    let stream = if method.does_the_rest() {
        let stream = lab.stop(trace)?;
        let unseen = lab.look(&memory)?;
        lab.guest.signal(map, Signal::KILL)?;
        lab.guest.wait(map)?;
        let device = unseen.device(&memory)?;
        expect::in_use(device, range, sysfs)?;
        suspected(device, pid)?;
        let after = lab.look(&memory)?;
        ensure!(after.device(&memory)?.unseen() == QUEUES, "unmapped, but told is {:?}", after.devices);
        stream
    } else {
        lab.guest.signal(map, Signal::KILL)?;
        lab.guest.wait(map)?;
        let after = lab.ask_tracer(&memory)?;
        let device = after.device(&memory)?;
        expect::quiet(device)?;
        ensure!(device.holders.is_empty() && device.unseen() == QUEUES, "unmapped, but told is {device:?}");
        lab.stop(trace)?
    };
    lab.unload_driver()?;

    ensure!(sysfs.allocated == QUEUES + SIZE, "taken are {}", sysfs.allocated);
    let device = held.device(&memory)?;
    expect::in_use(device, range, sysfs)?;
    let holder = device.only_holder(HolderKind::Mmap)?;
    ensure!(
        (holder.count, holder.references, holder.bytes) == (1, SIZE / PAGE, SIZE)
            && device.holders.len() == 1,
        "one mapping is told as {:?}",
        device.holders
    );
    let event = stream.only("mmap")?;
    ensure!(
        holder.record == event.id && holder.oldest_ns == event.time_ns,
        "{} is told as {holder:?}",
        event.id.0
    );
    let task = holder.allocated_by.as_ref().context("nobody is named")?;
    ensure!(
        u64::from(task.tgid) == pid && task.comm == "p2pmap" && holder.process == Liveness::Alive,
        "process {pid} mapped it, not {task:?}, {:?}",
        holder.process
    );
    ensure!(device.unseen() == QUEUES, "unseen are {} bytes", device.unseen());
    expect::only_driver_suspected(device)?;
    expect::answer(device, CanUnbind::Unknown, "")?;
    let waits = device.can_unbind.waits_for.join("; ");
    ensure!(
        waits.contains("64 KiB mapped by p2pmap") && waits.contains("pins cannot be observed"),
        "an unbind would wait for: {waits}"
    );
    Ok(Verdict::Passed)
}

/// Expects the process to be told as one that may have to do with the memory, and as no more.
fn suspected(device: &DeviceReport, pid: u64) -> Result<()> {
    ensure!(device.holders.is_empty(), "nobody was seen: {:?}", device.holders);
    ensure!(device.unseen() == QUEUES + SIZE, "unseen are {} bytes", device.unseen());
    let mut mapped = device.candidates.iter().filter_map(|candidate| match &candidate.why {
        Why::Mapping { task, bytes, .. } => Some((task, *bytes, &candidate.reason)),
        _ => None,
    });
    let (first, more) = (mapped.next(), mapped.next());
    let (task, bytes, reason) = first.context("nobody is suspected")?;
    ensure!(
        more.is_none()
            && u64::from(task.tgid) == pid
            && task.comm == "p2pmap"
            && bytes == SIZE
            && reason.contains("mapped"),
        "suspected are {:?}",
        device.candidates
    );
    expect::answer(device, CanUnbind::Unknown, "taken by whom was not seen")
}
