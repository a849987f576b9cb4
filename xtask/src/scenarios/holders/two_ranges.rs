//! A device with two ranges, one with held memory: the other is removed, or has to wait.

use anyhow::{Context as _, Result, ensure};

use super::PAGE;
use super::expect;
use super::kernel_held::{SIZE, held_by_module, is_empty, known, unknown};
use super::report::{ReportExt as _, bounds};
use super::unbinding::{self, Unbinding};
use crate::guest::kmodule;
use crate::scenarios::lab::Lab;
use crate::scenarios::product::{CanUnbind, DeviceReport, RangeState, Residual};
use crate::scenarios::provider::halves;
use crate::scenarios::testmod::Allocated;
use crate::scenarios::{Method, Verdict};

/// A range: bounds, state, allocated bytes, remaining references.
type Seen = ((u64, u64), RangeState, Option<u64>, Option<Residual>);

/// The older range is held, with a tracer and without; then the newer one, without.
pub(in crate::scenarios) fn two_ranges(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("ranges=2")?;
    let card = lab.card.clone();
    let bar = lab.range_of(&card)?;
    let [older, newer] = halves(bar);
    let trace = lab.trace("holders-two-ranges", &method.option())?;
    // The newer range serves first.
    let filler = lab.allocate(&card, newer.1 - newer.0 + 1)?;
    let held = allocate_in(lab, &card, older)?;
    lab.command(&format!("free {}", filler.handle))?;
    let sysfs = lab.sysfs(&card)?;
    let before = lab.ask_tracer(&card)?;
    let unbinding = Unbinding::start(lab, &card, kmodule::NAME)?;
    let blocked = lab.ask_tracer(&card)?;
    lab.stop(trace)?;
    let unseen = if method.is_primary() { Some(lab.one_shot(&card)?) } else { None };
    lab.command(&format!("free {}", held.handle))?;
    unbinding.wait(lab)?;

    let device = before.device(&card)?;
    expect::quiet(device)?;
    states(device, &[(older, RangeState::Live, Some(SIZE), None), (newer, RangeState::Live, Some(0), None)])?;
    ensure!(
        (device.size, device.allocated) == (Some(sysfs.size), Some(sysfs.allocated))
            && sysfs.allocated == SIZE,
        "sysfs has {sysfs:?}, the report {:?} and {:?}",
        device.size,
        device.allocated
    );
    // The module is the card's own driver.
    held_by_module(device, &held)?;
    let own = device.holders.iter().any(|holder| holder.by_driver == Some(true));
    expect::answer(device, if own { CanUnbind::Yes } else { CanUnbind::Unknown }, "")?;

    let device = blocked.device(&card)?;
    unbinding.is_reported(&blocked, device)?;
    expect::certain(device)?;
    killed_twice(device)?;
    states(
        device,
        &[
            (older, RangeState::Killed, Some(SIZE), Some(known(1))),
            (newer, RangeState::Removed, Some(0), None),
        ],
    )?;
    held_by_module(device, &held)?;
    if let Some(report) = &unseen {
        let device = report.device(&card)?;
        unbinding.is_reported(report, device)?;
        expect::certain(device)?;
        unbinding::start_unknown(device)?;
        // The pool has a pointer to freed memory for the newer range: it is not reported, or with its last
        // state.
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
    let held = allocate_in(lab, &card, newer)?;
    let unbinding = Unbinding::start(lab, &card, kmodule::NAME)?;
    let report = lab.one_shot(&card)?;
    lab.command(&format!("free {}", held.handle))?;
    unbinding.wait(lab)?;
    let over = lab.one_shot(&card)?;

    let device = report.device(&card)?;
    unbinding.is_reported(&report, device)?;
    expect::certain(device)?;
    unbinding::start_unknown(device)?;
    states(
        device,
        &[
            (older, RangeState::Live, Some(0), None),
            (newer, RangeState::Killed, Some(SIZE), Some(unknown(1, SIZE / PAGE))),
        ],
    )?;
    expect::unseen_at(device, held.addr, SIZE)?;
    is_empty(over.device(&card)?)
}

/// Allocates memory, and makes sure that it lies in this range.
fn allocate_in(lab: &mut Lab, card: &str, range: (u64, u64)) -> Result<Allocated> {
    let allocated = lab.allocate(card, SIZE)?;
    let bus = lab.command(&format!("virt-to-bus {}", allocated.handle))?.number("bus")?;
    ensure!((range.0..=range.1).contains(&bus), "{bus:#x} was allocated, which is not in {range:x?}");
    Ok(allocated)
}

/// Expects these ranges, sorted by address.
fn states(device: &DeviceReport, expected: &[Seen]) -> Result<()> {
    let mut reported = Vec::new();
    for range in &device.ranges {
        reported.push((bounds(range)?, range.state, range.allocated, range.residual));
    }
    reported.sort_by_key(|range| range.0);
    ensure!(reported == expected, "the ranges are {expected:x?}, but reported as {reported:x?}");
    Ok(())
}

/// Expects the complete teardown of the first range, and the kill of the second.
fn killed_twice(device: &DeviceReport) -> Result<()> {
    let unbind = device.unbind.as_ref().context("the report has no unbind")?;
    let steps = ["kill", "drained", "remove", "unmapped"];
    let reported: Vec<&str> =
        unbind.steps.iter().map(|step| step.kind.as_str()).filter(|kind| steps.contains(kind)).collect();
    ensure!(
        !unbind.steps_may_be_missing && reported == ["kill", "drained", "remove", "unmapped", "kill"],
        "the steps are {reported:?}"
    );
    Ok(())
}
