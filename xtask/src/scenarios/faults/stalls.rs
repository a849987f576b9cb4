//! Unbinds that wait for a holder, and finish in the correct order afterwards.

use anyhow::{Context as _, Result, ensure};

use super::injection::SIZE;
use crate::scenarios::expect;
use crate::scenarios::lab::Lab;
use crate::scenarios::product::FindingState;
use crate::scenarios::stream::Stream;
use crate::scenarios::testmod::Allocated;
use crate::scenarios::{Method, Verdict};

/// The stall budget of these scenarios.
const BUDGET: &str = "--stall-after 1s";

/// An allocation is held across the unbind, by a process that has exited.
pub(in crate::scenarios) fn stalled_by_allocation(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("")?;
    let card = lab.card.clone();
    let bar = lab.range_of(&card)?;
    let trace = lab.trace("stalled-by-allocation", &format!("{} {BUDGET}", method.option()))?;
    let allocated = lab.allocate(&card, SIZE)?;
    let unbinding = lab.start_unbind_card()?;
    lab.wait_finding(&trace, "stalled-drain")?;
    lab.wait_finding(&trace, "stalled-unbind")?;
    lab.command(&format!("free {}", allocated.handle))?;
    lab.finish(unbinding)?;
    let stream = lab.stop(trace)?;
    lab.unload_module()?;

    expect::nothing_lost(&stream)?;
    expect::teardown(&stream, bar)?;
    expect::verdicts(&stream, &card, &["stalled-drain", "stalled-unbind"], &[])?;
    drain(&stream, &allocated)?;
    unbind(&stream, unbinding.pid, "memunmap_pages")?;
    Ok(Verdict::Passed)
}

/// The driver's remove callback does not return.
pub(in crate::scenarios) fn stalled_in_driver(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("remove_hold=1")?;
    let card = lab.card.clone();
    let bar = lab.range_of(&card)?;
    let trace = lab.trace("stalled-in-driver", &format!("{} {BUDGET}", method.option()))?;
    let unbinding = lab.start_unbind_card()?;
    lab.wait_finding(&trace, "stalled-unbind")?;
    lab.command("let-go")?;
    lab.finish(unbinding)?;
    let stream = lab.stop(trace)?;
    lab.unload_module()?;

    expect::nothing_lost(&stream)?;
    expect::teardown(&stream, bar)?;
    expect::verdicts(&stream, &card, &["stalled-unbind"], &[])?;
    unbind(&stream, unbinding.pid, "pci_device_remove")?;
    Ok(Verdict::Passed)
}

/// Expects the drain's finding to be reported while it was pending, with the task that allocated the memory,
/// and to end with the drain.
fn drain(stream: &Stream, allocated: &Allocated) -> Result<()> {
    let (kill, drained) = (stream.only("kill")?, stream.only("drained")?);
    let mut reports = stream.findings.iter().filter(|finding| finding.rule.name() == "stalled-drain");
    let (first, last) = (reports.next(), reports.next_back());
    let (first, last) = first.zip(last).context("the finding was reported only once")?;
    ensure!(
        first.state == FindingState::Ongoing,
        "the finding was reported only after its end: {}",
        first.message
    );
    ensure!(
        last.state == FindingState::Closed && last.number == first.number,
        "the finding did not end: {}",
        last.message
    );
    ensure!(
        (last.start_ns, last.end_ns) == (kill.time_ns, Some(drained.time_ns)),
        "the finding does not span from the kill to the drain: {last:?}"
    );
    let alloc = stream
        .of_kind("alloc")
        .find(|event| event.tgid == Some(allocated.pid))
        .context("the allocation is not in the stream")?;
    for id in [alloc.id, kill.id] {
        ensure!(first.evidence.contains(&id), "{} is not among the evidence: {first:?}", id.0);
    }
    let [holder] = first.holders.as_slice() else {
        anyhow::bail!("the finding does not name exactly one holder: {first:?}");
    };
    ensure!(
        (holder.tgid, holder.bytes, holder.references, holder.record)
            == (Some(allocated.pid), SIZE, 1, alloc.id),
        "the holder is {holder:?}"
    );
    ensure!(
        first.message.contains(&format!("sh (pid {})", allocated.pid)),
        "the message does not name the task that allocated the memory: {}",
        first.message
    );
    Ok(())
}

/// Expects the unbind's finding to name its task, the step that it had reached, and a stack.
fn unbind(stream: &Stream, pid: u32, step: &str) -> Result<()> {
    let mut reports = stream.findings.iter().filter(|finding| finding.rule.name() == "stalled-unbind");
    let (first, last) = (reports.next(), reports.next_back());
    let (first, last) = first.zip(last).context("the finding was reported only once")?;
    ensure!(
        first.state == FindingState::Ongoing && last.state == FindingState::Closed,
        "the finding was not reported while it was pending: {first:?}"
    );
    ensure!(
        first.message.contains(&format!("sh (pid {pid})")) && first.message.contains(step),
        "the message does not name the task or `{step}`: {}",
        first.message
    );
    ensure!(!first.stack.is_empty(), "the finding has no stack");
    Ok(())
}
