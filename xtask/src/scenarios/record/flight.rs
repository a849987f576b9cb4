//! A flight recorder: nothing on the disk until something happens.

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::{check, fetch, load, load_until, replay, stop};
use crate::scenarios::faults::SIZE;
use crate::scenarios::lab::Lab;
use crate::scenarios::{Method, Verdict};

/// Nothing is written before it is asked for, nor again before there is a finding; then it is what led to it.
pub(in crate::scenarios) fn flight(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("")?;
    let card = lab.card.clone();
    let file = "/run/flight.p2pt";
    let options = format!("--flight-recorder --history 16s --stall-after 1s {}", method.option());
    let job = lab.record(file, &options)?;
    load(lab)?;
    // Longer than anything waits for the disk.
    lab.guest.check(&format!("sleep 2; [ ! -e {file} ]"))?;
    lab.guest.signal(job, Signal::USR1)?;
    load_until(lab, &format!("[ -s {file} ]"))?;
    // What was begun then ends with its part of the history.
    lab.wait_for(&format!("p2p-trace check --json {file} | grep -q goes_on"))?;
    let allocated = lab.take(&card, SIZE)?;
    let unbinding = lab.start_unbind_card()?;
    lab.wait_for(&format!("[ -s {file}.1 ]"))?;
    lab.command(&format!("free {}", allocated.handle))?;
    lab.finish(unbinding)?;
    stop(lab, job, file, 0, &[])?;
    lab.unload_module()?;
    let names = lab.guest.check(&format!("ls -v {file} {file}.[0-9]*"))?;
    let files = fetch(lab, &names)?;

    // A second finding can come when the file of the first one has ended.
    ensure!(files.len() >= 2, "there are the files {names:?}");
    let asked = check(&files[..1], 2).or_else(|_| check(&files[..1], 0))?;
    ensure!(asked.findings.is_empty() && asked.damage.is_empty(), "{asked:?}");
    let (lines, _) = replay(&files[..1])?;
    let allocs = lines.iter().filter(|line| line.contains("\"kind\":\"alloc\"")).count();
    ensure!(allocs >= 200, "only {allocs} allocations of before are in the first file");

    let found = check(&files[1..], 1)?;
    let finding = found
        .findings
        .iter()
        .find(|finding| finding.rule.name() == "stalled-drain")
        .with_context(|| format!("the finding is not in what was written for it: {found:?}"))?;
    ensure!(
        finding.holders.iter().any(|holder| holder.tgid == Some(allocated.pid)),
        "it does not name who took the memory: {finding:?}"
    );
    let (lines, _) = replay(&files[1..])?;
    for kind in ["driver_remove", "kill"] {
        let words = format!("\"kind\":\"{kind}\"");
        ensure!(
            lines.iter().any(|line| line.contains(&words)),
            "what led to the finding was not written: no {kind}"
        );
    }
    Ok(Verdict::Passed)
}
