//! Device filters, users without root's rights, and a reader that closes the stream.

use anyhow::{Context as _, Result, ensure};

use super::expect;
use super::lab::Lab;
use super::product::{DoctorMethod, DoctorReport, address};
use super::{Method, Verdict};

/// The exit code for missing rights.
const NO_RIGHTS: i32 = 77;
/// The functions that the doctor must name first.
const MISSION: [&str; 4] =
    ["pci_alloc_p2pmem", "devm_memremap_pages_release", "arch_remove_memory", "pci_p2pdma_release"];
/// Starts the tracer with the fewest capabilities that it needs.
const LEAST: &str = "p2pcaps --keep bpf,perfmon --";
/// Debian's kernels require `CAP_SYS_ADMIN` from this value on; other kernels treat it like 2.
const PARANOID: u32 = 3;

/// A trace of another device shows nothing of this one.
pub(super) fn other_device(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let arguments = format!("{} --device {}", method.option(), lab.slow);
    let trace = lab.trace("other-device", &arguments)?;
    lab.load_driver()?;
    lab.unbind()?;
    let stream = lab.stop(trace)?;
    lab.unload_driver()?;

    expect::nothing_lost(&stream)?;
    expect::attached_by(&stream, method)?;
    // The tracer reads the named device and finds that it has no p2p memory.
    for event in &stream.events {
        let is_read = event.kind.name() == "device_state" && event.count == Some(0)
            || event.kind.name() == "snapshot_end";
        ensure!(
            is_read && address(event.device).as_ref() == Some(&lab.slow),
            "the filter let an event through: {event:?}"
        );
    }
    let others = stream.summary()?.hooks.iter().filter(|hook| hook.hook.name() != "snapshot");
    let hits: u64 = others.map(|hook| hook.hits).sum();
    ensure!(hits == 0, "the hooks counted {hits} hits for a device without p2p memory");
    Ok(Verdict::Passed)
}

/// A user with `CAP_BPF` and `CAP_PERFMON` alone: fentry works, and the error explains why kprobes do not.
pub(super) fn least_rights(lab: &mut Lab, method: Method) -> Result<Verdict> {
    match method {
        Method::Fentry => {
            let trace = lab.trace_as("least-rights", LEAST, &method.option())?;
            lab.load_driver()?;
            let range = lab.range()?;
            lab.unbind()?;
            let stream = lab.stop(trace)?;
            // Any user may write to the guest's /run, and root rightly refuses a folder that another user
            // owns.
            lab.guest.check("rm -rf /run/p2p-trace")?;
            lab.unload_driver()?;
            expect::nothing_lost(&stream)?;
            expect::attached_by(&stream, method)?;
            expect::only_about(&stream, &lab.memory)?;
            expect::queues_freed(&stream, true)?;
            expect::teardown(&stream, range)?;
        }
        Method::Kprobe => {
            let paranoid = lab.guest.check("cat /proc/sys/kernel/perf_event_paranoid")?;
            let paranoid = paranoid.first().and_then(|value| value.parse::<u32>().ok()).unwrap_or_default();
            if paranoid < PARANOID {
                return Ok(Verdict::skipped("this kernel allows kprobes with CAP_PERFMON alone"));
            }
            let command = format!("{LEAST} p2p-trace live --json {} --duration 1", method.option());
            let output = lab.guest.run(&command)?;
            ensure!(
                output.code == NO_RIGHTS,
                "exit code {} instead of {NO_RIGHTS}: {}",
                output.code,
                output.text()
            );
            let message = output.err.join("\n");
            for word in ["perf_event_paranoid", "CAP_SYS_ADMIN"] {
                ensure!(message.contains(word), "the reason does not name {word}: {message}");
            }
        }
    }
    Ok(Verdict::Passed)
}

/// The doctor describes the device, reports that root can trace, and explains why other users cannot.
pub(super) fn doctor(lab: &mut Lab, _attaches_nothing: Method) -> Result<Verdict> {
    lab.load_driver()?;
    let (start, end) = lab.range()?;
    let release = lab.guest.check("uname -r")?.concat();
    let report = lab.guest.check("p2p-trace doctor --json")?;
    let refused = lab.guest.run("p2pcaps --keep syslog -- p2p-trace doctor")?;
    let tried = lab.guest.run("p2pcaps --keep syslog -- p2p-trace live --duration 1")?;
    lab.unload_driver()?;

    let report: DoctorReport =
        serde_json::from_str(&report.join("\n")).context("the report does not match its schema")?;
    ensure!(report.verdict.can_trace, "root cannot trace: {:?}", report.verdict);
    let devices = &report.devices;
    let device = devices.iter().find(|device| device.address.to_string() == lab.memory);
    let device = device.with_context(|| format!("{} is not among {devices:?}", lab.memory))?;
    // The doctor does not query kernels that reading these files can crash.
    let is_queried = !release.starts_with("5.");
    let reported = (device.size, device.published);
    let expected = (is_queried.then_some(end - start + 1), is_queried.then_some(true));
    ensure!(reported == expected, "the doctor reports size and publication as {reported:?}");
    // Before 6.0, fentry would block live patches.
    let method = if release.starts_with("5.") { DoctorMethod::Kprobe } else { DoctorMethod::Fentry };
    let alloc = report.hooks.iter().find(|hook| hook.hook == "alloc");
    ensure!(
        alloc.is_some_and(|hook| hook.symbol.as_deref() == Some("pci_alloc_p2pmem") && hook.method == method),
        "the doctor reports the hook on allocations as {alloc:?}"
    );
    let first: Vec<&str> = report.hooks.iter().take(4).filter_map(|hook| hook.symbol.as_deref()).collect();
    ensure!(first == MISSION, "the doctor names these functions first: {first:?}");
    for (output, subcommand) in [(refused, "doctor"), (tried, "live")] {
        ensure!(output.code == NO_RIGHTS, "{subcommand} exited with {}: {}", output.code, output.text());
        ensure!(
            output.text().contains("CAP_BPF"),
            "{subcommand} does not name the missing capability: {}",
            output.text()
        );
    }
    Ok(Verdict::Passed)
}

/// The reader closes the stream while nothing happens: the tracer exits by itself, without an error.
pub(super) fn closed_output(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let command = format!(
        "(p2p-trace live --json {}; echo $? > /tmp/closed-output) | head -n 1 > /dev/null; cat /tmp/closed-output",
        method.option()
    );
    let output = lab.guest.run(&command)?;
    ensure!(
        output.code == 0 && output.out == ["0"],
        "the tracer exited with {}: {}",
        output.code,
        output.text()
    );
    ensure!(output.err.is_empty(), "the tracer printed an error: {}", output.text());
    Ok(Verdict::Passed)
}
