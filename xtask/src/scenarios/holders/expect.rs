//! Expectations on a report that several scenarios share.

use anyhow::{Context as _, Result, ensure};

use super::ask::Sysfs;
use super::report::{DeviceReportExt as _, bounds};
use crate::scenarios::expect as of_stream;
use crate::scenarios::product::{CanUnbind, DeviceReport, EventLine, Hex, Holder, RangeState, Why};
use crate::scenarios::stream::Stream;

/// Expects a device in use with one range, and the numbers of sysfs.
pub(super) fn in_use(device: &DeviceReport, bar: (u64, u64), sysfs: Sysfs) -> Result<()> {
    let range = device.only_range()?;
    ensure!(
        bounds(range)? == bar && range.state == RangeState::Live && range.residual.is_none(),
        "the range in use of BAR {bar:x?} is reported as {range:?}"
    );
    ensure!(
        device.size == Some(sysfs.size)
            && device.allocated == Some(sysfs.allocated)
            && device.published == Some(sysfs.published),
        "sysfs has {sysfs:?}, the report {:?}, {:?}, {:?}",
        device.size,
        device.allocated,
        device.published
    );
    quiet(device)
}

/// Expects no unbind, and no uncertainty.
pub(super) fn quiet(device: &DeviceReport) -> Result<()> {
    ensure!(device.unbind.is_none(), "unexpected unbind: {:?}", device.unbind);
    certain(device)
}

/// Expects no uncertainty.
pub(super) fn certain(device: &DeviceReport) -> Result<()> {
    ensure!(device.uncertain.is_empty(), "unexpected uncertainty: {:?}", device.uncertain);
    Ok(())
}

/// Expects an answer whose reason contains these words.
pub(super) fn answer(device: &DeviceReport, answer: CanUnbind, words: &str) -> Result<()> {
    let reported = &device.can_unbind;
    ensure!(
        reported.answer == answer && reported.reason.contains(words),
        "expected the answer {answer:?} because of `{words}`, not {reported:?}"
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

/// Expects a holder to agree with the stream's events of it: all those of one task and caller.
pub(super) fn matches_stream(holder: &Holder, events: &[&EventLine], stream: &Stream) -> Result<()> {
    let first = events.first().context("no memory was allocated")?;
    let last = events.last().context("no memory was allocated")?;
    let allocated: u64 = events.iter().filter_map(|event| event.size).sum();
    ensure!(
        holder.count == events.len() as u64 && holder.bytes == allocated,
        "{allocated} bytes in {} events are reported as {holder:?}",
        events.len()
    );
    ensure!(
        holder.record == first.id && holder.oldest_ns == first.time_ns && holder.newest_ns == last.time_ns,
        "the first event {} at {} does not match {holder:?}",
        first.id.0,
        first.time_ns
    );
    let reported = holder.allocated_by.as_ref();
    ensure!(
        reported.is_some_and(|task| (Some(task.pid), Some(task.tgid), Some(task.comm.as_str()))
            == (first.pid, first.tgid, first.comm.as_deref())),
        "allocated by {:?} ({:?}), but reported as {reported:?}",
        first.comm,
        first.pid
    );
    let caller = first.caller.as_ref().and_then(|frame| frame.symbol.as_ref());
    ensure!(
        caller == holder.caller.as_ref() && (caller.is_some() || of_stream::hides_callers(stream)?),
        "called from {caller:?}, but reported as {:?}",
        holder.caller
    );
    Ok(())
}

/// Expects memory with unknown holders in one piece at this direct-map address.
pub(super) fn unseen_at(device: &DeviceReport, addr: u64, size: u64) -> Result<()> {
    let runs = device.preexisting.as_ref().map(|preexisting| &preexisting.runs[..]);
    let found = runs.unwrap_or_default();
    let [run] = found else {
        anyhow::bail!("{size} bytes at {addr:#x} are reported as {found:?}");
    };
    ensure!(run.addr == Hex(addr) && run.size == size, "{size} bytes at {addr:#x} are reported as {run:?}");
    Ok(())
}
