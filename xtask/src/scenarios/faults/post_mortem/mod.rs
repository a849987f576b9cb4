//! What is left of a trace when the kernel dies of what is traced: its memory, dumped as an administrator would, and what
//! `p2p-trace recover` makes of it on the host.

mod browser;
mod crash_sinks;
mod host;
mod judge;
mod kdump;
mod many;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::injection::SIZE;
use super::uses::provoke_bad_access;
use crate::host::interrupt;
use crate::scenarios::lab::{Lab, Trace};
use crate::scenarios::testmod::Allocated;
use crate::scenarios::{Method, Verdict, dump};
pub(crate) use host::recover;
use judge::{holder_is_named, reported};
pub(in crate::scenarios) use kdump::kdump;
pub(in crate::scenarios) use many::taken_by_many;

/// What the kernel says when it has nothing more to say.
const END: &str = "end Kernel panic";
/// How long it may take to die.
const DEATH: Duration = Duration::from_mins(2);
/// Milliseconds that the map waits once the tracer has told of the removal: the rest of the armed hooks are attached meanwhile.
const LATER: u32 = 2000;
/// How long a finding may take to the serial console.
const TOLD: Duration = Duration::from_mins(2);

/// Who uses the memory after its removal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guilty {
    allocated: Allocated,
    pid: u32,
}

/// The order of 2018 with a map afterwards, which the kernel does not survive: the cores of two formats tell everything, with
/// and without what was recorded before, and its last words are found wherever they can go.
pub(in crate::scenarios) fn post_mortem(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let mut recorded = PathBuf::new();
    let crash_sinks = crash_sinks::open(lab)?;
    let guilty = die(lab, &format!("{} --kmsg", method.option()), |lab, trace, _| {
        recorded = save(lab, trace)?;
        Ok(())
    })?;
    crash_sinks.expect(&lab.guest)?;
    let cores = dump_memory(lab)?;
    let mut streams = Vec::new();
    for core in &cores {
        let recovered = recover(core, None)?;
        judge::complete(&recovered, &guilty, &lab.card)
            .with_context(|| format!("{}; it said: {}", core.display(), recovered.said.join(" | ")))?;
        reported(&recovered)?;
        let behind = recover(core, Some(&recorded))?;
        judge::complete(&behind, &guilty, &lab.card)
            .with_context(|| format!("behind the recorded dump; it said: {}", behind.said.join(" | ")))?;
        judge::same_events(&recovered, &behind)?;
        streams.push(recovered.stream.events.len());
    }
    discard(&cores)?;
    crash_sinks.expect_after_reset(&mut lab.guest)?;
    ensure!(streams.iter().all(|count| *count == streams[0]), "the cores tell {streams:?} events");
    Ok(Verdict::Passed)
}

/// Bytes of the rings for what is frequent, and of an event in them.
const SMALL_RING: u32 = 256 * 1024;
const SLOT: u32 = 128;
/// Rounds of pairs of an allocation and a free, with pauses in which the tracer can read them, that fill the rings more than ten
/// times.
const ROUNDS: u32 = 60;
const PAIRS: u32 = 200;

/// Memory is taken, everything that happened then is overwritten ten times over, and the kernel dies of a use after the removal: who
/// took it is known all the same.
pub(in crate::scenarios) fn taken_long_ago(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let options = format!("{} --ring-size {SMALL_RING}", method.option());
    let guilty = die(lab, &options, overwrite)?;
    let cores = dump_memory(lab)?;
    for core in &cores {
        let recovered = recover(core, None)?;
        holder_is_named(&recovered, &guilty, &lab.card, SMALL_RING / SLOT)
            .with_context(|| format!("{}; it said: {}", core.display(), recovered.said.join(" | ")))?;
        reported(&recovered)?;
    }
    discard(&cores)?;
    Ok(Verdict::Passed)
}

/// Overwrites what the rings tell of `allocated`, after the tracer has read it: what was not read in time would make it unsure of everybody.
fn overwrite(lab: &mut Lab, trace: &Trace, allocated: &Allocated) -> Result<()> {
    lab.wait_for(&format!("grep -q '\"kind\":\"alloc\".*\"tgid\":{}' {}", allocated.pid, trace.shown()))?;
    let load = format!("load {} {SIZE} {PAIRS}", lab.card);
    lab.guest.check(&format!(
        "for round in $(seq {ROUNDS}); do echo {load} > /dev/p2ptest; sleep 0.1; done; sleep 3"
    ))?;
    Ok(())
}

/// What the tracer has recorded by now, kept on this machine.
fn save(lab: &mut Lab, trace: &Trace) -> Result<PathBuf> {
    // What has no finding reaches the disk within a second.
    lab.guest.check("sleep 2")?;
    let kept = lab.guest.log().join("recorded.p2pt");
    dump::copy(&mut lab.guest, &trace.recorded(), &kept)?;
    Ok(kept)
}

pub(super) fn discard(cores: &[PathBuf]) -> Result<()> {
    for core in cores {
        fs::remove_file(core).with_context(|| format!("cannot remove {}", core.display()))?;
    }
    Ok(())
}

/// Traces, unbinds the card in the order of 2018, and has a process map its memory two seconds after the tracer has told of its
/// removal, of which the kernel dies and stays as it is. `before` is done between the allocation and the unbind.
pub(crate) fn die(
    lab: &mut Lab,
    options: &str,
    before: impl FnOnce(&mut Lab, &Trace, &Allocated) -> Result<()>,
) -> Result<Guilty> {
    let allocated = remove_in_use(lab, options, before)?;
    let guilty = map_removed(lab, allocated)?;
    wait_console(lab, END, DEATH).context("the kernel did not die of a map of removed memory")?;
    Ok(guilty)
}

/// Waits until the serial console has these words.
fn wait_console(lab: &Lab, words: &str, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !lab.guest.console().contains(words) {
        interrupt::check()?;
        ensure!(
            Instant::now() < deadline,
            "the serial console does not have `{words}` after {} s",
            limit.as_secs()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Traces, and removes memory of the card that is taken, in the order of 2018. When this returns, the tracer has told of it: whatever
/// happens to the kernel from now on, that is known.
fn remove_in_use(
    lab: &mut Lab,
    options: &str,
    before: impl FnOnce(&mut Lab, &Trace, &Allocated) -> Result<()>,
) -> Result<Allocated> {
    lab.load_driver()?;
    lab.load_module("race=1")?;
    // The dead kernel stays where it is, and prints its trace. The firmware's device takes note of where its facts lie.
    lab.guest.check(
        "modprobe qemu_fw_cfg; cd /proc/sys/kernel && echo 1 > panic_on_oops && echo 0 > panic && echo 1 > ftrace_dump_on_oops",
    )?;
    let trace = lab.trace("post-mortem", options)?;
    provoke_bad_access(lab);
    lab.guest.provoke("Kernel panic");
    let allocated = lab.take_mapped()?;
    before(lab, &trace, &allocated)?;
    let unbinding = lab.start_unbind_card()?;
    lab.wait_sleeping(unbinding.pid, "release_late")?;
    lab.wait_finding(&trace, "removed-before-drained")?;
    if options.contains("--kmsg") {
        wait_console(lab, crash_sinks::FINDING, TOLD)?;
    }
    lab.wait_event(&trace, "attach")?;
    Ok(allocated)
}

/// Has a process map the removed memory, of which the kernel dies.
fn map_removed(lab: &mut Lab, allocated: Allocated) -> Result<Guilty> {
    let map = lab.map(&allocated);
    let user = lab.start_command(&format!("after-removal {} {LATER} {map}", allocated.handle))?;
    Ok(Guilty { allocated, pid: user.pid })
}

/// Dumps the memory of the dead guest, as ELF and kdump-compressed.
pub(crate) fn dump_memory(lab: &mut Lab) -> Result<[PathBuf; 2]> {
    lab.guest.qmp().execute("stop", json!({}))?;
    let folder = lab.guest.log().canonicalize().context("the guest has no folder for its logs")?;
    let elf = folder.join("core.elf");
    let kdump = folder.join("core.kdump");
    for (path, format) in [(&elf, None), (&kdump, Some("kdump-zlib"))] {
        let mut arguments = json!({ "paging": false, "protocol": format!("file:{}", path.display()) });
        if let Some(format) = format {
            arguments["format"] = json!(format);
        }
        lab.guest.qmp().execute("dump-guest-memory", arguments)?;
    }
    Ok([elf, kdump])
}
