//! A long run: every event is accounted for, and the tracer does not grow.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::lab::Lab;
use super::product::{Line, SummaryLine};
use super::{Method, Verdict};
use crate::guest::kmodule;

/// The memory is sampled after each of these parts.
const PARTS: u64 = 10;
/// Processors that work at once.
const CPUS: u64 = 2;
/// Pairs of one command.
const PAIRS: u64 = 10_000;
/// Time allowed for each pair, and for each rebind.
const PER_PAIR: Duration = Duration::from_micros(400);
const PER_REBIND: Duration = Duration::from_secs(2);
/// Milliseconds until an idle tracer has caught up, and the number of pairs that allow it one more
/// millisecond.
const CATCH_UP: u64 = 300;
const PAIRS_PER_MS: u64 = 100;
/// KiB that do not count as growth: the largest backlog of unread events, which the allocator keeps. For ten
/// million events, growth of this size would be seven bytes per event.
const BACKLOG: u64 = 32 << 10;
/// The same for rebinds, which leave no backlog: for five hundred, growth of this size would be sixteen KiB
/// per rebind.
const SLACK: u64 = 4 << 10;
/// The tracer's output, filtered to the lines that are checked.
const OUT: &str = "/run/endurance.out";

/// Memory of the tracer at one moment, in KiB.
#[derive(Debug, Clone, Copy)]
struct Memory {
    /// All resident memory, including the rings, which are not touched before their first use.
    resident: u64,
    /// The tracer's own memory.
    own: u64,
}

/// Unbinds and rebinds the device, then allocates and frees, many times.
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
    // Before any backlog exists: memory that an allocator keeps of a backlog would hide a leak per rebind.
    let mut under_rebinds = Vec::new();
    for _ in 0..PARTS {
        lab.guest.check(&bind)?;
        under_rebinds.push(memory(lab, 0)?);
    }
    let started = Instant::now();
    let mut under_load = Vec::new();
    let mut done = 0;
    for _ in 0..PARTS {
        let output = lab.guest.check(&loads)?;
        done += pairs * output.iter().filter(|line| line.starts_with("failed=0 ")).count() as u64;
        under_load.push(memory(lab, effort.pairs / PARTS)?);
    }
    println!("    ({done} pairs took {:?} on this host)", started.elapsed());
    lab.guest.check("kill -INT $(pidof p2p-trace)")?;
    lab.guest.wait(job)?.success().context("the tracer failed")?;
    lab.unload_module()?;
    let lines = lab.guest.check(&format!("cat {OUT}; rm {OUT}"))?;

    curve("rebinds", &under_rebinds);
    curve("events", &under_load);
    ensure!(done == PARTS * CPUS * commands * pairs, "{done} pairs ran");
    accounted(&lines, done, u64::from(rebinds) * PARTS)?;
    steady("events", &under_load, BACKLOG)?;
    steady("rebinds", &under_rebinds, SLACK)?;
    Ok(Verdict::Passed)
}

/// Expects every call to be delivered, lost, or skipped by the kernel.
fn accounted(lines: &[String], pairs: u64, rebinds: u64) -> Result<()> {
    let (mut unshown, mut summary) = (0, None);
    for line in lines {
        match serde_json::from_str(line).with_context(|| format!("does not match the schema: {line}"))? {
            Line::Unshown(line) => unshown += line.events,
            Line::Summary(line) => summary = Some(line.line),
            _ => {}
        }
    }
    let summary: SummaryLine = summary.context("there is no summary")?;
    ensure!(
        summary.contradictions.is_empty(),
        "the summary contradicts itself: {:?}",
        summary.contradictions
    );
    for (name, calls) in [("alloc", pairs), ("free", pairs), ("kill", rebinds)] {
        let hook = summary.hooks.iter().find(|hook| hook.hook.name() == name);
        let hook = hook.with_context(|| format!("the summary does not list {name}"))?;
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

/// Samples the memory once the tracer has caught up with this number of pairs.
fn memory(lab: &mut Lab, pairs: u64) -> Result<Memory> {
    let us = 1000 * (CATCH_UP + pairs / PAIRS_PER_MS);
    let lines = lab.guest.check(&format!("usleep {us}; cat /proc/$(pidof p2p-trace)/status"))?;
    let of = |name: &str| {
        let value = lines.iter().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
        value.and_then(|value| value.parse().ok()).with_context(|| format!("its status has no {name}"))
    };
    Ok(Memory { resident: of("VmRSS:")?, own: of("RssAnon:")? })
}

fn curve(part: &str, samples: &[Memory]) {
    let of = |of: fn(&Memory) -> u64| {
        samples.iter().map(|sample| of(sample).to_string()).collect::<Vec<_>>().join(" ")
    };
    println!(
        "    (KiB at each tenth of the {part}: {}; its own: {})",
        of(|sample| sample.resident),
        of(|sample| sample.own)
    );
}

/// Expects the second half to use no more than the first plus the slack, in KiB.
fn steady(part: &str, samples: &[Memory], slack: u64) -> Result<()> {
    let (first, second) = samples.split_at(samples.len() / 2);
    let most = |samples: &[Memory]| samples.iter().map(|sample| sample.own).max().unwrap_or_default();
    let (before, after) = (most(first), most(second));
    ensure!(
        after <= before + slack,
        "the tracer grows with the {part}: {before} KiB of its own in the first half, {after} in the second"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(own: &[u64]) -> Vec<Memory> {
        own.iter().map(|&own| Memory { resident: own, own }).collect()
    }

    #[test]
    fn detects_growth_per_part() {
        let grown: Vec<u64> = (1..=10).map(|part| 10_000 + part * 2000).collect();
        assert!(steady("events", &samples(&grown), SLACK).is_err());
        assert!(
            steady(
                "events",
                &samples(&[9000, 20_000, 20_100, 20_000, 20_050, 20_900, 20_100, 20_000]),
                SLACK
            )
            .is_ok()
        );
    }
}
