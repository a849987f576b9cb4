//! The order of 2018: a range's pages are removed while its memory is in use, and only the release of the
//! device waits.

use anyhow::{Result, bail, ensure};

use super::injection::Race;
use crate::scenarios::expect;
use crate::scenarios::lab::Lab;
use crate::scenarios::stream::Stream;
use crate::scenarios::{Method, Verdict};

/// The steps of a teardown and the free, each of which must be recorded once.
const STEPS: [&str; 8] =
    ["memremap_release", "kill", "remove", "unmapped", "release", "free", "drained", "released"];
/// Today's order, with no memory held.
const CLEAN: [&str; 7] = ["memremap_release", "kill", "drained", "remove", "unmapped", "release", "released"];

/// A teardown in the order of 2018, then one of the same device with no memory held: only the first one is
/// wrong.
pub(in crate::scenarios) fn race_2018(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("race=1")?;
    let card = lab.card.clone();
    let bar = lab.range_of(&card)?;
    let trace = lab.trace("race-2018", &method.option())?;
    let race = lab.race()?;
    lab.bind_card()?;
    lab.unbind_card()?;
    let stream = lab.stop(trace)?;
    lab.unload_module()?;

    expect::nothing_lost(&stream)?;
    expect::only_about(&stream, &card)?;
    let order: Vec<&str> =
        stream.observed().map(|event| event.kind.name()).filter(|kind| STEPS.contains(kind)).collect();
    ensure!(
        order == [STEPS.as_slice(), CLEAN.as_slice()].concat(),
        "the order of the two teardowns is {order:?}"
    );
    let violated = ["removed-before-drained", "drained-after-removal", "use-after-removal"];
    expect::verdicts(&stream, &card, &violated, &[])?;
    of_one_range(&stream, bar)?;
    still_allocated(&stream, &race)?;
    by_tasks(&stream, &race)?;
    Ok(Verdict::Passed)
}

/// Expects the steps of the first teardown to be about the same range, including the drain after its removal.
fn of_one_range(stream: &Stream, bar: (u64, u64)) -> Result<()> {
    let mut pgmap = None;
    for kind in ["kill", "remove", "drained"] {
        let event = stream.first(kind)?;
        let range = expect::bounds(event)?;
        ensure!(range == bar, "`{kind}` is about {range:x?}, the BAR is {bar:x?}");
        let before = pgmap.get_or_insert(event.pgmap);
        ensure!(
            *before == event.pgmap && event.pgmap.is_some(),
            "`{kind}` is of the range {:?}, not {before:?}",
            event.pgmap
        );
    }
    Ok(())
}

/// Expects each removal to report the outstanding memory at that moment, regardless of other events.
fn still_allocated(stream: &Stream, race: &Race) -> Result<()> {
    let reported: Vec<_> = stream.of_kind("remove").map(|event| (event.allocated, event.refs)).collect();
    let [(allocated, Some(refs)), clean] = reported.as_slice() else {
        bail!("the removals report {reported:?}");
    };
    ensure!(
        *allocated == Some(race.allocated.size) && *refs > 0,
        "the early removal reports {allocated:?} bytes, {refs} references"
    );
    ensure!(*clean == (Some(0), Some(0)), "the removal in the correct order reports {clean:?}");
    Ok(())
}

/// Expects the right tasks: one allocated, another one unbound, and a third one freed and so drained.
fn by_tasks(stream: &Stream, race: &Race) -> Result<()> {
    for (kind, pid) in [
        ("alloc", race.allocated.pid),
        ("kill", race.unbinder),
        ("remove", race.unbinder),
        ("release", race.unbinder),
        ("free", race.freer),
        ("drained", race.freer),
        ("released", race.unbinder),
    ] {
        let event = stream.first(kind)?;
        ensure!(event.tgid == Some(pid), "`{kind}` is by {:?}, not {pid}", event.tgid);
    }
    let kill = stream.first("kill")?;
    ensure!(
        kill.allocated == Some(race.allocated.size),
        "{:?} bytes are allocated at the kill",
        kill.allocated
    );
    for kind in ["alloc", "free"] {
        let event = stream.first(kind)?;
        let seen = (expect::hex(event.addr, event)?, event.size);
        ensure!(
            seen == (race.allocated.addr, Some(race.allocated.size)),
            "`{kind}` is about {seen:x?}, not {:x?}",
            race.allocated
        );
    }
    Ok(())
}
