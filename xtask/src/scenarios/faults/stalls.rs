//! Unbinds that do not end while somebody holds what they wait for, and end in the right order afterwards.

use anyhow::{Context as _, Result, ensure};

use super::injection::SIZE;
use crate::scenarios::expect;
use crate::scenarios::lab::Lab;
use crate::scenarios::stream::Stream;
use crate::scenarios::testmod::Allocated;
use crate::scenarios::{Method, Verdict};

/// How long an unbind may take here.
const BUDGET: &str = "--stall-after 1s";

/// An allocation is held across the unbind, by a process that is gone.
pub(in crate::scenarios) fn stalled_by_allocation(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("")?;
    let card = lab.card.clone();
    let bar = lab.range_of(&card)?;
    let trace = lab.trace("stalled-by-allocation", &format!("{} {BUDGET}", method.option()))?;
    let allocated = lab.take(&card, SIZE)?;
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

/// The driver's remove does not return.
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

/// Expects the drain's finding to have been told while it was pending, with who took the memory, and to have ended with it.
fn drain(stream: &Stream, allocated: &Allocated) -> Result<()> {
    let (kill, drained) = (stream.only("kill")?, stream.only("drained")?);
    let mut told = stream.findings.iter().filter(|finding| finding.rule.name() == "stalled-drain");
    let (first, last) = (told.next(), told.next_back());
    let (first, last) = first.zip(last).context("the finding was told once only")?;
    ensure!(!first.closed, "it was told only when it was over: {}", first.message);
    ensure!(last.closed && last.number == first.number, "it did not end: {}", last.message);
    ensure!(
        (last.start_ns, last.end_ns) == (kill.time_ns, Some(drained.time_ns)),
        "it is not from the kill to the drain: {last:?}"
    );
    let alloc = stream
        .of_kind("alloc")
        .find(|event| event.tgid == Some(allocated.pid))
        .context("the allocation is not in the stream")?;
    for id in [alloc.id, kill.id] {
        ensure!(first.evidence.contains(&id), "{} is not among its evidence: {first:?}", id.0);
    }
    let [holder] = first.holders.as_slice() else {
        anyhow::bail!("it does not name one holder: {first:?}");
    };
    ensure!(
        (holder.tgid, holder.bytes, holder.references, holder.record)
            == (Some(allocated.pid), SIZE, 1, alloc.id),
        "the holder is {holder:?}"
    );
    ensure!(
        first.message.contains(&format!("sh (pid {})", allocated.pid)),
        "its sentence does not name who took the memory: {}",
        first.message
    );
    Ok(())
}

/// Expects the unbind's finding to name its task, the step that it had reached, and a stack.
fn unbind(stream: &Stream, pid: u32, step: &str) -> Result<()> {
    let mut told = stream.findings.iter().filter(|finding| finding.rule.name() == "stalled-unbind");
    let (first, last) = (told.next(), told.next_back());
    let (first, last) = first.zip(last).context("the finding was told once only")?;
    ensure!(!first.closed && last.closed, "it was not told while it was pending: {first:?}");
    ensure!(
        first.message.contains(&format!("sh (pid {pid})")) && first.message.contains(step),
        "its sentence does not name the task or `{step}`: {}",
        first.message
    );
    ensure!(!first.stack.is_empty(), "it has no stack");
    Ok(())
}
