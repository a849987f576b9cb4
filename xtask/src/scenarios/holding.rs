//! Blocks an unbind with the test module: in the driver's remove callback, and by a reference that no
//! allocation explains.

use anyhow::{Context as _, Result, ensure};

use super::expect;
use super::lab::Lab;
use super::product::EventLine;
use super::{Method, Verdict};
use crate::guest::kmodule;

/// Bytes of a page.
const PAGE: u64 = 4096;
/// Bytes of one of many allocations.
const PIECE: u64 = 8 * PAGE;

/// An unbind that waits first in the driver, then for a reference that bypasses the allocator.
pub(super) fn held_unbind(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("ranges=1 remove_hold=1")?;
    let card = lab.card.clone();
    let bar = lab.range_of(&card)?;
    fill(lab, &card, bar)?;

    let memory = lab.allocate(&card, PAGE)?.handle;
    let pin = lab.command(&format!("pin {memory}"))?.handle()?;
    lab.command(&format!("touch {memory}"))?;
    lab.command(&format!("touch-page {memory}"))?.number("references")?;
    lab.command(&format!("free {memory}"))?;

    let trace = lab.trace("held-unbind", &method.option())?;
    let driver = format!("/sys/bus/pci/drivers/{}", kmodule::NAME);
    let unbind = lab.guest.spawn(&format!("echo pid $$; echo {card} > {driver}/unbind"))?;
    let pid = lab.guest.wait_line(unbind, "pid ")?;
    let pid = pid.strip_prefix("pid ").context("no pid")?.parse()?;
    // The command fails until the driver waits.
    lab.wait_for("echo let-go > /dev/p2ptest")?;
    lab.wait_sleeping(pid, "memunmap_pages")?;
    // Where the kernel does not count skipped kprobes, a missed allocation may explain the reference.
    let is_counted = method == Method::Fentry
        || lab.guest.run(&format!("grep -q '\"missed\":\"counted\"' {}", trace.shown()))?.code == 0;
    if is_counted {
        lab.wait_finding(&trace, "unexplained-reference")?;
    } else {
        lab.guest.check("sleep 4")?;
    }
    lab.command(&format!("free {pin}"))?;
    lab.guest.wait(unbind)?.success().context("the unbind failed")?;
    let stream = lab.stop(trace)?;
    lab.unload_module()?;

    expect::nothing_lost(&stream)?;
    expect::attached_by(&stream, method)?;
    expect::only_about(&stream, &card)?;
    expect::teardown(&stream, bar)?;
    let found: &[&str] = &["unexplained-reference"];
    let (violated, inconclusive) = if is_counted { (found, &[][..]) } else { (&[][..], found) };
    expect::verdicts(&stream, &card, violated, inconclusive)?;
    let kill = stream.only("kill")?;
    ensure!(
        kill.allocated == Some(0),
        "{:?} bytes are allocated at the kill: the reference must have no allocation",
        kill.allocated
    );
    let drained: &EventLine = stream.only("drained")?;
    ensure!(
        drained.comm.as_deref() == Some("sh") && drained.tgid != kill.tgid,
        "the last reference was dropped by {:?}, not by the task that held it",
        drained.comm
    );
    Ok(Verdict::Passed)
}

/// Allocates all memory under one handle and frees it; another allocation must fail in between.
fn fill(lab: &mut Lab, card: &str, (start, end): (u64, u64)) -> Result<()> {
    let failed = lab.command(&format!("load {card} {PAGE} 1000"))?.number("failed")?;
    ensure!(failed == 0, "{failed} of 1000 allocations failed");
    let pieces = (end - start).div_ceil(PIECE);
    let many = lab.command(&format!("hold-many {card} {PIECE} {pieces}"))?.handle()?;
    let count = lab.command(&format!("show {many}"))?.number("count")?;
    ensure!(count == pieces, "{count} allocations are held, not {pieces}");
    lab.refused(&format!("alloc {card} {PAGE}"))?;
    let freed = lab.command("free-all")?.number("freed")?;
    ensure!(freed == 1, "{freed} handles were freed, not one");
    let error = lab.refused("load")?;
    ensure!(error.contains("usage: load BDF"), "the error does not show the usage: {error}");
    Ok(())
}
