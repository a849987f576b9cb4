//! Records are lost, and the kernel's own state makes up for it.

use anyhow::{Result, ensure};

use super::expect;
use super::kernel_held::SIZE;
use super::report::{DeviceReportExt as _, ReportExt as _};
use crate::guest::kmodule;
use crate::scenarios::lab::Lab;
use crate::scenarios::product::{CanUnbind, DeviceReport, Liveness};
use crate::scenarios::testmod::Allocated;
use crate::scenarios::{Method, Verdict};

/// The smallest ring there is.
const TINY: &str = "--ring-size 4096";

/// The tracer stands still while far more happens than its rings can hold: of three allocations that it knew one is kept,
/// one given back, and one given back and taken by another; a fourth is made.
pub(in crate::scenarios) fn losses(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("ranges=1")?;
    let card = lab.card.clone();
    let range = lab.range_of(&card)?;
    let trace = lab.trace("holders-losses", &format!("{} {TINY}", method.option()))?;
    let kept = lab.take(&card, SIZE)?;
    let given_back = lab.take(&card, SIZE)?;
    let handed_over = lab.take(&card, SIZE)?;
    let before = lab.ask_until_certain(&card)?;

    lab.halt(&trace)?;
    let unseen = lab.take(&card, 2 * SIZE)?;
    lab.command(&format!("free {}", handed_over.handle))?;
    let heir = lab.take(&card, SIZE)?;
    lab.command(&format!("free {}", given_back.handle))?;
    // Whatever came before is not in the rings any more, whichever processor it was on.
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

    ensure!(stream.summary()?.lost > 0, "nothing was lost in a ring of 4 KiB");
    ensure!(heir.addr == handed_over.addr, "the memory was not taken again");
    ensure!(sysfs.allocated == 4 * SIZE, "sysfs says {sysfs:?}");
    let device = before.device(&card)?;
    named(device, &[&kept, &given_back, &handed_over], false)?;
    ensure!(device.unseen() == 0, "{} bytes are unseen", device.unseen());
    let device = after.device(&card)?;
    expect::in_use(device, range, sysfs)?;
    // That the third changed hands is not to be seen in the kernel's state.
    named(device, &[&kept, &handed_over], true)?;
    expect::unseen_at(device, unseen.addr, 2 * SIZE)?;
    expect::answer(device, CanUnbind::Unknown, "")?;
    Ok(Verdict::Passed)
}

/// Expects an allocation by each of these processes, and that it is said whether it may be another's by now.
fn named(device: &DeviceReport, expected: &[&Allocated], unsure: bool) -> Result<()> {
    let mut told = Vec::new();
    for holder in &device.holders {
        ensure!(
            holder.bytes == SIZE && holder.unsure == unsure && holder.process == Liveness::Exited,
            "an allocation of a process that is gone is told as {holder:?}"
        );
        told.extend(holder.allocated_by.as_ref().map(|task| task.tgid));
    }
    told.sort_unstable();
    let mut pids: Vec<u32> = expected.iter().map(|allocated| allocated.pid).collect();
    pids.sort_unstable();
    ensure!(told == pids, "the takers are {pids:?}, told are {told:?}");
    Ok(())
}
