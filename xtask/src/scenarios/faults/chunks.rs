//! Allocations while a teardown is under way.

use anyhow::{Result, bail, ensure};
use serde_json::json;

use super::injection::SIZE;
use super::post_mortem::{discard, dump_memory, recover};
use super::uses::provoke_bad_access;
use crate::scenarios::expect;
use crate::scenarios::lab::{Lab, Trace};
use crate::scenarios::product::{FindingLine, Hex};
use crate::scenarios::provider::halves;
use crate::scenarios::{Method, Verdict};

/// Allocations at most.
const MOST: u32 = 20_000;
/// Ends the loops of this file.
const ENOUGH: &str = "/run/enough";
/// The kernel has ended whoever takes memory.
const ENDED: &str = "/run/taker-ended";
/// Why nothing was seen: what was freed had been used for something else so soon that the first attempt was fatal, and a fatal one
/// has no record. Another time it is not.
pub(in crate::scenarios) const UNRECORDED: &str = "the first attempt on what was freed ended whoever made it";

/// Of two ranges the older one is held, and others go on taking memory while the newer one is gone: each attempt reads what
/// was freed. Most fail, until what was freed is used for something else: then the kernel ends whoever tries.
pub(in crate::scenarios) fn dead_chunk(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("ranges=2")?;
    let card = lab.card.clone();
    let [_, newer] = halves(lab.range_of(&card)?);
    let trace = lab.trace("dead-chunk", &method.option())?;
    provoke_bad_access(lab);
    // The newer range serves first.
    let filler = lab.take(&card, newer.1 - newer.0 + 1)?;
    let held = lab.take(&card, SIZE)?;
    lab.command(&format!("free {}", filler.handle))?;
    start_taking(lab)?;
    lab.start_unbind_card()?;
    wait_attempt(lab, &trace)?;
    lab.guest.check(&format!("touch {ENOUGH}"))?;
    let stream = lab.stop(trace)?;

    // What was freed can come to look alive when it is used anew: then memory of the removed range is given out.
    let perhaps = ["alloc-after-kill", "use-after-removal"];
    expect::violated_and(&stream, &card, &["alloc-on-dead-chunk"], &perhaps)?;
    for finding in stream.findings_of("alloc-on-dead-chunk") {
        anyhow::ensure!(
            finding.range_start == Some(Hex(newer.0)),
            "it is told of the range {:?}, the one that is gone begins at {:#x}",
            finding.range_start,
            newer.0
        );
    }
    anyhow::ensure!(
        stream.of_kind("free").all(|free| free.addr != Some(Hex(held.addr))),
        "what was to be held is given back"
    );
    Ok(Verdict::Passed)
}

/// As above, but the newer range has room, so that the first attempt takes of it and goes on to what was freed, of which the kernel
/// ends whoever makes it: the attempt is in the stream from its beginning, in the kernel's memory, and told as what it is.
pub(in crate::scenarios) fn fatal_dead_chunk(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("ranges=2")?;
    let card = lab.card.clone();
    let [_, newer] = halves(lab.range_of(&card)?);
    // The firmware's device takes note of where a memory dump begins.
    lab.guest.check("modprobe qemu_fw_cfg")?;
    let trace = lab.trace("fatal-dead-chunk", &method.option())?;
    provoke_bad_access(lab);
    let filler = lab.take(&card, newer.1 - newer.0 + 1)?;
    lab.take(&card, SIZE)?;
    lab.command(&format!("free {}", filler.handle))?;
    lab.start_unbind_card()?;
    lab.wait_event(&trace, "unmapped")?;
    lab.wait_for(&format!("grep -q '\"hook\":\"alloc_enter\".*\"attached\":true' {}", trace.shown()))?;
    let holder = lab.start_command(&format!("alloc {card} 4096"))?;
    let is_ended = lab.is_ended_by_kernel(holder)?;
    println!("  the attempt {}", if is_ended { "was fatal" } else { "came back" });
    lab.wait_finding(&trace, "alloc-on-dead-chunk")?;
    let cores = dump_memory(lab)?;
    lab.guest.qmp().execute("cont", json!({}))?;
    let stream = lab.stop(trace)?;
    let mut streams = vec![stream];
    for core in &cores {
        streams.push(recover(core, None)?.stream);
    }
    discard(&cores)?;

    for stream in &streams {
        let attempt = stream.first("alloc_attempt")?;
        let who = (attempt.tgid, attempt.size, attempt.hook.name());
        ensure!(who == (Some(holder.pid), Some(4096), "alloc_enter"), "the attempt is {attempt:?}");
        let mut found = stream.findings_of("alloc-on-dead-chunk");
        let is_its = |finding: &FindingLine| {
            finding.range_start == Some(Hex(newer.0)) && finding.evidence.contains(&attempt.id)
        };
        ensure!(
            found.any(is_its),
            "no finding is of the attempt, of the range that begins at {:#x}",
            newer.0
        );
        // The unbind waits for what is held, on purpose.
        let is_other = |name: &str| name != "alloc-on-dead-chunk" && !name.starts_with("stalled-");
        let others = stream.findings.iter().find(|finding| is_other(finding.rule.name()));
        ensure!(others.is_none(), "something else is told as well: {others:?}");
    }
    Ok(Verdict::Passed)
}

/// Allocations and frees go on while the memory is unbound. Those that come between the kill and the drain are legal; between
/// the end of the range and that of the pool an attempt is a fault, on every kernel.
pub(in crate::scenarios) fn racing_allocations(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("")?;
    let card = lab.card.clone();
    let trace = lab.trace("racing-allocations", &method.option())?;
    provoke_bad_access(lab);
    start_taking(lab)?;
    lab.unbind_card()?;
    lab.guest.check(&format!("touch {ENOUGH}"))?;
    let stream = lab.stop(trace)?;

    let is_chunk = stream.findings_of("alloc-on-dead-chunk").next().is_some();
    let violated: &[&str] = if is_chunk { &["alloc-on-dead-chunk"] } else { &[] };
    expect::only_violated(&stream, &card, violated)?;
    Ok(Verdict::Passed)
}

/// Waits until an attempt on the range that is gone has been told, or whoever makes them is gone without one.
fn wait_attempt(lab: &mut Lab, trace: &Trace) -> Result<()> {
    let told = format!("grep -q '\"rule\":\"alloc-on-dead-chunk\"' {}", trace.shown());
    lab.wait_for(&format!("{{ {told} || [ -e {ENDED} ]; }}"))?;
    // What was recorded before the end is told soon.
    let soon = format!("for n in 1 2 3 4 5 6 7 8 9 10; do {told} && exit; sleep 0.5; done; exit 1");
    if lab.guest.run(&soon)?.code != 0 {
        bail!(UNRECORDED);
    }
    Ok(())
}

/// Starts to take and give back memory of the card in a loop, and waits until that is under way.
fn start_taking(lab: &mut Lab) -> Result<()> {
    let load = format!("load {} 4096 1", lab.card);
    lab.guest.spawn(&format!(
        "(n=0; while [ $n -lt {MOST} -a ! -e {ENOUGH} ]; do n=$((n+1)); echo {load} > /dev/p2ptest || exit; done); \
         [ $? -lt 128 ] || touch {ENDED}"
    ))?;
    lab.guest.check(&format!("echo {load} > /dev/p2ptest")).map(drop)
}
