//! Memory that another part of the kernel took: it blocks the unbind until it is given back.

use anyhow::{Context as _, Result, ensure};

use super::PAGE;
use super::expect;
use super::report::{DeviceReportExt as _, ReportExt as _, bounds};
use super::unbinding::{self, Unbinding};
use crate::scenarios::expect as of_stream;
use crate::scenarios::lab::{Lab, QUEUES};
use crate::scenarios::product::{
    CanUnbind, DeviceReport, Holder, HolderKind, Liveness, RangeState, Report, Residual,
};
use crate::scenarios::testmod::Allocated;
use crate::scenarios::{Method, Verdict};

/// Bytes that are taken.
pub(super) const SIZE: u64 = 64 * 1024;

/// Taken under a tracer, asked before and during the unbind; then a look without a tracer, and one that came too late;
/// freed, and asked again.
pub(in crate::scenarios) fn kernel_held(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_driver()?;
    lab.load_module("ranges=0")?;
    let memory = lab.memory.clone();
    let range = lab.range()?;
    let trace = lab.trace("holders-kernel-held", &method.option())?;
    let allocated = lab.take(&memory, SIZE)?;
    let sysfs = lab.sysfs(&memory)?;
    let held = lab.ask_tracer(&memory)?;
    let unbinding = Unbinding::start(lab, &memory, "nvme")?;
    let blocked = lab.ask_tracer(&memory)?;
    let mut late = Vec::new();
    let (stream, over) = if method.does_the_rest() {
        let stream = lab.stop(trace)?;
        late.push(lab.look(&memory)?);
        let trace = lab.trace("holders-kernel-held-late", "")?;
        late.push(lab.ask_tracer(&memory)?);
        lab.command(&format!("free {}", allocated.handle))?;
        unbinding.wait(lab)?;
        let over = lab.ask_until_certain(&memory)?;
        lab.stop(trace)?;
        (stream, vec![over, lab.look(&memory)?])
    } else {
        lab.command(&format!("free {}", allocated.handle))?;
        unbinding.wait(lab)?;
        let over = lab.ask_until_certain(&memory)?;
        (lab.stop(trace)?, vec![over])
    };
    lab.unload_module()?;
    lab.unload_driver()?;

    let device = held.device(&memory)?;
    expect::in_use(device, range, sysfs)?;
    ensure!(
        sysfs.allocated == QUEUES + SIZE && device.unseen() == QUEUES,
        "unseen are {} bytes of {}",
        device.unseen(),
        sysfs.allocated
    );
    let holder = taken_by_module(device, &allocated)?;
    let hidden = holder.caller.is_none();
    ensure!(
        holder.by_driver == (!hidden).then_some(false) && (!hidden || of_stream::hides_callers(&stream)?),
        "by the driver: {holder:?}"
    );
    if hidden {
        expect::answer(device, CanUnbind::Unknown, "")?;
    } else {
        expect::answer(device, CanUnbind::No, "it would wait for 64 KiB taken by sh")?;
    }

    let device = held_up(&blocked, &memory, &unbinding, range, SIZE)?;
    taken_by_module(device, &allocated)?;
    unbinding::seen_from_the_start(device)?;
    ensure!(device.unseen() == 0, "unseen are {} bytes", device.unseen());
    residual(device, known(1))?;
    for report in &late {
        let device = held_up(report, &memory, &unbinding, range, SIZE)?;
        ensure!(device.holders.is_empty(), "nobody was seen: {:?}", device.holders);
        unbinding::not_seen_beginning(device)?;
        expect::unseen_at(device, allocated.addr, SIZE)?;
        residual(device, unknown(1, SIZE / PAGE))?;
    }
    for report in &over {
        gone(report.device(&memory)?)?;
    }
    Ok(Verdict::Passed)
}

/// Expects the blocked unbind, with its one range killed and the memory counted.
pub(super) fn held_up<'a>(
    report: &'a Report,
    device: &str,
    unbinding: &Unbinding,
    bar: (u64, u64),
    allocated: u64,
) -> Result<&'a DeviceReport> {
    let device = report.device(device)?;
    unbinding.is_told(report, device)?;
    expect::certain(device)?;
    let range = device.only_range()?;
    ensure!(
        bounds(range)? == bar && range.state == RangeState::Killed && range.allocated == Some(allocated),
        "the range that waits is told as {range:?}"
    );
    Ok(device)
}

/// Expects the memory to be that process's, which has exited.
pub(super) fn taken_by_module<'a>(device: &'a DeviceReport, allocated: &Allocated) -> Result<&'a Holder> {
    let holder = device.only_holder(HolderKind::Allocation)?;
    ensure!(
        (holder.count, holder.references, holder.bytes) == (1, 1, SIZE) && device.holders.len() == 1,
        "one allocation is told as {:?}",
        device.holders
    );
    let task = holder.allocated_by.as_ref().context("nobody is named")?;
    ensure!(
        (task.tgid, task.pid, task.comm.as_str()) == (allocated.pid, allocated.pid, "sh"),
        "process {} took it, not {task:?}",
        allocated.pid
    );
    ensure!(
        holder.process == Liveness::Exited,
        "process {} has exited, but is told as {:?}",
        allocated.pid,
        holder.process
    );
    if let Some(caller) = &holder.caller {
        ensure!(
            caller.starts_with("memory_alloc+") && caller.ends_with(" [p2ptest]"),
            "the caller is {caller}"
        );
    }
    Ok(holder)
}

/// So many references, all known.
pub(super) const fn known(count: u64) -> Residual {
    Residual { count, known: count, unknown_min: 0, unknown_max: 0, unexplained_min: 0, unexplained_max: 0 }
}

/// So many references to one piece of memory of so many pages, of which nothing was seen.
pub(super) const fn unknown(count: u64, pages: u64) -> Residual {
    Residual {
        count,
        known: 0,
        unknown_min: 1,
        unknown_max: pages,
        unexplained_min: 0,
        unexplained_max: count - 1,
    }
}

/// Expects these references to the only range.
pub(super) fn residual(device: &DeviceReport, expected: Residual) -> Result<()> {
    let told = device.only_range()?.residual;
    ensure!(told == Some(expected), "the references left are {expected:?}, told are {told:?}");
    Ok(())
}

/// Expects nothing to be left.
pub(super) fn gone(device: &DeviceReport) -> Result<()> {
    expect::quiet(device)?;
    ensure!(
        device.ranges.is_empty()
            && device.holders.is_empty()
            && device.preexisting.is_none()
            && device.candidates.is_empty()
            && device.driver.is_none(),
        "after the unbind is told: {device:?}"
    );
    expect::answer(device, CanUnbind::Yes, "no p2p memory")
}
