//! Records are lost, and the tracer reconciles with the kernel's own state.

use anyhow::{Result, ensure};

use super::expect;
use super::kernel_held::SIZE;
use super::report::{DeviceReportExt as _, ReportExt as _};
use crate::guest::kmodule;
use crate::scenarios::lab::Lab;
use crate::scenarios::product::{CanUnbind, DeviceReport, Liveness};
use crate::scenarios::testmod::Allocated;
use crate::scenarios::{Method, Verdict};

/// The smallest possible ring.
const TINY: &str = "--ring-size 4096";

/// The tracer is stopped while far more events occur than its rings can hold: of three known allocations one
/// is kept, one freed, and one freed and reallocated by another process; a fourth is made.
pub(in crate::scenarios) fn losses(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("ranges=1")?;
    let card = lab.card.clone();
    let range = lab.range_of(&card)?;
    let trace = lab.trace("holders-losses", &format!("{} {TINY}", method.option()))?;
    let kept = lab.allocate(&card, SIZE)?;
    let freed = lab.allocate(&card, SIZE)?;
    let reallocated = lab.allocate(&card, SIZE)?;
    let before = lab.ask_until_certain(&card)?;

    lab.halt(&trace)?;
    let unseen = lab.allocate(&card, 2 * SIZE)?;
    lab.command(&format!("free {}", reallocated.handle))?;
    let successor = lab.allocate(&card, SIZE)?;
    lab.command(&format!("free {}", freed.handle))?;
    // Overwrites all earlier records in the rings of both processors.
    for cpu in 0..2 {
        lab.guest
            .check(&format!("taskset -c {cpu} sh -c 'echo load {card} 4096 500 > /dev/{}'", kmodule::NAME))?;
    }
    lab.resume(&trace)?;
    let sysfs = lab.sysfs(&card)?;
    let after = lab.ask_until_certain(&card)?;
    let stream = lab.stop(trace)?;
    lab.command("free-all")?;
    lab.unload_module()?;

    ensure!(stream.summary()?.lost > 0, "no record was lost in a ring of 4 KiB");
    ensure!(successor.addr == reallocated.addr, "the memory was not reallocated");
    ensure!(sysfs.allocated == 4 * SIZE, "unexpected values in sysfs: {sysfs:?}");
    let device = before.device(&card)?;
    named(device, &[&kept, &freed, &reallocated], false)?;
    ensure!(device.unseen() == 0, "{} bytes have unknown holders", device.unseen());
    let device = after.device(&card)?;
    expect::in_use(device, range, sysfs)?;
    // The kernel's state does not show that the third one was reallocated.
    named(device, &[&kept, &reallocated], true)?;
    expect::unseen_at(device, unseen.addr, 2 * SIZE)?;
    expect::answer(device, CanUnbind::Unknown, "")?;
    Ok(Verdict::Passed)
}

/// Expects an allocation by each of these processes, with this flag for whether it may belong to another one
/// by now.
fn named(device: &DeviceReport, expected: &[&Allocated], unsure: bool) -> Result<()> {
    let mut reported = Vec::new();
    for holder in &device.holders {
        ensure!(
            holder.bytes == SIZE && holder.unsure == unsure && holder.process == Liveness::Exited,
            "the allocation of an exited process is reported as {holder:?}"
        );
        reported.extend(holder.allocated_by.as_ref().map(|task| task.tgid));
    }
    reported.sort_unstable();
    let mut pids: Vec<u32> = expected.iter().map(|allocated| allocated.pid).collect();
    pids.sort_unstable();
    ensure!(reported == pids, "the holders are {pids:?}, but reported as {reported:?}");
    Ok(())
}
