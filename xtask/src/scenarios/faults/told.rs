//! How long it takes from what happens to whoever is to know of it.

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

/// From the record that shows a violation to every outlet.
const LIMIT_NS: u64 = 200_000_000;
/// What the order of 2018 is told as, first.
const RULE: &str = "removed-before-drained";
/// Pairs that fill a pipe which nobody reads.
const PAIRS: u32 = 2000;
/// How often that is tried: while both processors work, the clock of the guest, which counts the instructions of both, goes twice as fast as
/// for either, so that what is measured is at most too long.
const TRIES: usize = 3;
/// Milliseconds from the removal to the map that the kernel dies of.
const DEATH: u32 = 2750;

/// A dump that is written, and its sizes from time to time.
struct Dump {
    file: String,
    sizes: Job,
}

/// Modules are loaded while it traces, drives come and go, and a range is removed in the order of 2018: the finding is on standard
/// output, in the dump and in the kernel's log in time. The same for the dump and the log where nobody reads what is shown.
/// In the end the kernel dies of a map of what was removed: what was seen until then has left the machine.
pub(in crate::scenarios) fn told_in_time(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let log = lab.guest.spawn("exec p2pstamp < /dev/kmsg")?;

    let dump = watched(lab, "/run/told.p2pt")?;
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
        match where_nobody_reads(lab, method, log, tries) {
            Ok(()) => break,
            Err(error) if tries == TRIES => return Err(error),
            Err(error) => eprintln!("{error:#}; once more"),
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
    on_output(&stamped(lab.guest.said(tracer))).context("of the kernel that died")?;
    Ok(Verdict::Passed)
}

/// A range is removed behind more events than the pipe takes.
fn where_nobody_reads(lab: &mut Lab, method: Method, log: Job, number: usize) -> Result<()> {
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

/// Takes note of the sizes of a dump that is still to be written.
fn watched(lab: &mut Lab, file: &str) -> Result<Dump> {
    let sizes = lab.guest.spawn(&format!("exec p2pstamp --size-of {file}"))?;
    Ok(Dump { file: file.to_owned(), sizes })
}

fn start(lab: &mut Lab, method: Method, dump: &Dump, output: &str) -> Result<Job> {
    let options = format!("--json --kmsg --record {} {}", dump.file, method.option());
    lab.start_tracer("p2p-trace live", &options, output)
}

/// Ends the tracer, and not whoever reads what it says.
fn stop(lab: &mut Lab) -> Result<()> {
    lab.guest.check("kill -INT $(pidof p2p-trace)").map(drop)
}

/// Takes the drive from its driver and gives it back, again and again.
fn bind_storm(lab: &mut Lab) -> Result<Job> {
    let (drive, folder) = (&lab.memory, "/sys/bus/pci/drivers/nvme");
    let command =
        format!("while true; do echo {drive} > {folder}/unbind; echo {drive} > {folder}/bind; done");
    lab.guest.spawn(&command)
}

/// Lines with the times at which they came.
fn stamped(lines: &[String]) -> Vec<(u64, Line)> {
    let parse = |line: &String| {
        let (stamp, line) = line.split_once(' ')?;
        Some((stamp.parse().ok()?, serde_json::from_str(line).ok()?))
    };
    lines.iter().filter_map(parse).collect()
}

/// What a dump of the guest tells, without times.
fn replayed(lab: &mut Lab, dump: &Dump) -> Result<Vec<(u64, Line)>> {
    let lines = lab.guest.check(&format!("p2p-trace replay --json {}", dump.file))?;
    lines.iter().map(|line| Ok((0, serde_json::from_str(line)?))).collect()
}

/// The first finding of the rule, when it was told, and the time of the last record that shows it.
fn first(shown: &[(u64, Line)]) -> Result<(u64, &FindingLine, u64)> {
    let mut times = BTreeMap::new();
    for (stamp, line) in shown {
        match line {
            Line::Event(event) => {
                times.insert(event.id.0, event.time_ns);
            }
            Line::Finding(finding) if finding.rule.name() == RULE => {
                let shown_by = finding.evidence.iter().filter_map(|id| times.get(&id.0));
                let last = shown_by.max().context("what shows the finding is not in the stream")?;
                return Ok((*stamp, finding, *last));
            }
            _ => {}
        }
    }
    anyhow::bail!("{RULE} was not told among {} lines", shown.len())
}

fn expect_in_time(where_to: &str, told_ns: u64, last_ns: u64) -> Result<()> {
    let delay_ns = told_ns.saturating_sub(last_ns);
    eprintln!("{RULE}: {where_to} {} ms after the record that shows it", delay_ns / 1_000_000);
    ensure!(told_ns >= last_ns, "{RULE} was told before it happened");
    ensure!(delay_ns <= LIMIT_NS, "{RULE} was {where_to} {delay_ns} ns after the record that shows it");
    Ok(())
}

fn on_output(shown: &[(u64, Line)]) -> Result<()> {
    let (told_ns, _, last_ns) = first(shown)?;
    expect_in_time("on standard output", told_ns, last_ns)
}

/// In the kernel's log, where so many runs have told of it before.
fn in_log(lab: &Lab, log: Job, shown: &[(u64, Line)], before: usize) -> Result<()> {
    let (_, _, last_ns) = first(shown)?;
    let words = format!("p2p-trace: {RULE} of ");
    let mut lines = lab.guest.said(log).iter().filter(|line| line.contains(&words));
    let line = lines.nth(before).context("the kernel's log does not have it")?;
    let stamp = line.split(' ').next().and_then(|stamp| stamp.parse().ok());
    expect_in_time("in the kernel's log", stamp.context("it has no time")?, last_ns)
}

/// In the dump, by the first of its sizes with which it tells of it.
fn in_dump(lab: &mut Lab, dump: &Dump, shown: &[(u64, Line)]) -> Result<()> {
    let (_, _, last_ns) = first(shown)?;
    lab.guest.signal(dump.sizes, Signal::KILL)?;
    let sizes = lab.guest.wait(dump.sizes)?.out;
    let size = |line: &String| {
        let (stamp, size) = line.split_once(' ')?;
        Some((stamp.parse::<u64>().ok()?, size.parse::<usize>().ok()?))
    };
    let sizes: Vec<_> = sizes.iter().filter_map(size).collect();
    let whole = lab.guest.log().join("told.p2pt");
    dump::fetch(&mut lab.guest, &dump.file, &whole)?;
    let bytes = fs::read(&whole).with_context(|| format!("cannot read {}", whole.display()))?;
    let cut = whole.with_extension("cut");
    let tells = |size: usize| -> Result<bool> {
        fs::write(&cut, bytes.get(..size).unwrap_or(&bytes))?;
        has_finding(&cut)
    };
    let (mut low, mut high) = (0, sizes.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        if tells(sizes[middle].1)? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    let (stamp, _) = sizes.get(low).context("the dump does not tell of it at any of its sizes")?;
    expect_in_time("in the dump", *stamp, last_ns)
}

fn has_finding(dump: &Path) -> Result<bool> {
    let told = dump::tracer([Path::new("replay"), Path::new("--json"), dump])?;
    let is_it = |line: &String| matches!(serde_json::from_str(line), Ok(Line::Finding(finding)) if finding.rule.name() == RULE);
    Ok(told.out.iter().any(is_it))
}
