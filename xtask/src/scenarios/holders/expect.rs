//! What more than one scenario expects of a report.

use anyhow::{Context as _, Result, ensure};

use super::ask::Sysfs;
use super::report::{DeviceReportExt as _, bounds};
use crate::scenarios::expect as of_stream;
use crate::scenarios::product::{CanUnbind, DeviceReport, EventLine, Hex, Holder, RangeState, Why};
use crate::scenarios::stream::Stream;

/// Expects a device in use with one range, and its numbers to be those of sysfs.
pub(super) fn in_use(device: &DeviceReport, bar: (u64, u64), sysfs: Sysfs) -> Result<()> {
    let range = device.only_range()?;
    ensure!(
        bounds(range)? == bar && range.state == RangeState::Live && range.residual.is_none(),
        "the range in use of BAR {bar:x?} is told as {range:?}"
    );
    ensure!(
        device.size == Some(sysfs.size)
            && device.allocated == Some(sysfs.allocated)
            && device.published == Some(sysfs.published),
        "sysfs says {sysfs:?}, the report {:?}, {:?}, {:?}",
        device.size,
        device.allocated,
        device.published
    );
    quiet(device)
}

/// Expects no unbind, and no doubt.
pub(super) fn quiet(device: &DeviceReport) -> Result<()> {
    ensure!(device.unbind.is_none(), "nobody unbinds, but: {:?}", device.unbind);
    certain(device)
}

/// Expects no doubt.
pub(super) fn certain(device: &DeviceReport) -> Result<()> {
    ensure!(device.uncertain.is_empty(), "nothing was lost, but: {:?}", device.uncertain);
    Ok(())
}

/// Expects an answer whose reason has this in it.
pub(super) fn answer(device: &DeviceReport, answer: CanUnbind, words: &str) -> Result<()> {
    let told = &device.can_unbind;
    ensure!(
        told.answer == answer && told.reason.contains(words),
        "to be answered was {answer:?} because of `{words}`, not {told:?}"
    );
    Ok(())
}

/// Expects the driver to be the only candidate.
pub(super) fn only_driver_suspected(device: &DeviceReport) -> Result<()> {
    let [candidate] = &device.candidates[..] else {
        anyhow::bail!("the candidates are {:?}", device.candidates);
    };
    ensure!(
        matches!(&candidate.why, Why::Driver { driver } if device.driver.as_ref() == Some(driver)),
        "the candidate is {candidate:?}"
    );
    Ok(())
}

/// Expects a holder to be told as the stream's events of it: those of one task and caller, all of them.
pub(super) fn as_in_stream(holder: &Holder, events: &[&EventLine], stream: &Stream) -> Result<()> {
    let first = events.first().context("nothing was taken")?;
    let last = events.last().context("nothing was taken")?;
    let allocated: u64 = events.iter().filter_map(|event| event.size).sum();
    ensure!(
        holder.count == events.len() as u64 && holder.bytes == allocated,
        "taken were {allocated} bytes in {} events, told is {holder:?}",
        events.len()
    );
    ensure!(
        holder.record == first.id && holder.oldest_ns == first.time_ns && holder.newest_ns == last.time_ns,
        "the first is {} of {}, told is {holder:?}",
        first.id.0,
        first.time_ns
    );
    let told = holder.allocated_by.as_ref();
    ensure!(
        told.is_some_and(|task| (Some(task.pid), Some(task.tgid), Some(task.comm.as_str()))
            == (first.pid, first.tgid, first.comm.as_deref())),
        "taken by {:?} ({:?}), told is {told:?}",
        first.comm,
        first.pid
    );
    let caller = first.caller.as_ref().and_then(|frame| frame.symbol.as_ref());
    ensure!(
        caller == holder.caller.as_ref() && (caller.is_some() || of_stream::hides_callers(stream)?),
        "called from {caller:?}, told is {:?}",
        holder.caller
    );
    Ok(())
}

/// Expects memory of unseen takers in one piece at this direct-map address.
pub(super) fn unseen_at(device: &DeviceReport, addr: u64, size: u64) -> Result<()> {
    let runs = device.preexisting.as_ref().map(|preexisting| &preexisting.runs[..]);
    let found = runs.unwrap_or_default();
    let [run] = found else {
        anyhow::bail!("{size} bytes at {addr:#x} are told as {found:?}");
    };
    ensure!(run.addr == Hex(addr) && run.size == size, "{size} bytes at {addr:#x} are told as {run:?}");
    Ok(())
}
