//! Armed hooks: attached in time, and no effect on legal mappings.

use anyhow::{Context as _, Result, ensure};
use p2p_trace_common::Hook;
use p2p_trace_model::units::duration;
use p2p_trace_probe::hook_table::Row;

use super::expect;
use super::faults::SIZE;
use super::lab::{Lab, Trace};
use super::product::{Answer, EventLine, HookLine};
use super::stream::Stream;
use super::{Method, Verdict};

/// From the first step of a teardown to the last armed hook, in guest time.
const LIMIT_NS: u64 = 100_000_000;
/// The kinds of event that open a teardown.
const OPENING: [&str; 3] = ["unbind", "driver_remove", "devres_release"];
/// Mappings of dying memory, one right after the other.
const MAPS: u32 = 500;

/// The drive's driver takes longer to let go of it than the armed hooks take to attach, by the method that
/// the tool chooses: the held memory is watched before the kill.
pub(super) fn armed_in_time(lab: &mut Lab, _: Method) -> Result<Verdict> {
    lab.load_module("ranges=0")?;
    let trace = lab.trace("armed-in-time", "")?;
    lab.load_driver()?;
    let memory = lab.memory.clone();
    let allocated = lab.allocate(&memory, SIZE)?;
    let unbind = lab.unbind_command();
    let unbinding = lab.guest.spawn(&unbind)?;
    lab.wait_event(&trace, "kill")?;
    lab.wait_armed(&trace)?;
    lab.command(&format!("free {}", allocated.handle))?;
    lab.guest.wait(unbinding)?.success()?;
    let stream = lab.stop(trace)?;
    lab.unload_driver()?;
    lab.unload_module()?;

    expect::nothing_lost(&stream)?;
    let opens = |event: &&EventLine| OPENING.contains(&event.kind.name());
    let first = stream.observed().find(opens).context("no event opens the teardown")?;
    let (kill, last_ns) = (stream.only("kill")?, last_armed(&stream)?);
    let took = last_ns.saturating_sub(first.time_ns);
    let until_kill = kill.time_ns - first.time_ns;
    println!("    (armed within {}, killed after {})", duration(took), duration(until_kill));
    ensure!(took <= LIMIT_NS, "the last armed hook came {} after the first step", duration(took));
    // There is no promise for a drive that lets go sooner.
    ensure!(
        until_kill <= LIMIT_NS || last_ns <= kill.time_ns,
        "the last armed hook came {} after the kill",
        duration(last_ns.saturating_sub(kill.time_ns))
    );
    // A reason for a gap would leave the rule open.
    expect::clean(&stream, &memory)?;
    Ok(Verdict::Passed)
}

/// When the last of the armed hooks was attached.
pub(super) fn last_armed(stream: &Stream) -> Result<u64> {
    let attached: Vec<_> = stream.of_kind("attach").filter(|change| change.attached == Some(true)).collect();
    let is_armed =
        |line: &&HookLine| line.method.is_some() && Row::of(line.hook).is_some_and(Row::can_be_armed);
    let armed = stream.summary()?.hooks.iter().filter(is_armed).count();
    ensure!(attached.len() == armed, "{} of {armed} hooks were armed", attached.len());
    attached.iter().map(|change| change.time_ns).max().context("no hook was armed")
}

/// Memory of a range that is dying, but not removed, is mapped many times: that is legal, and a few records
/// count all of it.
pub(super) fn legal_dying_maps(lab: &mut Lab, method: Method) -> Result<Verdict> {
    if lab.guest.check("uname -r")?.concat().starts_with("5.") {
        let reason = "before 5.19 drivers map p2p memory past the functions that armed hooks are on";
        return Ok(Verdict::Skipped(reason.to_owned()));
    }
    lab.load_module("ranges=1")?;
    let card = lab.card.clone();
    // Stacks of frequent events are requested. (An allocation's own stack would use up numbers of later
    // records.)
    let allocated = lab.allocate_mapped()?;
    let trace = lab.trace("legal-dying-maps", &format!("{} --stacks --device {card}", method.option()))?;
    let unbinding = lab.start_unbind_card()?;
    lab.wait_sleeping(unbinding.pid, "memunmap_pages")?;
    lab.wait_armed(&trace)?;
    let map = lab.map(&allocated);
    // The last mapping follows more than a second after the others, so its record stands for all of them.
    let script = format!(
        "exec 3<>/dev/p2ptest; echo $$; n=0; while [ $n -lt {MAPS} ]; do echo {map} >&3 || exit 1; n=$((n+1)); done; \
         sleep 2; echo {map} >&3"
    );
    let output = lab.guest.check(&script)?;
    let mapper: u32 = output.first().context("no pid")?.parse()?;
    lab.command(&format!("free {}", allocated.handle))?;
    lab.finish(unbinding)?;
    let stream = lab.stop(trace)?;
    lab.unload_module()?;

    expect::nothing_lost(&stream)?;
    let of_mapper = |event: &&EventLine| event.tgid == Some(mapper) && event.armed;
    let maps: Vec<_> = stream.of_kind("map").filter(of_mapper).collect();
    let times = |map: &&EventLine| map.count.map_or(1, u64::from);
    let counted: u64 = maps.iter().map(times).sum();
    ensure!(counted == u64::from(MAPS) + 1, "the records count {counted} mappings, not {}", MAPS + 1);
    let (first, last) = (maps[0].time_ns, maps[maps.len() - 1].time_ns);
    let seconds = last.saturating_sub(first) / 1_000_000_000;
    ensure!(maps.len() as u64 <= seconds + 1, "{} records in {seconds} s", maps.len());
    for map in &maps {
        ensure!(map.stack.is_empty(), "{} has a stack", map.id.0);
        ensure!(map.client.is_some() && map.pgmap.is_some(), "{map:?} names no client or no range");
        ensure!(map.time_ns < stream.only("remove")?.time_ns, "{} comes after the removal", map.id.0);
    }
    expect::only_violated(&stream, &card, &[])?;
    late_uses(&stream, &card, Answer::Holds).map(|_| Verdict::Passed)
}

impl Lab {
    /// Waits until the last of the armed hooks is attached: the one on allocations.
    pub(super) fn wait_armed(&mut self, trace: &Trace) -> Result<()> {
        let last = Hook::AllocEnter.name();
        self.wait_for(&format!("grep -q '\"kind\":\"attach\",\"hook\":\"{last}\"' {}", trace.shown()))
    }
}

/// Expects this answer on uses after the removal, and returns its reasons.
pub(super) fn late_uses(stream: &Stream, device: &str, expected: Answer) -> Result<Vec<String>> {
    let verdict = stream
        .verdicts
        .iter()
        .find(|line| line.rule.name() == "use-after-removal" && line.device.0.to_string() == device)
        .context("there is no verdict on late uses")?;
    let reasons = verdict.reasons.join("; ");
    ensure!(verdict.verdict == expected, "use-after-removal is {}: {reasons}", verdict.verdict.name());
    Ok(verdict.reasons.clone())
}
