//! Runs that the kernel really skips: each affects the rules that need it, and no others. The test module
//! makes the kernel skip a program as if a run of it were suspended on every CPU, as a preempted run does on
//! its own CPU.

use anyhow::{Result, ensure};

use super::expect;
use super::lab::{Lab, Trace};
use super::product::{EventLine, LostLine, Reason, address};
use super::stream::Stream;
use super::{Method, Verdict};

/// Bytes of an allocation.
const SIZE: u64 = 64 * 1024;
/// The programs around a teardown, with their hooks.
const BRACKETS: [(&str, &str); 6] = [
    ("unbind", "unbind_fentry"),
    ("unbound", "unbound_fexit"),
    ("driver_remove", "driver_remove_fentry"),
    ("driver_removed", "driver_removed_fexit"),
    ("devres_release", "devres_release_fentry"),
    ("devres_released", "devres_released_fexit"),
];
/// The programs of the steps of a teardown.
const STEPS: [(&str, &str); 6] = [
    ("kill", "kill_fentry"),
    ("remove", "remove_fentry"),
    ("unmapped", "unmapped_fexit"),
    ("release", "release_fentry"),
    ("released", "released_fexit"),
    ("drained", "drained_fentry"),
];
/// The programs that no rule depends on.
const OTHERS: [(&str, &str); 2] =
    [("memremap_release", "memremap_release_fentry"), ("unmap_mappings", "unmap_mappings_fentry")];
/// The programs of a mapping into user space.
const MAPPING: [(&str, &str); 4] = [
    ("mmap_enter", "mmap_enter_fentry"),
    ("insert_page", "insert_page_fentry"),
    ("mmap", "mmap_fexit"),
    ("page_free", "page_free_fentry"),
];
/// The programs that are attached while a teardown waits, as far as the kernel has their functions.
const ARMED: [(&str, &str); 5] = [
    ("dma_map_sg", "dma_map_sg_fentry"),
    ("dma_map_page", "dma_map_page_fentry"),
    ("dma_map_phys", "dma_map_phys_fentry"),
    ("dma_iova_link", "dma_iova_link_fentry"),
    ("blk_dma_map", "blk_dma_map_fentry"),
];

/// All rows of the table of skips that the kernel has functions for.
pub(super) fn skipped_runs(lab: &mut Lab, method: Method) -> Result<Verdict> {
    if lab.guest.run("uname -r | grep -q '^5'")?.code == 0 {
        return Ok(Verdict::skipped("this kernel does not count skipped runs"));
    }
    lab.load_driver()?;
    let disk = lab.slow_disk()?;
    lab.limit_slow_drive(false)?;
    lab.load_module("ranges=1")?;
    brackets(lab, method)?;
    allocations(lab, method)?;
    steps(lab, method)?;
    uses(lab, method, &disk)?;
    lab.limit_slow_drive(true)?;
    lab.unload_module()?;
    lab.unload_driver()?;
    Ok(Verdict::Passed)
}

/// Skipped runs around a driver's removal affect the stalls of unbinds, until the kernel's state has been
/// read.
fn brackets(lab: &mut Lab, method: Method) -> Result<()> {
    let card = lab.card.clone();
    let trace = lab.trace("skipped-brackets", &method.option())?;
    for row in BRACKETS.iter().chain(&OTHERS[..1]) {
        lab.with_skipped(&[*row], |lab| {
            lab.unbind_card()?;
            lab.bind_card()
        })?;
    }
    for (hook, _) in BRACKETS.iter().chain(&OTHERS[..1]) {
        lab.wait_skipped(&trace, hook)?;
    }
    let memory = lab.memory.clone();
    lab.ask_until_certain(&memory)?;
    // The last one is reconciled only if there is time.
    lab.with_skipped(&BRACKETS[4..5], |lab| {
        lab.unbind_card()?;
        lab.bind_card()
    })?;
    let stream = lab.stop(trace)?;
    reported(&stream, BRACKETS.iter().chain(&OTHERS[..1]))?;
    ensure!(stream.findings.is_empty(), "there are findings: {:?}", stream.findings);
    let touched: &[&str] = if is_reconciled(&stream, &card) { &[] } else { &["stalled-unbind"] };
    expect::verdicts(&stream, &card, &[], touched)
}

/// Skipped allocations and frees affect the balance rules until they are reconciled.
fn allocations(lab: &mut Lab, method: Method) -> Result<()> {
    let card = lab.card.clone();
    let trace = lab.trace("skipped-allocations", &method.option())?;
    let allocated = lab.with_skipped(&[("alloc", "alloc_fexit")], |lab| lab.allocate(&card, SIZE))?;
    lab.with_skipped(&[("free", "free_fentry")], |lab| lab.command(&format!("free {}", allocated.handle)))?;
    let list = lab.with_skipped(&[("sgl_alloc", "sgl_alloc_fexit"), ("alloc", "alloc_fexit")], |lab| {
        lab.command(&format!("alloc-list {card} {SIZE}"))?.handle()
    })?;
    lab.with_skipped(&[("sgl_free", "sgl_free_fentry"), ("free", "free_fentry")], |lab| {
        lab.command(&format!("free {list}"))
    })?;
    let has_mmap = lab.has_mmap;
    if has_mmap {
        lab.with_skipped(&MAPPING, |lab| lab.guest.check(&format!("p2pmap {} --size {SIZE}", lab.memory)))?;
    }
    let rows = [("alloc", ""), ("free", ""), ("sgl_alloc", ""), ("sgl_free", "")];
    let mapping: &[(&str, &str)] = if has_mmap { &MAPPING } else { &[] };
    for (hook, _) in rows.iter().chain(mapping) {
        lab.wait_skipped(&trace, hook)?;
    }
    // The outstanding memory is read until nothing is uncertain; later allocations are checked as usual.
    lab.ask_until_certain(&card)?;
    let after = lab.allocate(&card, SIZE)?;
    lab.command(&format!("free {}", after.handle))?;
    let stream = lab.stop(trace)?;
    reported(&stream, rows.iter().chain(mapping))?;
    expect::verdicts(&stream, &card, &[], &[])?;

    let trace = lab.trace("skipped-free", &method.option())?;
    let allocated = lab.allocate(&card, SIZE)?;
    lab.with_skipped(&[("free", "free_fentry")], |lab| lab.command(&format!("free {}", allocated.handle)))?;
    let stream = lab.stop(trace)?;
    let touched: &[&str] = if is_reconciled(&stream, &card) { &[] } else { &expect::BALANCE };
    expect::verdicts(&stream, &card, &[], touched)
}

/// A skipped step causes no finding, and does not affect the rules about allocations.
fn steps(lab: &mut Lab, method: Method) -> Result<()> {
    let card = lab.card.clone();
    let trace = lab.trace("skipped-steps", &method.option())?;
    lab.with_skipped(&[("memremap", "memremap_fexit"), ("add_resource", "add_resource_fexit")], |lab| {
        lab.unbind_card()?;
        lab.bind_card()
    })?;
    for row in &STEPS {
        lab.with_skipped(&[*row], Lab::unbind_card)?;
        lab.bind_card()?;
    }
    for (hook, _) in STEPS.iter().chain(&[("memremap", "")]) {
        lab.wait_skipped(&trace, hook)?;
    }
    let stream = lab.stop(trace)?;
    reported(&stream, STEPS.iter().chain(&[("memremap", ""), ("add_resource", "")]))?;
    ensure!(stream.findings.is_empty(), "there are findings: {:?}", stream.findings);
    for rule in expect::BALANCE {
        let verdict =
            stream.verdicts.iter().find(|line| line.rule.name() == rule && line.device.0.to_string() == card);
        // If the adding of a range may have been skipped, its earlier allocations are unknown: a snapshot
        // that happens to come between its kill and its drain leaves open what the references are.
        let may_be_open = ["unexplained-reference", "leaked-reference"].contains(&rule);
        let is_fine = |answer: &str| answer == "holds" || may_be_open && answer == "inconclusive";
        ensure!(
            verdict.is_some_and(|line| is_fine(line.verdict.name())),
            "{rule} does not hold: {verdict:?}"
        );
    }
    Ok(())
}

/// Skipped runs of the armed hooks, of which a disk alone causes thousands, affect nothing while no range is
/// removed, and after that only the use of removed memory.
fn uses(lab: &mut Lab, method: Method, disk: &str) -> Result<()> {
    let card = lab.card.clone();
    let trace = lab.trace("skipped-uses", &method.option())?;
    let allocated = lab.allocate(&card, SIZE)?;
    let unbinding = lab.start_unbind_card()?;
    lab.wait_event(&trace, "attach")?;
    let reads = format!("dd if=/dev/{disk} of=/dev/null bs=4096 count=64 iflag=direct 2>/dev/null");
    // The hooks are attached one after the other.
    lab.guest.check("sleep 2")?;
    let (hooks, removals) = lab.with_skipped(&ARMED, |lab| {
        lab.guest.check(&format!("{reads}; sleep 1.5"))?;
        let hooks: Vec<_> = ARMED.iter().filter(|row| lab.is_skipped(&trace, row.0)).copied().collect();
        Ok((hooks, lab.guest.run(&format!("grep -c '\"kind\":\"remove\"' {}", trace.shown()))?))
    })?;
    ensure!(!hooks.is_empty(), "no run of an armed hook was skipped");
    ensure!(removals.text().trim() == "0", "the range was removed too early");
    lab.with_skipped(&hooks, |lab| {
        let reading = lab.guest.spawn(&format!("while [ ! -e /run/enough ]; do {reads}; done"))?;
        lab.command(&format!("free {}", allocated.handle))?;
        lab.finish(unbinding)?;
        lab.guest.check("touch /run/enough")?;
        lab.guest.wait(reading)?.success().map(drop)
    })?;
    let stream = lab.stop(trace)?;
    lab.guest.check("rm /run/enough")?;
    lab.bind_card()?;
    reported(&stream, hooks.iter())?;
    ensure!(stream.findings.is_empty(), "there are findings: {:?}", stream.findings);
    let touched: &[&str] = if lost_after_removal(&stream)? { &["use-after-removal"] } else { &[] };
    expect::verdicts(&stream, &card, &[], touched)?;
    expect::verdicts(&stream, &lab.memory, &[], &[])
}

/// Whether the device's state was read after all skipped runs.
fn is_reconciled(stream: &Stream, device: &str) -> bool {
    let of_device = |event: &&EventLine| address(event.device).as_deref() == Some(device);
    let read_ns = stream.of_kind("snapshot_end").filter(of_device).map(|event| event.time_ns).max();
    read_ns > stream.losses.iter().map(|loss| loss.to_ns).max()
}

/// Whether runs were skipped in a window that contains the removal.
fn lost_after_removal(stream: &Stream) -> Result<bool> {
    let removed_ns = stream.only("remove")?.time_ns;
    Ok(stream.losses.iter().any(|loss| loss.from_ns <= removed_ns && removed_ns <= loss.to_ns))
}

/// Expects lost runs of each hook, with the hook's own name, both in the stream and in the summary.
fn reported<'a>(stream: &Stream, rows: impl Iterator<Item = &'a (&'a str, &'a str)>) -> Result<()> {
    let summary = stream.summary()?;
    ensure!(summary.skipped > 0 && summary.lost >= summary.skipped, "the summary has {summary:?}");
    for (hook, _) in rows {
        let of = |loss: &&LostLine| loss.hook.is_some_and(|lost| lost.name() == *hook);
        let runs: u64 = stream.losses.iter().filter(of).map(|loss| loss.count).sum();
        ensure!(runs > 0, "no skipped run of {hook} was reported");
        // Hooks that write no record of their own have no line in the summary.
        let of_summary = stream.hook(hook).ok().and_then(|line| line.missed);
        ensure!(
            of_summary.is_none_or(|missed| missed == runs),
            "{hook}: {runs} were reported, {of_summary:?} in the summary"
        );
    }
    ensure!(
        stream.losses.iter().all(|loss| loss.reason != Reason::Skipped || loss.hook.is_some()),
        "a loss names no hook"
    );
    Ok(())
}

impl Lab {
    /// Runs `then` while the runs of these programs are skipped.
    fn with_skipped<T>(
        &mut self,
        rows: &[(&str, &str)],
        then: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        for (_, program) in rows {
            self.command(&format!("skip {program} 1"))?;
        }
        let result = then(self)?;
        for (_, program) in rows {
            self.command(&format!("skip {program} 0"))?;
        }
        Ok(result)
    }

    /// Waits until skipped runs of a hook are reported.
    fn wait_skipped(&mut self, trace: &Trace, hook: &str) -> Result<()> {
        self.wait_for(&format!("grep -q '\"type\":\"lost\".*\"hook\":\"{hook}\"' {}", trace.shown()))
    }

    /// Whether skipped runs of a hook have been reported.
    fn is_skipped(&mut self, trace: &Trace, hook: &str) -> bool {
        let look = format!("grep -q '\"type\":\"lost\".*\"hook\":\"{hook}\"' {}", trace.shown());
        self.guest.run(&look).is_ok_and(|output| output.code == 0)
    }
}
