//! A user's mapping, made during the trace or before it.

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
/// Milliseconds; longer than any scenario.
const HOLD: &str = "600000";

/// Memory is mapped under a tracer, reported, unmapped and reported again; then mapped without a tracer.
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
    let stream = if method.is_primary() {
        let stream = lab.stop(trace)?;
        let unseen = lab.one_shot(&memory)?;
        lab.guest.signal(map, Signal::KILL)?;
        lab.guest.wait(map)?;
        let device = unseen.device(&memory)?;
        expect::in_use(device, range, sysfs)?;
        suspected(device, pid)?;
        let after = lab.one_shot(&memory)?;
        ensure!(
            after.device(&memory)?.unseen() == QUEUES,
            "the memory is unmapped, but the report is {:?}",
            after.devices
        );
        stream
    } else {
        lab.guest.signal(map, Signal::KILL)?;
        lab.guest.wait(map)?;
        let after = lab.ask_tracer(&memory)?;
        let device = after.device(&memory)?;
        expect::quiet(device)?;
        ensure!(
            device.holders.is_empty() && device.unseen() == QUEUES,
            "the memory is unmapped, but the report is {device:?}"
        );
        lab.stop(trace)?
    };
    lab.unload_driver()?;

    ensure!(sysfs.allocated == QUEUES + SIZE, "{} bytes are allocated", sysfs.allocated);
    let device = held.device(&memory)?;
    expect::in_use(device, range, sysfs)?;
    let holder = device.only_holder(HolderKind::Mmap)?;
    ensure!(
        (holder.count, holder.references, holder.bytes) == (1, SIZE / PAGE, SIZE)
            && device.holders.len() == 1,
        "one mapping is reported as {:?}",
        device.holders
    );
    let event = stream.only("mmap")?;
    ensure!(
        holder.record == event.id && holder.oldest_ns == event.time_ns,
        "{} is reported as {holder:?}",
        event.id.0
    );
    let task = holder.allocated_by.as_ref().context("no task is named")?;
    ensure!(
        u64::from(task.tgid) == pid && task.comm == "p2pmap" && holder.process == Liveness::Alive,
        "the mapping is by process {pid}, not {task:?}, {:?}",
        holder.process
    );
    ensure!(device.unseen() == QUEUES, "{} bytes have unknown holders", device.unseen());
    expect::only_driver_suspected(device)?;
    expect::answer(device, CanUnbind::Unknown, "")?;
    let waits = device.can_unbind.waits_for.join("; ");
    ensure!(
        waits.contains("64 KiB mapped by p2pmap") && waits.contains("pins cannot be observed"),
        "an unbind would wait for: {waits}"
    );
    Ok(Verdict::Passed)
}

/// Expects the process to be reported as a candidate only.
fn suspected(device: &DeviceReport, pid: u64) -> Result<()> {
    ensure!(device.holders.is_empty(), "unexpected holders: {:?}", device.holders);
    ensure!(device.unseen() == QUEUES + SIZE, "{} bytes have unknown holders", device.unseen());
    let mut mapped = device.candidates.iter().filter_map(|candidate| match &candidate.why {
        Why::Mapping { task, bytes, .. } => Some((task, *bytes, &candidate.reason)),
        _ => None,
    });
    let (first, more) = (mapped.next(), mapped.next());
    let (task, bytes, reason) = first.context("there is no candidate")?;
    ensure!(
        more.is_none()
            && u64::from(task.tgid) == pid
            && task.comm == "p2pmap"
            && bytes == SIZE
            && reason.contains("mapped"),
        "the candidates are {:?}",
        device.candidates
    );
    expect::answer(device, CanUnbind::Unknown, "of unknown holders")
}
