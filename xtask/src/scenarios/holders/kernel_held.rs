//! Memory that another part of the kernel allocated: it blocks the unbind until it is freed.

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

/// Bytes of the allocation.
pub(super) const SIZE: u64 = 64 * 1024;

/// Memory is allocated under a tracer, which reports before and during the unbind; then reports without a
/// tracer and by one that started too late; then the memory is freed, and both report again.
pub(in crate::scenarios) fn kernel_held(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_driver()?;
    lab.load_module("ranges=0")?;
    let memory = lab.memory.clone();
    let range = lab.range()?;
    let trace = lab.trace("holders-kernel-held", &method.option())?;
    let allocated = lab.allocate(&memory, SIZE)?;
    let sysfs = lab.sysfs(&memory)?;
    let held = lab.ask_tracer(&memory)?;
    let unbinding = Unbinding::start(lab, &memory, "nvme")?;
    let blocked = lab.ask_tracer(&memory)?;
    let mut late = Vec::new();
    let (stream, over) = if method.is_primary() {
        let stream = lab.stop(trace)?;
        late.push(lab.one_shot(&memory)?);
        let trace = lab.trace("holders-kernel-held-late", "")?;
        late.push(lab.ask_tracer(&memory)?);
        lab.command(&format!("free {}", allocated.handle))?;
        unbinding.wait(lab)?;
        let over = lab.ask_until_certain(&memory)?;
        lab.stop(trace)?;
        (stream, vec![over, lab.one_shot(&memory)?])
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
        "{} of {} bytes have unknown holders",
        device.unseen(),
        sysfs.allocated
    );
    let holder = held_by_module(device, &allocated)?;
    let hidden = holder.caller.is_none();
    ensure!(
        holder.by_driver == (!hidden).then_some(false) && (!hidden || of_stream::hides_callers(&stream)?),
        "wrong `by_driver`: {holder:?}"
    );
    if hidden {
        expect::answer(device, CanUnbind::Unknown, "")?;
    } else {
        expect::answer(device, CanUnbind::No, "it would wait for 64 KiB held by sh")?;
    }

    let device = is_blocked(&blocked, &memory, &unbinding, range, SIZE)?;
    held_by_module(device, &allocated)?;
    unbinding::seen_from_the_start(device)?;
    ensure!(device.unseen() == 0, "{} bytes have unknown holders", device.unseen());
    residual(device, known(1))?;
    for report in &late {
        let device = is_blocked(report, &memory, &unbinding, range, SIZE)?;
        ensure!(device.holders.is_empty(), "unexpected holders: {:?}", device.holders);
        unbinding::start_unknown(device)?;
        expect::unseen_at(device, allocated.addr, SIZE)?;
        residual(device, unknown(1, SIZE / PAGE))?;
    }
    for report in &over {
        is_empty(report.device(&memory)?)?;
    }
    Ok(Verdict::Passed)
}

/// Expects the blocked unbind, with its one range killed and the allocated memory counted.
pub(super) fn is_blocked<'a>(
    report: &'a Report,
    device: &str,
    unbinding: &Unbinding,
    bar: (u64, u64),
    allocated: u64,
) -> Result<&'a DeviceReport> {
    let device = report.device(device)?;
    unbinding.is_reported(report, device)?;
    expect::certain(device)?;
    let range = device.only_range()?;
    ensure!(
        bounds(range)? == bar && range.state == RangeState::Killed && range.allocated == Some(allocated),
        "the range that waits is reported as {range:?}"
    );
    Ok(device)
}

/// Expects the memory to be held by this process, which has exited.
pub(super) fn held_by_module<'a>(device: &'a DeviceReport, allocated: &Allocated) -> Result<&'a Holder> {
    let holder = device.only_holder(HolderKind::Allocation)?;
    ensure!(
        (holder.count, holder.references, holder.bytes) == (1, 1, SIZE) && device.holders.len() == 1,
        "one allocation is reported as {:?}",
        device.holders
    );
    let task = holder.allocated_by.as_ref().context("no task is named")?;
    ensure!(
        (task.tgid, task.pid, task.comm.as_str()) == (allocated.pid, allocated.pid, "sh"),
        "allocated by process {}, not {task:?}",
        allocated.pid
    );
    ensure!(
        holder.process == Liveness::Exited,
        "process {} has exited, but is reported as {:?}",
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

/// This number of references, all known.
pub(super) const fn known(count: u64) -> Residual {
    Residual { count, known: count, unknown_min: 0, unknown_max: 0, unexplained_min: 0, unexplained_max: 0 }
}

/// This number of references to one piece of memory with this number of pages, whose allocation is unknown.
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
    let reported = device.only_range()?.residual;
    ensure!(
        reported == Some(expected),
        "the remaining references are {expected:?}, but reported as {reported:?}"
    );
    Ok(())
}

/// Expects an empty report.
pub(super) fn is_empty(device: &DeviceReport) -> Result<()> {
    expect::quiet(device)?;
    ensure!(
        device.ranges.is_empty()
            && device.holders.is_empty()
            && device.preexisting.is_none()
            && device.candidates.is_empty()
            && device.driver.is_none(),
        "the report after the unbind is not empty: {device:?}"
    );
    expect::answer(device, CanUnbind::Yes, "no p2p memory")
}
