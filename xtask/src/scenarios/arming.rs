//! The hooks that are attached while a teardown waits: in time, and harmless to what is legal.

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

/// From the first step of a teardown to the last armed hook, in the guest's time.
const LIMIT_NS: u64 = 100_000_000;
/// What opens a teardown.
const OPENING: [&str; 3] = ["unbind", "driver_remove", "devres_release"];
/// Maps of memory that is dying, one right after the other.
const MAPS: u32 = 500;

/// The driver of a drive takes longer to let go of it than it takes to attach the armed hooks, left to the tool to choose how: its memory,
/// which is held, is watched from before the kill on.
pub(super) fn armed_in_time(lab: &mut Lab, _: Method) -> Result<Verdict> {
    lab.load_module("ranges=0")?;
    let trace = lab.trace("armed-in-time", "")?;
    lab.load_driver()?;
    let memory = lab.memory.clone();
    let allocated = lab.take(&memory, SIZE)?;
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
    // A drive that lets go sooner than that is not promised anything.
    ensure!(
        until_kill <= LIMIT_NS || last_ns <= kill.time_ns,
        "the last armed hook came {} after the kill",
        duration(last_ns.saturating_sub(kill.time_ns))
    );
    // With a reason for a gap it would be left open.
    expect::clean(&stream, &memory)?;
    Ok(Verdict::Passed)
}

/// When the last of the armed hooks was attached.
pub(super) fn last_armed(stream: &Stream) -> Result<u64> {
    let attached: Vec<_> = stream.of_kind("attach").filter(|change| change.attached == Some(true)).collect();
    let is_armed =
        |line: &&HookLine| line.method.is_some() && Row::of(line.hook).is_some_and(Row::can_be_armed);
    let there_are = stream.summary()?.hooks.iter().filter(is_armed).count();
    ensure!(attached.len() == there_are, "{} of {there_are} hooks were armed", attached.len());
    attached.iter().map(|change| change.time_ns).max().context("no hook was armed")
}

/// Memory of a range that is dying, and not removed, is mapped again and again: that is legal, and told by few records that count it all.
pub(super) fn legal_dying_maps(lab: &mut Lab, method: Method) -> Result<Verdict> {
    if lab.guest.check("uname -r")?.concat().starts_with("5.") {
        let reason = "before 5.19 drivers map p2p memory past the functions that armed hooks are on";
        return Ok(Verdict::Skipped(reason.to_owned()));
    }
    lab.load_module("ranges=1")?;
    let card = lab.card.clone();
    // Stacks of what is frequent are asked for. (That of an allocation would take numbers from the records that come after it.)
    let allocated = lab.take_mapped()?;
    let trace = lab.trace("legal-dying-maps", &format!("{} --stacks --device {card}", method.option()))?;
    let unbinding = lab.start_unbind_card()?;
    lab.wait_sleeping(unbinding.pid, "memunmap_pages")?;
    lab.wait_armed(&trace)?;
    let map = lab.map(&allocated);
    // The last one comes more than a second after the others, and so stands for them all.
    let script = format!(
        "exec 3<>/dev/p2ptest; echo $$; n=0; while [ $n -lt {MAPS} ]; do echo {map} >&3 || exit 1; n=$((n+1)); done; \
         sleep 2; echo {map} >&3"
    );
    let said = lab.guest.check(&script)?;
    let mapper: u32 = said.first().context("no pid")?.parse()?;
    lab.command(&format!("free {}", allocated.handle))?;
    lab.finish(unbinding)?;
    let stream = lab.stop(trace)?;
    lab.unload_module()?;

    expect::nothing_lost(&stream)?;
    let of_mapper = |event: &&EventLine| event.tgid == Some(mapper) && event.armed;
    let maps: Vec<_> = stream.of_kind("map").filter(of_mapper).collect();
    let times = |map: &&EventLine| map.count.map_or(1, u64::from);
    let told: u64 = maps.iter().map(times).sum();
    ensure!(told == u64::from(MAPS) + 1, "{told} maps are told, {} were made", MAPS + 1);
    let (first, last) = (maps[0].time_ns, maps[maps.len() - 1].time_ns);
    let seconds = last.saturating_sub(first) / 1_000_000_000;
    ensure!(maps.len() as u64 <= seconds + 1, "there are {} records in {seconds} s", maps.len());
    for map in &maps {
        ensure!(map.stack.is_empty(), "{} has a stack", map.id.0);
        ensure!(map.client.is_some() && map.pgmap.is_some(), "{map:?} does not tell what is mapped for whom");
        ensure!(map.time_ns < stream.only("remove")?.time_ns, "{} comes after the removal", map.id.0);
    }
    expect::only_violated(&stream, &card, &[])?;
    late_uses(&stream, &card, Answer::Holds).map(|_| Verdict::Passed)
}

impl Lab {
    /// Waits until the last of the armed hooks is attached: the one on what takes memory.
    pub(super) fn wait_armed(&mut self, trace: &Trace) -> Result<()> {
        let last = Hook::AllocEnter.name();
        self.wait_for(&format!("grep -q '\"kind\":\"attach\",\"hook\":\"{last}\"' {}", trace.shown()))
    }
}

/// Expects this verdict on uses after the removal, and gives its reasons.
pub(super) fn late_uses(stream: &Stream, device: &str, expected: Answer) -> Result<Vec<String>> {
    let verdict = stream
        .verdicts
        .iter()
        .find(|line| line.rule.name() == "use-after-removal" && line.device.0.to_string() == device)
        .context("there is no verdict on late uses")?;
    let reasons = verdict.reasons.join("; ");
    ensure!(verdict.verdict == expected, "late uses are {}: {reasons}", verdict.verdict.name());
    Ok(verdict.reasons.clone())
}
