//! The delay from an event to its report in each output.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::uses::provoke_bad_access;
use crate::guest::Job;
use crate::scenarios::lab::Lab;
use crate::scenarios::product::{FindingLine, Line};
use crate::scenarios::{Method, Verdict, dump};

/// From the record that shows a violation to every output.
const LIMIT_NS: u64 = 200_000_000;
/// The rule whose finding the order of 2018 causes first.
const RULE: &str = "removed-before-drained";
/// Pairs that fill a pipe without a reader.
const PAIRS: u32 = 2000;
/// Number of attempts: while both processors work, the guest's clock, which counts the instructions of both,
/// runs twice as fast as either, so that the measured delay is at most too long.
const TRIES: usize = 3;
/// Milliseconds from the removal to the fatal mapping.
const DEATH: u32 = 2750;

/// A dump that is being written, and its sizes over time.
struct Dump {
    file: String,
    sizes: Job,
}

/// While it traces, modules are loaded, drives are bound and unbound, and a range is removed in the order of
/// 2018: the finding reaches standard output, the dump and the kernel's log in time. The same holds for the
/// dump and the log when standard output has no reader. Finally the kernel dies of a mapping of removed
/// memory: everything recorded until then has left the machine.
pub(in crate::scenarios) fn reported_in_time(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let log = lab.guest.spawn("exec p2pstamp < /dev/kmsg")?;

    let dump = watched(lab, "/run/reported.p2pt")?;
    let tracer = start(lab, method, &dump, "| p2pstamp")?;
    lab.load_driver()?;
    let storm = bind_storm(lab)?;
    lab.load_module("race=1")?;
    lab.race()?;
    lab.guest.check("sleep 1")?;
    lab.guest.signal(storm, Signal::KILL)?;
    lab.guest.wait(storm)?;
    stop(lab)?;
    let shown = stamped(&lab.guest.wait(tracer)?.out);
    on_output(&shown)?;
    in_log(lab, log, &shown, 0)?;
    in_dump(lab, &dump, &shown)?;

    let mut tries = 0;
    loop {
        tries += 1;
        match without_reader(lab, method, log, tries) {
            Ok(()) => break,
            Err(error) if tries == TRIES => return Err(error),
            Err(error) => eprintln!("{error:#}; retrying"),
        }
    }
    lab.unload_module()?;

    let tracer = lab.start_tracer("p2p-trace live", &format!("--json {}", method.option()), "| p2pstamp")?;
    lab.guest.check("echo 1 > /proc/sys/kernel/panic_on_oops")?;
    provoke_bad_access(lab);
    lab.guest.provoke("Kernel panic");
    lab.load_module("race=1")?;
    lab.map_after_removal(DEATH)?;
    lab.start_unbind_card()?;
    lab.guest.wait_death()?;
    on_output(&stamped(lab.guest.printed(tracer))).context("of the kernel that died")?;
    Ok(Verdict::Passed)
}

/// A range is removed after more events than the pipe holds.
fn without_reader(lab: &mut Lab, method: Method, log: Job, number: usize) -> Result<()> {
    lab.bind_card()?;
    let dump = watched(lab, &format!("/run/slow{number}.p2pt"))?;
    let tracer = start(lab, method, &dump, "| sleep 1000000")?;
    let card = lab.card.clone();
    lab.command(&format!("load {card} 4096 {PAIRS}"))?;
    lab.race()?;
    lab.guest.check("sleep 1; kill $(pidof sleep)")?;
    lab.guest.wait(tracer)?;
    let shown = replayed(lab, &dump)?;
    let dumped = in_dump(lab, &dump, &shown);
    in_log(lab, log, &shown, number)?;
    dumped
}

/// Starts to record the sizes of a dump that does not exist yet.
fn watched(lab: &mut Lab, file: &str) -> Result<Dump> {
    let sizes = lab.guest.spawn(&format!("exec p2pstamp --size-of {file}"))?;
    Ok(Dump { file: file.to_owned(), sizes })
}

fn start(lab: &mut Lab, method: Method, dump: &Dump, output: &str) -> Result<Job> {
    let options = format!("--json --kmsg --record {} {}", dump.file, method.option());
    lab.start_tracer("p2p-trace live", &options, output)
}

/// Stops the tracer, but not the reader of its output.
fn stop(lab: &mut Lab) -> Result<()> {
    lab.guest.check("kill -INT $(pidof p2p-trace)").map(drop)
}

/// Unbinds and rebinds the drive in a loop.
fn bind_storm(lab: &mut Lab) -> Result<Job> {
    let (drive, folder) = (&lab.memory, "/sys/bus/pci/drivers/nvme");
    let command =
        format!("while true; do echo {drive} > {folder}/unbind; echo {drive} > {folder}/bind; done");
    lab.guest.spawn(&command)
}

/// Lines with their arrival times.
fn stamped(lines: &[String]) -> Vec<(u64, Line)> {
    let parse = |line: &String| {
        let (stamp, line) = line.split_once(' ')?;
        Some((stamp.parse().ok()?, serde_json::from_str(line).ok()?))
    };
    lines.iter().filter_map(parse).collect()
}

/// The events of a dump of the guest, without arrival times.
fn replayed(lab: &mut Lab, dump: &Dump) -> Result<Vec<(u64, Line)>> {
    let lines = lab.guest.check(&format!("p2p-trace replay --json {}", dump.file))?;
    lines.iter().map(|line| Ok((0, serde_json::from_str(line)?))).collect()
}

/// The first finding of the rule, the time of its report, and the time of the last record that proves it.
fn first(shown: &[(u64, Line)]) -> Result<(u64, &FindingLine, u64)> {
    let mut times = BTreeMap::new();
    for (stamp, line) in shown {
        match line {
            Line::Event(event) => {
                times.insert(event.id.0, event.time_ns);
            }
            Line::Finding(finding) if finding.rule.name() == RULE => {
                let evidence = finding.evidence.iter().filter_map(|id| times.get(&id.0));
                let last = evidence.max().context("the finding's evidence is not in the stream")?;
                return Ok((*stamp, finding, *last));
            }
            _ => {}
        }
    }
    anyhow::bail!("no finding of {RULE} in {} lines", shown.len())
}

fn expect_in_time(output: &str, reported_ns: u64, last_ns: u64) -> Result<()> {
    let delay_ns = reported_ns.saturating_sub(last_ns);
    eprintln!("{RULE}: {output} {} ms after the record that proves it", delay_ns / 1_000_000);
    ensure!(reported_ns >= last_ns, "{RULE} was reported before it happened");
    ensure!(delay_ns <= LIMIT_NS, "{RULE} was {output} {delay_ns} ns after the record that proves it");
    Ok(())
}

fn on_output(shown: &[(u64, Line)]) -> Result<()> {
    let (reported_ns, _, last_ns) = first(shown)?;
    expect_in_time("on standard output", reported_ns, last_ns)
}

/// In the kernel's log, after this number of reports by earlier runs.
fn in_log(lab: &Lab, log: Job, shown: &[(u64, Line)], before: usize) -> Result<()> {
    let (_, _, last_ns) = first(shown)?;
    let words = format!("p2p-trace: {RULE} of ");
    let mut lines = lab.guest.printed(log).iter().filter(|line| line.contains(&words));
    let line = lines.nth(before).context("the kernel's log does not have the finding")?;
    let stamp = line.split(' ').next().and_then(|stamp| stamp.parse().ok());
    expect_in_time("in the kernel's log", stamp.context("the line has no time")?, last_ns)
}

/// In the dump, at the first of its sizes that contains the finding.
fn in_dump(lab: &mut Lab, dump: &Dump, shown: &[(u64, Line)]) -> Result<()> {
    let (_, _, last_ns) = first(shown)?;
    lab.guest.signal(dump.sizes, Signal::KILL)?;
    let sizes = lab.guest.wait(dump.sizes)?.out;
    let size = |line: &String| {
        let (stamp, size) = line.split_once(' ')?;
        Some((stamp.parse::<u64>().ok()?, size.parse::<usize>().ok()?))
    };
    let sizes: Vec<_> = sizes.iter().filter_map(size).collect();
    let complete = lab.guest.log().join("reported.p2pt");
    dump::fetch(&mut lab.guest, &dump.file, &complete)?;
    let bytes = fs::read(&complete).with_context(|| format!("cannot read {}", complete.display()))?;
    let cut = complete.with_extension("cut");
    let contains = |size: usize| -> Result<bool> {
        fs::write(&cut, bytes.get(..size).unwrap_or(&bytes))?;
        has_finding(&cut)
    };
    let (mut low, mut high) = (0, sizes.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        if contains(sizes[middle].1)? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    let (stamp, _) = sizes.get(low).context("the dump does not contain the finding at any of its sizes")?;
    expect_in_time("in the dump", *stamp, last_ns)
}

fn has_finding(dump: &Path) -> Result<bool> {
    let output = dump::tracer([Path::new("replay"), Path::new("--json"), dump])?;
    let is_it = |line: &String| matches!(serde_json::from_str(line), Ok(Line::Finding(finding)) if finding.rule.name() == RULE);
    Ok(output.out.iter().any(is_it))
}
