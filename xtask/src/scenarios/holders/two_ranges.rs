//! A device with two ranges, in one of which memory is held: the other goes, or has to wait its turn.

use anyhow::{Context as _, Result, ensure};

use super::PAGE;
use super::expect;
use super::kernel_held::{SIZE, gone, known, taken_by_module, unknown};
use super::report::{ReportExt as _, bounds};
use super::unbinding::{self, Unbinding};
use crate::guest::kmodule;
use crate::scenarios::lab::Lab;
use crate::scenarios::product::{CanUnbind, DeviceReport, RangeState, Residual};
use crate::scenarios::provider::halves;
use crate::scenarios::testmod::Allocated;
use crate::scenarios::{Method, Verdict};

/// A range: bounds, state, bytes taken, references left.
type Seen = ((u64, u64), RangeState, Option<u64>, Option<Residual>);

/// The older range held, under a tracer and without; then the newer one, without.
pub(in crate::scenarios) fn two_ranges(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("ranges=2")?;
    let card = lab.card.clone();
    let bar = lab.range_of(&card)?;
    let [older, newer] = halves(bar);
    let trace = lab.trace("holders-two-ranges", &method.option())?;
    // The newer range serves first.
    let filler = lab.take(&card, newer.1 - newer.0 + 1)?;
    let held = take_in(lab, &card, older)?;
    lab.command(&format!("free {}", filler.handle))?;
    let sysfs = lab.sysfs(&card)?;
    let before = lab.ask_tracer(&card)?;
    let unbinding = Unbinding::start(lab, &card, kmodule::NAME)?;
    let blocked = lab.ask_tracer(&card)?;
    lab.stop(trace)?;
    let unseen = if method.does_the_rest() { Some(lab.look(&card)?) } else { None };
    lab.command(&format!("free {}", held.handle))?;
    unbinding.wait(lab)?;

    let device = before.device(&card)?;
    expect::quiet(device)?;
    states(device, &[(older, RangeState::Live, Some(SIZE), None), (newer, RangeState::Live, Some(0), None)])?;
    ensure!(
        (device.size, device.allocated) == (Some(sysfs.size), Some(sysfs.allocated))
            && sysfs.allocated == SIZE,
        "sysfs says {sysfs:?}, told are {:?} and {:?}",
        device.size,
        device.allocated
    );
    // The module is the card's own driver.
    taken_by_module(device, &held)?;
    let own = device.holders.iter().any(|holder| holder.by_driver == Some(true));
    expect::answer(device, if own { CanUnbind::Yes } else { CanUnbind::Unknown }, "")?;

    let device = blocked.device(&card)?;
    unbinding.is_told(&blocked, device)?;
    expect::certain(device)?;
    killed_twice(device)?;
    states(
        device,
        &[
            (older, RangeState::Killed, Some(SIZE), Some(known(1))),
            (newer, RangeState::Removed, Some(0), None),
        ],
    )?;
    taken_by_module(device, &held)?;
    if let Some(report) = &unseen {
        let device = report.device(&card)?;
        unbinding.is_told(report, device)?;
        expect::certain(device)?;
        unbinding::not_seen_beginning(device)?;
        // Of the newer one the pool has a pointer to freed memory: it tells nothing, or what was true in the end.
        let older_waits = (older, RangeState::Killed, Some(SIZE), Some(unknown(1, SIZE / PAGE)));
        states(device, &[older_waits])
            .or_else(|_| states(device, &[older_waits, (newer, RangeState::Drained, Some(0), None)]))?;
        expect::unseen_at(device, held.addr, SIZE)?;
        newer_held(lab, newer, older)?;
    }
    lab.unload_module()?;
    Ok(Verdict::Passed)
}

/// The newer range waits, and the older one has not been touched.
fn newer_held(lab: &mut Lab, newer: (u64, u64), older: (u64, u64)) -> Result<()> {
    lab.bind_card()?;
    let card = lab.card.clone();
    let held = take_in(lab, &card, newer)?;
    let unbinding = Unbinding::start(lab, &card, kmodule::NAME)?;
    let report = lab.look(&card)?;
    lab.command(&format!("free {}", held.handle))?;
    unbinding.wait(lab)?;
    let over = lab.look(&card)?;

    let device = report.device(&card)?;
    unbinding.is_told(&report, device)?;
    expect::certain(device)?;
    unbinding::not_seen_beginning(device)?;
    states(
        device,
        &[
            (older, RangeState::Live, Some(0), None),
            (newer, RangeState::Killed, Some(SIZE), Some(unknown(1, SIZE / PAGE))),
        ],
    )?;
    expect::unseen_at(device, held.addr, SIZE)?;
    gone(over.device(&card)?)
}

/// Takes memory, and makes sure that it lies in this range.
fn take_in(lab: &mut Lab, card: &str, range: (u64, u64)) -> Result<Allocated> {
    let allocated = lab.take(card, SIZE)?;
    let bus = lab.command(&format!("virt-to-bus {}", allocated.handle))?.number("bus")?;
    ensure!((range.0..=range.1).contains(&bus), "{bus:#x} was taken, not from {range:x?}");
    Ok(allocated)
}

/// Expects these ranges, by address.
fn states(device: &DeviceReport, expected: &[Seen]) -> Result<()> {
    let mut told = Vec::new();
    for range in &device.ranges {
        told.push((bounds(range)?, range.state, range.allocated, range.residual));
    }
    told.sort_by_key(|range| range.0);
    ensure!(told == expected, "the ranges are {expected:x?}, told are {told:x?}");
    Ok(())
}

/// Expects the whole teardown of the first range to be told, and the kill of the second.
fn killed_twice(device: &DeviceReport) -> Result<()> {
    let unbind = device.unbind.as_ref().context("the report tells of no unbind")?;
    let steps = ["kill", "drained", "remove", "unmapped"];
    let told: Vec<&str> =
        unbind.steps.iter().map(|step| step.kind.as_str()).filter(|kind| steps.contains(kind)).collect();
    ensure!(
        !unbind.steps_may_be_missing && told == ["kill", "drained", "remove", "unmapped", "kill"],
        "the steps are {told:?}"
    );
    Ok(())
}
