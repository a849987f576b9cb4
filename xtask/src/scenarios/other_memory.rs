//! Memory that has nothing to do with PCI passes through the same kernel functions: the tracer must ignore
//! it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::lab::Lab;
use super::{Method, Verdict, expect};

/// The memory module: one block of the kernel's (`memory_block_size_bytes`).
const MODULE_BYTES: u64 = 128 << 20;
/// How long the guest may take to release the memory module.
const PATIENCE: Duration = Duration::from_mins(2);
/// The function that every removal of memory calls, and the one that only persistent memory calls.
const SHARED: [&str; 2] = ["arch_remove_memory", "memunmap_pages"];
/// Mount point of the kernel's tracing.
const TRACING: &str = "/run/tracing";

/// An ordinary memory module is plugged and unplugged, and persistent memory is bound and unbound: no event
/// and no finding.
pub(super) fn other_memory(lab: &mut Lab, method: Method) -> Result<Verdict> {
    count_calls(lab)?;
    let trace = lab.trace("other-memory", &method.option())?;
    memory_module(lab)?;
    let has_persistent = lab.guest.run("modprobe nd_pmem && modprobe nd_e820")?.code == 0;
    if has_persistent {
        persistent_memory(lab)?;
    } else {
        println!("  this kernel has no driver for persistent memory");
    }
    let calls = calls(lab)?;
    let stream = lab.stop(trace)?;

    // Without calls, the scenario shows nothing.
    for (function, count) in SHARED.iter().zip(calls).take(if has_persistent { 2 } else { 1 }) {
        ensure!(count > 0, "{function} was never called");
    }
    expect::nothing_lost(&stream)?;
    let kinds: Vec<&str> = stream.observed().map(|event| event.kind.name()).collect();
    ensure!(kinds.is_empty(), "other memory caused events: {}", kinds.join(" "));
    let found: Vec<&str> = stream.findings.iter().map(|finding| finding.rule.name()).collect();
    ensure!(found.is_empty(), "other memory caused findings: {}", found.join(" "));
    Ok(Verdict::Passed)
}

/// Makes the kernel count the calls of [`SHARED`].
fn count_calls(lab: &mut Lab) -> Result<()> {
    lab.guest.check(&format!("mkdir -p {TRACING} && mount -t tracefs tracing {TRACING}"))?;
    for function in SHARED {
        lab.guest.check(&format!("echo 'p:{function} {function}' >> {TRACING}/kprobe_events"))?;
    }
    lab.guest.check(&format!("echo 1 > {TRACING}/events/kprobes/enable")).map(drop)
}

/// How often [`SHARED`] were called.
fn calls(lab: &mut Lab) -> Result<Vec<u64>> {
    let table = lab.guest.check(&format!("cat {TRACING}/kprobe_profile"))?;
    let off =
        format!("echo 0 > {TRACING}/events/kprobes/enable; echo > {TRACING}/kprobe_events; umount {TRACING}");
    lab.guest.check(&off)?;
    let count = |function: &str| {
        let line = table.iter().find_map(|line| line.trim().strip_prefix(function));
        let count = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        count.with_context(|| format!("the kernel does not count {function}: {}", table.join(" | ")))
    };
    SHARED.into_iter().map(count).collect()
}

/// Plugs a memory module, uses it, and unplugs it.
fn memory_module(lab: &mut Lab) -> Result<()> {
    let total = "awk '/MemTotal/ {print $2}' /proc/meminfo";
    let before = lab.guest.check(total)?.concat();
    let backend = json!({ "qom-type": "memory-backend-ram", "id": "backing", "size": MODULE_BYTES });
    lab.guest.qmp().execute("object-add", backend)?;
    lab.guest.qmp().add_device("pc-dimm,id=module,memdev=backing")?;
    lab.wait_for(&format!("[ $({total}) -gt {before} ]"))?;
    lab.guest.qmp().remove_device("module", PATIENCE)?;
    lab.guest.qmp().execute("object-del", json!({ "id": "backing" })).map(drop)
}

/// Binds the driver of the persistent memory and unbinds it, twice.
fn persistent_memory(lab: &mut Lab) -> Result<()> {
    let driver = "/sys/bus/nd/drivers/nd_pmem";
    for _ in 0..2 {
        // The first binding is automatic, the second is not.
        let bind = format!("echo namespace0.0 > {driver}/bind");
        lab.wait_for(&format!("{{ [ -b /dev/pmem0 ] || ({bind}) 2> /dev/null; [ -b /dev/pmem0 ]; }}"))?;
        lab.guest.check(&format!("echo namespace0.0 > {driver}/unbind"))?;
    }
    Ok(())
}
