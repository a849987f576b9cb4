//! Rotated files, and files that are read while they are written.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};

use super::{check, fetch, load_until, replay, stop};
use crate::scenarios::dump::are_alike;
use crate::scenarios::faults::SIZE;
use crate::scenarios::lab::Lab;
use crate::scenarios::product::{CheckReport, DumpEnding, VerdictLine};
use crate::scenarios::testmod::Allocated;
use crate::scenarios::{Method, Verdict};

/// The stall budget of this scenario.
const BUDGET: &str = "--stall-after 1s";
/// The rule whose finding names the holder.
const RULE: &str = "stalled-drain";

/// Memory is allocated while the first file is written, and the unbind waits for it during the last one.
pub(in crate::scenarios) fn rotated(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("")?;
    let card = lab.card.clone();
    let options = format!("{} {BUDGET}", method.option());
    let file = "/run/rotated.p2pt";
    let job = lab.record(file, &format!("--max-size 12K {options}"))?;
    let trace = lab.trace("record-rotated", &options)?;
    let follower = lab.guest.spawn(&format!("exec p2p-trace replay --json --follow {file}"))?;
    let live_follower = lab.follow(&trace)?;
    let allocated = lab.allocate(&card, SIZE)?;
    load_until(lab, &format!("[ -s {file}.2 ]"))?;
    let unbinding = lab.start_unbind_card()?;
    lab.wait_finding(&trace, RULE)?;
    lab.command(&format!("free {}", allocated.handle))?;
    lab.finish(unbinding)?;
    stop(lab, job, file, 0, &[])?;
    let followed = lab.guest.wait(follower)?.success().context("the follower failed")?;
    let stream = lab.stop(trace)?;
    let live_followed =
        lab.guest.wait(live_follower)?.success().context("the follower of the live run failed")?;
    lab.unload_module()?;
    let names = lab.guest.check(&format!("ls -v {file} {file}.[0-9]*"))?;
    let files = fetch(lab, &names)?;

    ensure!(files.len() > 2, "expected more than two files: {names:?}");
    ensure!(
        are_alike(&live_followed, &lab.shown()?)?,
        "the follower's output differs from the live output: {} lines",
        live_followed.len()
    );
    let (replayed, messages) = replay(&files)?;
    ensure!(messages.is_empty(), "the replay of all files prints: {messages}");
    ensure!(
        are_alike(&followed, &replayed)?,
        "the follower printed {} lines, the replay {}",
        followed.len(),
        replayed.len()
    );
    let all = check(&files, 1)?;
    ensure!(all.ending == DumpEnding::Complete && all.damage.is_empty() && all.lost == 0, "{all:?}");
    ensure!(
        answers(&all.verdicts) == answers(&stream.verdicts),
        "the verdicts of all files are {:?}, the live ones {:?}",
        answers(&all.verdicts),
        answers(&stream.verdicts)
    );
    names_holder(&all, &allocated)?;
    // The file in which the wait exceeds its budget, alone. It begins long after the memory was allocated,
    // and perhaps after the kill.
    let mut alone = None;
    for file in &files[1..] {
        let of_file = std::slice::from_ref(file);
        let (lines, _) = replay(of_file)?;
        // A finding from before the beginning of a file has no evidence in it.
        let is_finding = |line: &String| {
            let is_of_rule = line.contains("\"type\":\"finding\"") && line.contains(&format!("\"{RULE}\""));
            is_of_rule && !line.contains("\"evidence\":[]")
        };
        if lines.iter().any(is_finding) {
            let by_holder = format!("\"tgid\":{},", allocated.pid);
            let is_there = |line: &String| line.contains("\"kind\":\"alloc\"") && line.contains(&by_holder);
            ensure!(!lines.iter().any(is_there), "{} has the allocation itself", file.display());
            alone = Some(check(of_file, 1)?);
        }
    }
    names_holder(&alone.context("no later file has the finding")?, &allocated)?;
    let first = check(&files[..1], 2).or_else(|_| check(&files[..1], 0))?;
    ensure!(first.ending == DumpEnding::Continues && first.findings.is_empty(), "{first:?}");
    Ok(Verdict::Passed)
}

/// Expects the finding, with the task that allocated the memory.
fn names_holder(checked: &CheckReport, allocated: &Allocated) -> Result<()> {
    let finding =
        checked.findings.iter().find(|finding| finding.rule.name() == RULE && !finding.evidence.is_empty());
    let finding = finding.with_context(|| format!("no {RULE} in {checked:?}"))?;
    let [holder] = finding.holders.as_slice() else {
        anyhow::bail!("the finding does not name exactly one holder: {finding:?}");
    };
    ensure!(
        (holder.tgid, holder.bytes) == (Some(allocated.pid), SIZE),
        "the holder is {holder:?}, not {allocated:?}"
    );
    Ok(())
}

/// Device, rule and answer of each verdict.
fn answers(verdicts: &[VerdictLine]) -> BTreeSet<(String, &str, &str)> {
    let of =
        |verdict: &VerdictLine| (verdict.device.0.to_string(), verdict.rule.name(), verdict.verdict.name());
    verdicts.iter().map(of).collect()
}
