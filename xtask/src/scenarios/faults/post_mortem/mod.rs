//! Post-mortem analysis when the kernel dies of the traced fault: its memory, dumped as an administrator
//! would, and the output of `p2p-trace recover` on the host.

mod browser;
mod checks;
mod crash_sinks;
mod host;
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
use checks::{check_report, holder_is_named};
pub(crate) use host::recover;
pub(in crate::scenarios) use kdump::kdump;
pub(in crate::scenarios) use many::many_holders;

/// The kernel's last message.
const END: &str = "end Kernel panic";
/// How long the kernel may take to die.
const DEATH: Duration = Duration::from_mins(2);
/// Milliseconds that the mapping waits after the tracer has reported the removal: the rest of the armed hooks
/// are attached in this time.
const LATER: u32 = 2000;
/// How long a finding may take to reach the serial console.
const CONSOLE: Duration = Duration::from_mins(2);

/// The use after the removal that the kernel does not survive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FatalUse {
    allocated: Allocated,
    pid: u32,
}

/// The order of 2018 followed by a mapping that the kernel does not survive: the cores of both formats have
/// all records, with and without the earlier recording, and the kernel's last messages reach every sink.
pub(in crate::scenarios) fn post_mortem(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let mut recorded = PathBuf::new();
    let crash_sinks = crash_sinks::open(lab)?;
    let fatal = die(lab, &format!("{} --kmsg", method.option()), |lab, trace, _| {
        recorded = save(lab, trace)?;
        Ok(())
    })?;
    crash_sinks.expect(&lab.guest)?;
    let cores = dump_memory(lab)?;
    let mut streams = Vec::new();
    for core in &cores {
        let recovered = recover(core, None)?;
        checks::complete(&recovered, &fatal, &lab.card).with_context(|| {
            format!("{}; recover printed: {}", core.display(), recovered.messages.join(" | "))
        })?;
        check_report(&recovered)?;
        let joined = recover(core, Some(&recorded))?;
        checks::complete(&joined, &fatal, &lab.card).with_context(|| {
            format!("with the recorded dump; recover printed: {}", joined.messages.join(" | "))
        })?;
        checks::same_events(&recovered, &joined)?;
        streams.push(recovered.stream.events.len());
    }
    discard(&cores)?;
    crash_sinks.expect_after_reset(&mut lab.guest)?;
    ensure!(streams.iter().all(|count| *count == streams[0]), "the numbers of events differ: {streams:?}");
    Ok(Verdict::Passed)
}

/// Bytes of the hot rings, and of an event in them.
const SMALL_RING: u32 = 256 * 1024;
const SLOT: u32 = 128;
/// Rounds of pairs of an allocation and a free, with pauses in which the tracer can read them, that fill the
/// rings more than ten times.
const ROUNDS: u32 = 60;
const PAIRS: u32 = 200;

/// Memory is allocated, all records of that time are overwritten ten times over, and the kernel dies of a use
/// after the removal: the task that allocated it is known all the same.
pub(in crate::scenarios) fn allocated_long_ago(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let options = format!("{} --ring-size {SMALL_RING}", method.option());
    let fatal = die(lab, &options, overwrite)?;
    let cores = dump_memory(lab)?;
    for core in &cores {
        let recovered = recover(core, None)?;
        holder_is_named(&recovered, &fatal, &lab.card, SMALL_RING / SLOT).with_context(|| {
            format!("{}; recover printed: {}", core.display(), recovered.messages.join(" | "))
        })?;
        check_report(&recovered)?;
    }
    discard(&cores)?;
    Ok(Verdict::Passed)
}

/// Overwrites the rings' records of `allocated`, after the tracer has read them: unread records would make
/// every holder uncertain.
fn overwrite(lab: &mut Lab, trace: &Trace, allocated: &Allocated) -> Result<()> {
    lab.wait_for(&format!("grep -q '\"kind\":\"alloc\".*\"tgid\":{}' {}", allocated.pid, trace.shown()))?;
    let load = format!("load {} {SIZE} {PAIRS}", lab.card);
    lab.guest.check(&format!(
        "for round in $(seq {ROUNDS}); do echo {load} > /dev/p2ptest; sleep 0.1; done; sleep 3"
    ))?;
    Ok(())
}

/// A copy of the tracer's recording so far, on the host.
fn save(lab: &mut Lab, trace: &Trace) -> Result<PathBuf> {
    // Events without a finding reach the disk within a second.
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

/// Traces, unbinds the card in the order of 2018, and lets a process map its memory two seconds after the
/// tracer has reported its removal, which is fatal for the kernel. `before` runs between the allocation and
/// the unbind.
pub(crate) fn die(
    lab: &mut Lab,
    options: &str,
    before: impl FnOnce(&mut Lab, &Trace, &Allocated) -> Result<()>,
) -> Result<FatalUse> {
    let allocated = remove_in_use(lab, options, before)?;
    let fatal = map_removed(lab, allocated)?;
    wait_console(lab, END, DEATH).context("the mapping of removed memory was not fatal")?;
    Ok(fatal)
}

/// Waits until the serial console shows these words.
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

/// Traces, and removes allocated memory of the card in the order of 2018. When this returns, the tracer has
/// reported the removal, and a later crash cannot lose it.
fn remove_in_use(
    lab: &mut Lab,
    options: &str,
    before: impl FnOnce(&mut Lab, &Trace, &Allocated) -> Result<()>,
) -> Result<Allocated> {
    lab.load_driver()?;
    lab.load_module("race=1")?;
    // The dead kernel does not reboot, and prints its trace. The firmware's device records the location of
    // the kernel's data.
    lab.guest.check(
        "modprobe qemu_fw_cfg; cd /proc/sys/kernel && echo 1 > panic_on_oops && echo 0 > panic && echo 1 > ftrace_dump_on_oops",
    )?;
    let trace = lab.trace("post-mortem", options)?;
    provoke_bad_access(lab);
    lab.guest.provoke("Kernel panic");
    let allocated = lab.allocate_mapped()?;
    before(lab, &trace, &allocated)?;
    let unbinding = lab.start_unbind_card()?;
    lab.wait_sleeping(unbinding.pid, "release_late")?;
    lab.wait_finding(&trace, "removed-before-drained")?;
    if options.contains("--kmsg") {
        wait_console(lab, crash_sinks::FINDING, CONSOLE)?;
    }
    lab.wait_event(&trace, "attach")?;
    Ok(allocated)
}

/// Lets a process map the removed memory, which is fatal for the kernel.
fn map_removed(lab: &mut Lab, allocated: Allocated) -> Result<FatalUse> {
    let map = lab.map(&allocated);
    let user = lab.start_command(&format!("after-removal {} {LATER} {map}", allocated.handle))?;
    Ok(FatalUse { allocated, pid: user.pid })
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
