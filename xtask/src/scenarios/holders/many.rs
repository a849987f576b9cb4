//! A hundred thousand outstanding references.

use anyhow::{Result, ensure};

use super::PAGE;
use super::expect;
use super::report::{DeviceReportExt as _, ReportExt as _};
use crate::scenarios::lab::Lab;
use crate::scenarios::product::{HolderKind, Liveness};
use crate::scenarios::{Method, Verdict};

/// Allocations of one page each.
const COUNT: u64 = 100_000;
/// Their bytes.
const BYTES: u64 = COUNT * PAGE;

/// Memory is allocated under a tracer, reported and freed; then the same without a tracer.
pub(in crate::scenarios) fn many(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("ranges=1")?;
    let card = lab.card.clone();
    let trace = lab.trace_silently(&method.option())?;
    let allocated = lab.command(&format!("hold-many {card} {PAGE} {COUNT}"))?;
    let (range, sysfs) = (lab.range_of(&card)?, lab.sysfs(&card)?);
    let seen = lab.ask_until_certain(&card)?;
    lab.stop_silent(trace)?;
    let unseen = if method.is_primary() { Some(lab.one_shot(&card)?) } else { None };
    lab.command(&format!("free {}", allocated.handle()?))?;
    lab.unload_module()?;

    ensure!(sysfs.allocated == BYTES, "unexpected values in sysfs: {sysfs:?}");
    let device = seen.device(&card)?;
    expect::in_use(device, range, sysfs)?;
    // Memory whose records a full ring lost is reported with unknown holders.
    let known: u64 = device.holders.iter().map(|holder| holder.bytes).sum();
    ensure!(
        known + device.unseen() == BYTES && known > 0,
        "{known} bytes have known holders, {} have unknown ones",
        device.unseen()
    );
    // Allocations before a loss are reported separately: they may belong to another process by now.
    for holder in &device.holders {
        ensure!(
            holder.kind == HolderKind::Allocation
                && holder.count == holder.references
                && holder.count * PAGE == holder.bytes
                && holder.allocated_by.as_ref().is_some_and(|task| task.tgid == allocated.pid)
                && holder.process == Liveness::Exited,
            "allocations by the exited process {} are reported as {holder:?}",
            allocated.pid
        );
    }
    let count: u64 = device.holders.iter().map(|holder| holder.count).sum();
    ensure!(device.unseen() > 0 || count == COUNT, "{COUNT} allocations are reported as {count}");
    if let Some(report) = &unseen {
        let device = report.device(&card)?;
        expect::in_use(device, range, sysfs)?;
        ensure!(
            device.unseen() == BYTES && device.holders.is_empty(),
            "without a tracer, {} bytes have unknown holders, and the holders are {:?}",
            device.unseen(),
            device.holders
        );
    }
    Ok(Verdict::Passed)
}
