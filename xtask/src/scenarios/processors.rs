//! Hosts with many CPUs: many possible CPUs, simulated by a file mounted over the kernel's list, and a CPU
//! that is really added while tracing.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use super::faults::{post_mortem::dump_memory, stalled_by_allocation};
use super::lab::Lab;
use super::product::DoctorReport;
use super::stream::Stream;
use super::{Method, Verdict, dump, expect, teardown};

/// Instructions that the verifier may follow in all programs together, for any number of CPUs.
const VERIFIED: u64 = 300_000;
/// The kernel's list of possible CPUs, and the file mounted over it.
const POSSIBLE: &str = "/sys/devices/system/cpu/possible";
const PRETENDED: &str = "/tmp/possible";
/// Milliseconds of guest time that an interrupted start may take to exit: the promise is one second, the rest
/// is for a busy host.
const END: u64 = 3000;

/// A start, a clean unbind and a blocked one with 256 possible CPUs.
pub(super) fn with_256(lab: &mut Lab, method: Method) -> Result<Verdict> {
    pretending(lab, 256, |lab| teardowns(lab, method))
}

/// As [`with_256`] with the supported maximum; the verifier's work is within its bounds, and a start can be
/// interrupted.
pub(super) fn with_1024(lab: &mut Lab, method: Method) -> Result<Verdict> {
    pretending(lab, 1024, |lab| {
        verified(lab)?;
        interrupted(lab, method)?;
        teardowns(lab, method)
    })
}

/// Runs `act` while this number of CPUs seems to be possible.
fn pretending(lab: &mut Lab, cpus: u32, act: impl FnOnce(&mut Lab) -> Result<Verdict>) -> Result<Verdict> {
    pretend(lab, cpus)?;
    let verdict = act(lab)?;
    stop_pretending(lab)?;
    Ok(verdict)
}

/// Simulates this number of possible CPUs from now on.
pub(crate) fn pretend(lab: &mut Lab, cpus: u32) -> Result<()> {
    let last = cpus - 1;
    lab.guest.check(&format!("echo 0-{last} > {PRETENDED}; mount --bind {PRETENDED} {POSSIBLE}")).map(drop)
}

/// Ends the simulation.
pub(crate) fn stop_pretending(lab: &mut Lab) -> Result<()> {
    lab.guest.check(&format!("umount {POSSIBLE}")).map(drop)
}

fn teardowns(lab: &mut Lab, method: Method) -> Result<Verdict> {
    teardown::load_and_unbind(lab, method)?;
    stalled_by_allocation(lab, method)
}

/// Expects the verifier to accept every program, and its work to be within bounds.
fn verified(lab: &mut Lab) -> Result<()> {
    let report = lab.guest.check("p2p-trace doctor -v --json 2> /dev/null")?;
    let report: DoctorReport =
        serde_json::from_str(&report.join("\n")).context("the report does not match its schema")?;
    let verification = report.verification.context("the report has no verification")?;
    ensure!(
        verification.cpus == Some(1024) && verification.refused.is_empty(),
        "the verification is {verification:?}"
    );
    let programs = verification.programs.len();
    ensure!(programs > 20, "{programs} programs were loaded");
    let instructions = verification
        .instructions
        .with_context(|| format!("the number of verified instructions is unknown: {verification:?}"))?;
    println!("  {instructions} instructions verified in {programs} programs, for 1024 CPUs");
    ensure!(
        instructions <= VERIFIED,
        "{instructions} verified instructions exceed the bound: {verification:?}"
    );
    Ok(())
}

/// Expects SIGINT and SIGTERM to end a start, early and late.
fn interrupted(lab: &mut Lab, method: Method) -> Result<()> {
    for (signal, delay) in [("INT", "0.3"), ("TERM", "1"), ("INT", "2")] {
        let command = format!(
            "now() {{ awk '{{printf \"%d\\n\", $1 * 1000}}' /proc/uptime; }}; rm -f /tmp/started; \
             p2p-trace live --json {} --ready-file /tmp/started > /dev/null & sleep {delay}; \
             [ -e /tmp/started ] && echo ready; now; kill -{signal} $!; wait $!; now",
            method.option()
        );
        let lines = lab.guest.check(&command)?;
        if lines.first().is_some_and(|line| line == "ready") {
            // A start that is this quick cannot be interrupted.
            return Ok(());
        }
        let times = lines.iter().map(|line| line.parse::<u64>());
        let times = times.collect::<Result<Vec<_>, _>>().context("no times")?;
        let &[from, to] = times.as_slice() else {
            bail!("unexpected output of the shell: {lines:?}");
        };
        println!("  a start ended {} ms after SIG{signal}", to - from);
        ensure!(to - from <= END, "a start of {delay} s took {} ms to end after SIG{signal}", to - from);
    }
    Ok(())
}

/// A CPU is added while tracing, and memory is allocated on it: its records are in the stream, and among
/// those recovered from this kernel's memory.
pub(super) fn added(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("")?;
    lab.guest.check("modprobe qemu_fw_cfg")?;
    let trace = lab.trace("added-cpu", &method.option())?;
    let cpu = add_cpu(lab)?;
    let card = lab.card.clone();
    lab.guest.check(&format!("taskset {:x} sh -c 'echo load {card} 4096 50 > /dev/p2ptest'", 1u64 << cpu))?;
    lab.wait_for(&format!(
        "grep -q '\"kind\":\"alloc\".*\"cpu\":{cpu},' {0} || grep -q '\"cpu\":{cpu},.*\"kind\":\"alloc\"' {0}",
        trace.shown()
    ))?;
    // The rings still hold the shown records; the tracer is running when the memory is saved.
    let [core, kdump] = dump_memory(lab)?;
    std::fs::remove_file(&kdump).with_context(|| format!("cannot remove {}", kdump.display()))?;
    let recovered = core.with_extension("p2pt");
    let [from, to] = [&core, &recovered].map(|file| file.display().to_string());
    let recovered_output = dump::tracer(["recover", &from, "-o", &to])?.success();
    recovered_output.context("recover failed")?;
    let lines = dump::tracer(["replay", "--json", &to])?.out;
    let stream = Stream::parse(&lines)?;
    std::fs::remove_file(&core).with_context(|| format!("cannot remove {}", core.display()))?;
    let count = stream.of_kind("alloc").filter(|event| event.cpu == cpu).count();
    ensure!(count == 50, "{count} of 50 allocations on CPU {cpu} were recovered");
    expect::attached_by(&stream, method)?;
    Ok(Verdict::Passed)
}

/// Plugs a CPU in, brings it online and returns its number.
fn add_cpu(lab: &mut Lab) -> Result<u32> {
    let slots = lab.guest.qmp().execute("query-hotpluggable-cpus", json!({}))?;
    let free = slots
        .as_array()
        .into_iter()
        .flatten()
        .find(|slot| slot["qom-path"].is_null())
        .context("the machine has no room for another CPU")?;
    let mut arguments = free["props"].clone();
    arguments["driver"] = free["type"].clone();
    arguments["id"] = json!("added");
    let count = "ls -d /sys/devices/system/cpu/cpu[0-9]* | wc -l";
    let before = lab.guest.check(count)?.concat();
    lab.guest.qmp().execute("device_add", arguments)?;
    lab.wait_for(&format!("[ $({count}) -gt {before} ]"))?;
    let cpu = lab
        .guest
        .check("ls -d /sys/devices/system/cpu/cpu[0-9]* | sed 's/.*cpu//' | sort -n | tail -n 1")?
        .concat();
    lab.guest.check(&format!(
        "[ $(cat /sys/devices/system/cpu/cpu{cpu}/online) = 1 ] || echo 1 > /sys/devices/system/cpu/cpu{cpu}/online"
    ))?;
    cpu.parse().with_context(|| format!("invalid CPU number {cpu}"))
}
