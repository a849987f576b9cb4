//! A tracer that has recorded many wrong teardowns still watches the next one.

use anyhow::{Context as _, Result, ensure};

use super::uses::provoke_bad_access;
use crate::scenarios::lab::Lab;
use crate::scenarios::{Method, Verdict, expect};

/// Teardowns in the order of 2018 before the decisive one: more than an earlier version's table of watched
/// ranges had room for.
const RACES: u32 = 9;

/// Memory is mapped after its removal, after many teardowns whose ranges were removed in use: the late
/// mapping is recorded.
pub(in crate::scenarios) fn late_map_after_races(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("race=1")?;
    let card = lab.card.clone();
    let trace = lab.trace("late-map-after-races", &format!("{} --device {card}", method.option()))?;
    for _ in 0..RACES {
        lab.race()?;
        lab.bind_card()?;
    }
    provoke_bad_access(lab);
    // Longer than it takes to attach the hooks, even on a busy host.
    let mapped = lab.map_after_removal(1000)?;
    let unbinding = lab.start_unbind_card()?;
    let user = lab.expect_killed(mapped.user)?;
    lab.wait_sleeping(unbinding.pid, "release_late")?;
    let stream = lab.stop(trace)?;

    expect::nothing_lost(&stream)?;
    let removals = stream.of_kind("remove").count();
    ensure!(removals == RACES as usize + 1, "{removals} removals were recorded");
    let removed_ns = stream.of_kind("remove").last().context("no removal")?.time_ns;
    let late = stream.of_kind("map").find(|map| map.tgid == Some(user) && map.time_ns > removed_ns);
    let late = late.context("the map after the last removal was not recorded")?.id.0;
    let found =
        stream.findings_of("use-after-removal").any(|finding| finding.evidence.iter().any(|id| id.0 == late));
    ensure!(found, "the map {late} is in no finding");
    Ok(Verdict::Passed)
}
