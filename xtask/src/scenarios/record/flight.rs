//! A flight recorder: it writes to the disk on request or on a finding only.

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::{check, fetch, load, load_until, replay, stop};
use crate::scenarios::faults::SIZE;
use crate::scenarios::lab::Lab;
use crate::scenarios::{Method, Verdict};

/// No file exists before the request, and no second one before a finding; the second one has the events that
/// led to it.
pub(in crate::scenarios) fn flight(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("")?;
    let card = lab.card.clone();
    let file = "/run/flight.p2pt";
    let options = format!("--flight-recorder --history 16s --stall-after 1s {}", method.option());
    let job = lab.record(file, &options)?;
    load(lab)?;
    // Longer than any delay before a write.
    lab.guest.check(&format!("sleep 2; [ ! -e {file} ]"))?;
    lab.guest.signal(job, Signal::USR1)?;
    load_until(lab, &format!("[ -s {file} ]"))?;
    // The requested file ends with its part of the history.
    lab.wait_for(&format!("p2p-trace check --json {file} | grep -q '\"ending\":\"continues\"'"))?;
    let allocated = lab.allocate(&card, SIZE)?;
    let unbinding = lab.start_unbind_card()?;
    lab.wait_for(&format!("[ -s {file}.1 ]"))?;
    lab.command(&format!("free {}", allocated.handle))?;
    lab.finish(unbinding)?;
    stop(lab, job, file, 0, &[])?;
    lab.unload_module()?;
    let names = lab.guest.check(&format!("ls -v {file} {file}.[0-9]*"))?;
    let files = fetch(lab, &names)?;

    // A second finding can follow when the file of the first one has ended.
    ensure!(files.len() >= 2, "expected at least two files: {names:?}");
    let requested = check(&files[..1], 2).or_else(|_| check(&files[..1], 0))?;
    ensure!(requested.findings.is_empty() && requested.damage.is_empty(), "{requested:?}");
    let (lines, _) = replay(&files[..1])?;
    let allocs = lines.iter().filter(|line| line.contains("\"kind\":\"alloc\"")).count();
    ensure!(allocs >= 200, "the first file has only {allocs} earlier allocations");

    let found = check(&files[1..], 1)?;
    let finding = found
        .findings
        .iter()
        .find(|finding| finding.rule.name() == "stalled-drain")
        .with_context(|| format!("the file that was written on the finding lacks it: {found:?}"))?;
    ensure!(
        finding.holders.iter().any(|holder| holder.tgid == Some(allocated.pid)),
        "the finding does not name the task that allocated the memory: {finding:?}"
    );
    let (lines, _) = replay(&files[1..])?;
    for kind in ["driver_remove", "kill"] {
        let words = format!("\"kind\":\"{kind}\"");
        ensure!(
            lines.iter().any(|line| line.contains(&words)),
            "the events before the finding were not written: no {kind}"
        );
    }
    Ok(Verdict::Passed)
}
