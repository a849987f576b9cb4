//! A long run: nothing that happened is unaccounted for, and the tracer does not grow.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::lab::Lab;
use super::product::{Line, SummaryLine};
use super::{Method, Verdict};
use crate::guest::kmodule;

/// Parts after each of which the memory is looked at.
const PARTS: u64 = 10;
/// Processors that work at once.
const CPUS: u64 = 2;
/// Pairs of one command.
const PAIRS: u64 = 10_000;
/// For each pair, and each rebind, it gets so much time.
const PER_PAIR: Duration = Duration::from_micros(400);
const PER_REBIND: Duration = Duration::from_secs(2);
/// Milliseconds until the tracer has caught up with nothing, and pairs for each of which it gets more.
const CATCH_UP: u64 = 300;
const PAIRS_PER_MS: u64 = 100;
/// So many KiB are no growth: what waited to be taken in at worst, which the allocator keeps. Of ten million events it would be seven
/// bytes for each.
const BACKLOG: u64 = 32 << 10;
/// The same of rebinds, which nothing waits for: of five hundred it would be sixteen KiB for each.
const SLACK: u64 = 4 << 10;
/// What the tracer shows, but for the lines that are looked at.
const OUT: &str = "/run/endurance.out";

/// Memory of the tracer at one moment, in KiB.
#[derive(Debug, Clone, Copy)]
struct Memory {
    /// All that is in memory, the rings among it, which are read for the first time at some time.
    resident: u64,
    /// Its own.
    own: u64,
}

/// Takes the device from its driver and gives it back, then allocates and frees, again and again.
pub(super) fn endurance(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let effort = lab.effort;
    let pairs = PAIRS.min(effort.pairs / (PARTS * CPUS)).max(1);
    let commands = effort.pairs / (PARTS * CPUS * pairs);
    let rebinds = effort.rebinds / PARTS as u32;
    let seconds =
        Duration::from_mins(8) + PER_PAIR * u32::try_from(effort.pairs)? + PER_REBIND * effort.rebinds;
    lab.guest.extend(seconds);
    lab.load_module("")?;
    let card = lab.card.clone();
    let driver = format!("/sys/bus/pci/drivers/{}", kmodule::NAME);
    let show = format!("| grep -F -e '\"type\":\"unshown\"' -e '\"type\":\"summary\"' > {OUT}");
    let job = lab.start_tracer("p2p-trace live", &format!("--json {}", method.option()), &show)?;

    let load = format!(
        "n=0; while [ $n -lt {commands} ]; do n=$((n + 1)); exec 3<>/dev/p2ptest; \
         echo load {card} 4096 {pairs} >&3 && cat <&3 || exit 1; done"
    );
    let loads = format!("for cpu in 0 1; do taskset -c $cpu sh -c '{load}' & done; wait");
    let bind = format!(
        "n=0; while [ $n -lt {rebinds} ]; do n=$((n + 1)); \
         echo {card} > {driver}/unbind && echo {card} > {driver}/bind || exit 1; done"
    );
    // Before anything has waited to be taken in: what an allocator keeps of that hides what a rebind leaves.
    let mut under_rebinds = Vec::new();
    for _ in 0..PARTS {
        lab.guest.check(&bind)?;
        under_rebinds.push(memory(lab, 0)?);
    }
    let begun = Instant::now();
    let mut under_load = Vec::new();
    let mut done = 0;
    for _ in 0..PARTS {
        let said = lab.guest.check(&loads)?;
        done += pairs * said.iter().filter(|line| line.starts_with("failed=0 ")).count() as u64;
        under_load.push(memory(lab, effort.pairs / PARTS)?);
    }
    println!("    ({done} pairs took {:?} of this machine)", begun.elapsed());
    lab.guest.check("kill -INT $(pidof p2p-trace)")?;
    lab.guest.wait(job)?.success().context("the tracer failed")?;
    lab.unload_module()?;
    let lines = lab.guest.check(&format!("cat {OUT}; rm {OUT}"))?;

    curve("rebinds", &under_rebinds);
    curve("events", &under_load);
    ensure!(done == PARTS * CPUS * commands * pairs, "{done} pairs were done");
    accounted(&lines, done, u64::from(rebinds) * PARTS)?;
    steady("events", &under_load, BACKLOG)?;
    steady("rebinds", &under_rebinds, SLACK)?;
    Ok(Verdict::Passed)
}

/// Expects every call to be delivered, lost, or skipped by the kernel.
fn accounted(lines: &[String], pairs: u64, rebinds: u64) -> Result<()> {
    let (mut unshown, mut summary) = (0, None);
    for line in lines {
        match serde_json::from_str(line).with_context(|| format!("not what the schema says: {line}"))? {
            Line::Unshown(line) => unshown += line.events,
            Line::Summary(line) => summary = Some(line),
            _ => {}
        }
    }
    let summary: SummaryLine = summary.context("there is no summary")?;
    ensure!(summary.contradictions.is_empty(), "it contradicts itself: {:?}", summary.contradictions);
    for (name, calls) in [("alloc", pairs), ("free", pairs), ("kill", rebinds)] {
        let hook = summary.hooks.iter().find(|hook| hook.hook.name() == name);
        let hook = hook.with_context(|| format!("the summary does not tell of {name}"))?;
        let missed = hook.missed.unwrap_or_default();
        println!(
            "    ({name}: {calls} calls, {} delivered, {} lost, {missed} skipped)",
            hook.delivered, hook.lost
        );
        ensure!(
            hook.delivered + hook.lost == hook.hits && hook.hits + missed == calls,
            "{name}: {calls} calls, and {hook:?}"
        );
    }
    println!("    ({unshown} of {} events were not shown)", summary.events);
    Ok(())
}

/// Once the tracer has caught up with so many pairs.
fn memory(lab: &mut Lab, pairs: u64) -> Result<Memory> {
    let us = 1000 * (CATCH_UP + pairs / PAIRS_PER_MS);
    let lines = lab.guest.check(&format!("usleep {us}; cat /proc/$(pidof p2p-trace)/status"))?;
    let of = |name: &str| {
        let value = lines.iter().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
        value.and_then(|value| value.parse().ok()).with_context(|| format!("its status has no {name}"))
    };
    Ok(Memory { resident: of("VmRSS:")?, own: of("RssAnon:")? })
}

fn curve(what: &str, looks: &[Memory]) {
    let of =
        |of: fn(&Memory) -> u64| looks.iter().map(|look| of(look).to_string()).collect::<Vec<_>>().join(" ");
    println!(
        "    (KiB at each tenth of the {what}: {}; its own: {})",
        of(|look| look.resident),
        of(|look| look.own)
    );
}

/// Expects the second half to take no more than the first, and so many KiB.
fn steady(what: &str, looks: &[Memory], slack: u64) -> Result<()> {
    let (first, second) = looks.split_at(looks.len() / 2);
    let most = |looks: &[Memory]| looks.iter().map(|look| look.own).max().unwrap_or_default();
    let (before, after) = (most(first), most(second));
    ensure!(
        after <= before + slack,
        "the tracer grows with the {what}: {before} KiB of its own in the first half, {after} in the second"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(own: &[u64]) -> Vec<Memory> {
        own.iter().map(|&own| Memory { resident: own, own }).collect()
    }

    #[test]
    fn what_grows_with_each_part_is_noticed() {
        let grown: Vec<u64> = (1..=10).map(|part| 10_000 + part * 2000).collect();
        assert!(steady("events", &looks(&grown), SLACK).is_err());
        assert!(
            steady("events", &looks(&[9000, 20_000, 20_100, 20_000, 20_050, 20_900, 20_100, 20_000]), SLACK)
                .is_ok()
        );
    }
}
