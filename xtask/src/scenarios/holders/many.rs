//! A hundred thousand references at once.

use anyhow::{Result, ensure};

use super::PAGE;
use super::expect;
use super::report::{DeviceReportExt as _, ReportExt as _};
use crate::scenarios::lab::Lab;
use crate::scenarios::product::{HolderKind, Liveness};
use crate::scenarios::{Method, Verdict};

/// Allocations, of a page each.
const COUNT: u64 = 100_000;
/// Bytes of them.
const BYTES: u64 = COUNT * PAGE;

/// Taken under a tracer, asked, given back; the same without.
pub(in crate::scenarios) fn many(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("ranges=1")?;
    let card = lab.card.clone();
    let trace = lab.trace_silently(&method.option())?;
    let allocated = lab.command(&format!("hold-many {card} {PAGE} {COUNT}"))?;
    let (range, sysfs) = (lab.range_of(&card)?, lab.sysfs(&card)?);
    let seen = lab.ask_until_certain(&card)?;
    lab.stop_silent(trace)?;
    let unseen = if method.does_the_rest() { Some(lab.look(&card)?) } else { None };
    lab.command(&format!("free {}", allocated.handle()?))?;
    lab.unload_module()?;

    ensure!(sysfs.allocated == BYTES, "sysfs says {sysfs:?}");
    let device = seen.device(&card)?;
    expect::in_use(device, range, sysfs)?;
    // What a full ring has lost is known as memory of unseen takers.
    let known: u64 = device.holders.iter().map(|holder| holder.bytes).sum();
    ensure!(
        known + device.unseen() == BYTES && known > 0,
        "{known} bytes are known, {} of unseen takers",
        device.unseen()
    );
    // Those of before a loss are told by themselves: they may be another's by now.
    for holder in &device.holders {
        ensure!(
            holder.kind == HolderKind::Allocation
                && holder.count == holder.references
                && holder.count * PAGE == holder.bytes
                && holder.allocated_by.as_ref().is_some_and(|task| task.tgid == allocated.pid)
                && holder.process == Liveness::Exited,
            "allocations by process {}, which is gone, are told as {holder:?}",
            allocated.pid
        );
    }
    let count: u64 = device.holders.iter().map(|holder| holder.count).sum();
    ensure!(device.unseen() > 0 || count == COUNT, "{COUNT} allocations are told as {count}");
    if let Some(report) = &unseen {
        let device = report.device(&card)?;
        expect::in_use(device, range, sysfs)?;
        ensure!(
            device.unseen() == BYTES && device.holders.is_empty(),
            "without a tracer {} bytes are told, and {:?}",
            device.unseen(),
            device.holders
        );
    }
    Ok(Verdict::Passed)
}
