//! Many events at once: producers that interrupt each other, a ring that is too small, and a tracer that is
//! stopped.

use anyhow::{Result, ensure};

use super::expect;
use super::lab::Lab;
use super::mapping::number;
use super::product::LostLine;
use super::stream::Stream;
use super::{Method, Verdict};

/// Why a scenario is skipped.
const NOT_PREEMPTIBLE: &str = "this kernel cannot be made fully preemptible";
/// Bytes of one mapping: four pages.
const MAPPING: u64 = 16 * 1024;
/// Processes that map.
const PROCESSES: u64 = 4;
/// Mappings of each.
const LOOPS: u64 = 150;
/// Tasks that allocate and free on one CPU.
const TASKS: u64 = 3;
/// Pairs of an allocation and a free per task.
const PAIRS: u64 = 4000;
/// Seconds for which the tracer is stopped.
const STANDSTILL: u32 = 10;
/// The smallest ring there is.
const TINY: &str = "--ring-size 4096";

/// Processes on one CPU, on a kernel that lets them interrupt each other in the middle of a hook.
pub(super) fn nested_producers(lab: &mut Lab, method: Method) -> Result<Verdict> {
    if !is_preemptible(lab)? {
        return Ok(Verdict::skipped(NOT_PREEMPTIBLE));
    }
    lab.load_driver()?;
    let trace = lab.trace("nested-producers", &method.option())?;
    let done = storm(lab, "0")?;
    let stream = lab.stop(trace)?;
    lab.unload_driver()?;

    expect::attached_by(&stream, method)?;
    expect::only_about(&stream, &lab.memory)?;
    account(&stream, &done)?;
    Ok(Verdict::Passed)
}

/// Tasks of one CPU that only allocate and free are preempted within a hook, which keeps it from running for
/// the others: missed runs are counted, reported and reconciled.
pub(super) fn preempted_runs(lab: &mut Lab, method: Method) -> Result<Verdict> {
    if !is_preemptible(lab)? {
        return Ok(Verdict::skipped(NOT_PREEMPTIBLE));
    }
    lab.load_module("ranges=1")?;
    let card = lab.card.clone();
    let trace = lab.trace("preempted-runs", &format!("{} --device {card}", method.option()))?;
    let load = format!("exec 3<>/dev/p2ptest; echo load {card} 4096 {PAIRS} >&3 && cat <&3");
    let loads = format!("for n in $(seq {TASKS}); do taskset 1 sh -c '{load}' & done; wait");
    let output = lab.guest.check(&loads)?;
    let done = output.iter().filter(|line| line.starts_with("failed=0 ")).count();
    ensure!(done as u64 == TASKS, "the loads printed: {}", output.join("; "));
    // The tracer polls the counts of skipped runs every second.
    lab.guest.check("sleep 2")?;
    lab.ask_until_certain(&card)?;
    let stream = lab.stop(trace)?;
    lab.unload_module()?;

    expect::nothing_lost(&stream)?;
    expect::attached_by(&stream, method)?;
    let real = TASKS * PAIRS;
    for name in ["alloc", "free"] {
        let hook = stream.hook(name)?;
        let Some(missed) = hook.missed else {
            ensure!(hook.hits <= real, "{name}: {} hits of only {real} calls", hook.hits);
            continue;
        };
        println!("    ({name}: {missed} of {real} runs were skipped)");
        ensure!(hook.hits + missed == real, "{name}: {} hits, {missed} missed, {real} calls", hook.hits);
        let of = |loss: &&LostLine| loss.hook.is_some_and(|lost| lost.name() == name);
        let reported: u64 = stream.losses.iter().filter(of).map(|loss| loss.count).sum();
        ensure!(reported == missed, "{name}: {reported} skipped runs were reported, {missed} in the summary");
    }
    ensure!(stream.findings.is_empty(), "there are findings: {:?}", stream.findings);
    // A free whose allocation was skipped stays unexplained.
    expect::only_violated(&stream, &card, &[])?;
    Ok(Verdict::Passed)
}

/// Whether tasks of this guest can be preempted anywhere.
fn is_preemptible(lab: &mut Lab) -> Result<bool> {
    let model = lab.guest.run("cat /sys/kernel/debug/sched/preempt")?;
    Ok(model.text().contains("(full)"))
}

/// The tracer is stopped while far more events occur than its rings can hold.
pub(super) fn tiny_ring(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_driver()?;
    let trace = lab.trace("tiny-ring", &format!("{} {TINY}", method.option()))?;
    lab.halt(&trace)?;
    let done = storm(lab, "0,1")?;
    lab.resume(&trace)?;
    let stream = lab.stop(trace)?;
    lab.unload_driver()?;

    expect::attached_by(&stream, method)?;
    account(&stream, &done)?;
    for name in ["mmap", "page_free"] {
        ensure!(stream.hook(name)?.lost > 0, "no record of {name} was lost in a ring of 4 KiB");
    }
    ensure!(!stream.losses.is_empty(), "no loss was reported when it happened");
    expect::verdicts(&stream, &lab.memory, &[], &expect::BALANCE)?;
    Ok(Verdict::Passed)
}

/// The tracer is stopped for seconds, as a shell or a container does it, while both processors allocate
/// without a pause. Lost records are counted exactly and leave the rules that need them open; later events
/// are recorded again.
pub(super) fn stopped_in_storm(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("")?;
    let card = lab.card.clone();
    let trace = lab.trace("stopped-in-storm", &format!("{} {TINY}", method.option()))?;
    // Not at full speed: all records are read afterwards.
    let storm = "pairs=0; while [ ! -e /run/enough ]; do echo load $1 4096 20 > /dev/p2ptest || exit 1; \
                 pairs=$((pairs + 20)); sleep 0.02; done; echo pairs=$pairs";
    let storm = lab
        .guest
        .spawn(&format!("for cpu in 0 1; do taskset -c $cpu sh -c '{storm}' storm {card} & done; wait"))?;
    lab.guest.check("sleep 1")?;
    lab.halt(&trace)?;
    lab.guest.check(&format!("sleep {STANDSTILL}"))?;
    lab.resume(&trace)?;
    lab.guest.check("sleep 1; touch /run/enough")?;
    let output = lab.guest.wait(storm)?.success()?;
    lab.guest.check("rm /run/enough")?;
    lab.unbind_card()?;
    let stream = lab.stop(trace)?;
    lab.unload_module()?;

    let real = output.iter().map(|line| number(line, "pairs")).sum::<Result<u64>>()?;
    for name in ["alloc", "free"] {
        exactly(&stream, name, real)?;
        let lost = stream.hook(name)?.lost;
        println!("    ({name}: {lost} of {real} were lost)");
        ensure!(lost > 0, "no record of {name} was lost while the tracer was stopped");
    }
    ensure!(!stream.losses.is_empty(), "no loss was reported when it happened");
    let last = stream.losses.iter().map(|loss| loss.to_ns).max().unwrap_or_default();
    ensure!(
        stream.of_kind("alloc").any(|event| event.time_ns > last) && stream.only("released")?.time_ns > last,
        "no event was recorded after the last loss"
    );
    expect::verdicts(&stream, &card, &[], &expect::BALANCE)?;
    Ok(Verdict::Passed)
}

/// Maps and unmaps on these CPUs at full speed.
fn storm(lab: &mut Lab, cpus: &str) -> Result<String> {
    let command = format!(
        "p2pmap {} --size {MAPPING} --loops {LOOPS} --processes {PROCESSES} --cpus {cpus}",
        lab.memory
    );
    let lines = lab.guest.check(&command)?;
    let done = lines.into_iter().next_back().unwrap_or_default();
    ensure!(number(&done, "maps")? == PROCESSES * LOOPS, "the storm printed: {done}");
    Ok(done)
}

/// Expects the hooks to have counted all of the storm, except for runs that the kernel reports as skipped.
fn account(stream: &Stream, done: &str) -> Result<()> {
    for (name, unit) in [("mmap", "maps"), ("page_free", "pages")] {
        exactly(stream, name, number(done, unit)?)?;
    }
    Ok(())
}

/// Expects a hook to have counted all calls, except for runs that the kernel reports as skipped.
fn exactly(stream: &Stream, name: &str, real: u64) -> Result<()> {
    let hook = stream.hook(name)?;
    match hook.missed {
        Some(missed) => ensure!(
            hook.hits + missed == real,
            "{name}: {} hits and {missed} missed do not add up to {real} calls",
            hook.hits
        ),
        None => ensure!(hook.hits <= real, "{name}: {} hits of only {real}", hook.hits),
    }
    Ok(())
}
