//! Allocations during a teardown.

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

/// Maximum number of allocations.
const MOST: u32 = 20_000;
/// This file ends the loops below.
const ENOUGH: &str = "/run/enough";
/// The kernel has killed the allocating process.
const ENDED: &str = "/run/allocator-killed";
/// Why no attempt was recorded: the freed memory was reused so soon that the first attempt was fatal, and a
/// fatal attempt has no record. A retry can succeed.
pub(in crate::scenarios) const UNRECORDED: &str =
    "the first attempt on freed memory was fatal for its process";

/// The older of two ranges is held, and another process continues to allocate after the newer one was
/// removed: each attempt reads freed memory. Most attempts fail, until the freed memory is reused: then the
/// kernel kills the process.
pub(in crate::scenarios) fn dead_chunk(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("ranges=2")?;
    let card = lab.card.clone();
    let [_, newer] = halves(lab.range_of(&card)?);
    let trace = lab.trace("dead-chunk", &method.option())?;
    provoke_bad_access(lab);
    // The newer range serves first.
    let filler = lab.allocate(&card, newer.1 - newer.0 + 1)?;
    let held = lab.allocate(&card, SIZE)?;
    lab.command(&format!("free {}", filler.handle))?;
    start_allocating(lab)?;
    lab.start_unbind_card()?;
    wait_attempt(lab, &trace)?;
    lab.guest.check(&format!("touch {ENOUGH}"))?;
    let stream = lab.stop(trace)?;

    // Reused memory can make the freed chunk look alive: then memory of the removed range is allocated.
    let perhaps = ["alloc-after-kill", "use-after-removal"];
    expect::violated_and(&stream, &card, &["alloc-on-dead-chunk"], &perhaps)?;
    for finding in stream.findings_of("alloc-on-dead-chunk") {
        anyhow::ensure!(
            finding.range_start == Some(Hex(newer.0)),
            "the finding is about the range {:?}, but the removed one begins at {:#x}",
            finding.range_start,
            newer.0
        );
    }
    anyhow::ensure!(
        stream.of_kind("free").all(|free| free.addr != Some(Hex(held.addr))),
        "the held memory was freed"
    );
    Ok(Verdict::Passed)
}

/// As above, but the newer range has room, so that the first attempt allocates from it, continues to the
/// freed chunk and is fatal for its process: the attempt is in the stream from its beginning, in the kernel's
/// memory, and reported as a finding.
pub(in crate::scenarios) fn fatal_dead_chunk(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("ranges=2")?;
    let card = lab.card.clone();
    let [_, newer] = halves(lab.range_of(&card)?);
    // The firmware's device records where a memory dump begins.
    lab.guest.check("modprobe qemu_fw_cfg")?;
    let trace = lab.trace("fatal-dead-chunk", &method.option())?;
    provoke_bad_access(lab);
    let filler = lab.allocate(&card, newer.1 - newer.0 + 1)?;
    lab.allocate(&card, SIZE)?;
    lab.command(&format!("free {}", filler.handle))?;
    lab.start_unbind_card()?;
    lab.wait_event(&trace, "unmapped")?;
    lab.wait_for(&format!("grep -q '\"hook\":\"alloc_enter\".*\"attached\":true' {}", trace.shown()))?;
    let attempting = lab.start_command(&format!("alloc {card} 4096"))?;
    let is_killed = lab.is_killed_by_kernel(attempting)?;
    println!("  the attempt {}", if is_killed { "was fatal" } else { "returned" });
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
        let found = (attempt.tgid, attempt.size, attempt.hook.name());
        ensure!(found == (Some(attempting.pid), Some(4096), "alloc_enter"), "the attempt is {attempt:?}");
        let mut found = stream.findings_of("alloc-on-dead-chunk");
        let is_its = |finding: &FindingLine| {
            finding.range_start == Some(Hex(newer.0)) && finding.evidence.contains(&attempt.id)
        };
        ensure!(
            found.any(is_its),
            "no finding is about the attempt on the range that begins at {:#x}",
            newer.0
        );
        // The unbind waits for the held memory on purpose.
        let is_other = |name: &str| name != "alloc-on-dead-chunk" && !name.starts_with("stalled-");
        let others = stream.findings.iter().find(|finding| is_other(finding.rule.name()));
        ensure!(others.is_none(), "there is another finding: {others:?}");
    }
    Ok(Verdict::Passed)
}

/// Allocations and frees continue while the device is unbound. Those between the kill and the drain are
/// legal; an attempt between the end of the range and the end of the pool is a fault, on every kernel.
pub(in crate::scenarios) fn racing_allocations(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("")?;
    let card = lab.card.clone();
    let trace = lab.trace("racing-allocations", &method.option())?;
    provoke_bad_access(lab);
    start_allocating(lab)?;
    lab.unbind_card()?;
    lab.guest.check(&format!("touch {ENOUGH}"))?;
    let stream = lab.stop(trace)?;

    let is_chunk = stream.findings_of("alloc-on-dead-chunk").next().is_some();
    let violated: &[&str] = if is_chunk { &["alloc-on-dead-chunk"] } else { &[] };
    expect::only_violated(&stream, &card, violated)?;
    Ok(Verdict::Passed)
}

/// Waits until an attempt on the removed range has been reported, or its process was killed without one.
fn wait_attempt(lab: &mut Lab, trace: &Trace) -> Result<()> {
    let reported = format!("grep -q '\"rule\":\"alloc-on-dead-chunk\"' {}", trace.shown());
    lab.wait_for(&format!("{{ {reported} || [ -e {ENDED} ]; }}"))?;
    // Earlier records are reported soon.
    let soon = format!("for n in 1 2 3 4 5 6 7 8 9 10; do {reported} && exit; sleep 0.5; done; exit 1");
    if lab.guest.run(&soon)?.code != 0 {
        bail!(UNRECORDED);
    }
    Ok(())
}

/// Starts to allocate and free memory of the card in a loop, and waits until the loop runs.
fn start_allocating(lab: &mut Lab) -> Result<()> {
    let load = format!("load {} 4096 1", lab.card);
    lab.guest.spawn(&format!(
        "(n=0; while [ $n -lt {MOST} -a ! -e {ENOUGH} ]; do n=$((n+1)); echo {load} > /dev/p2ptest || exit; done); \
         [ $? -lt 128 ] || touch {ENDED}"
    ))?;
    lab.guest.check(&format!("echo {load} > /dev/p2ptest")).map(drop)
}
