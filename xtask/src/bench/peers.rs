//! The other tracers: the kernel's own kprobe events, and bpftrace.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use super::lab::{BenchLab, Events, Measured};
use crate::guest::HOST_TAG;

const TRACING: &str = "/sys/kernel/tracing";

/// Probes on the entry and the return of one function and on the entry of the other, with arguments and
/// result, into a buffer without a reader.
pub(super) fn ftrace(bench: &mut BenchLab) -> Result<Measured> {
    let guest = &mut bench.lab.guest;
    guest.check(&format!(
        "mkdir -p {TRACING}; [ -e {TRACING}/kprobe_events ] || mount -t tracefs tracefs {TRACING}; cd {TRACING} && \
         echo 32768 > buffer_size_kb && echo > trace && \
         echo 'p:p2p/alloc pci_alloc_p2pmem device=%di size=%si' > kprobe_events && \
         echo 'r:p2p/alloced pci_alloc_p2pmem addr=$retval' >> kprobe_events && \
         echo 'p:p2p/free pci_free_p2pmem device=%di addr=%si size=%dx' >> kprobe_events && \
         echo 1 > events/p2p/enable"
    ))?;
    let instructions_per_pair = bench.pairs()?;
    let guest = &mut bench.lab.guest;
    let stats = guest.check(&format!("cat {TRACING}/per_cpu/cpu0/stats"))?;
    let count = |name: &str| -> u64 {
        let line = stats.iter().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim_start_matches(':').trim().parse().ok()).unwrap_or(0)
    };
    let events = Events {
        delivered: count("entries"),
        lost: count("overrun") + count("dropped events"),
        reader_ns: None,
    };
    guest.check(&format!(
        "cd {TRACING} && echo 0 > events/p2p/enable && echo > kprobe_events && echo > trace && echo 1 > buffer_size_kb"
    ))?;
    Ok(Measured {
        instructions_per_pair: Some(instructions_per_pair),
        events: Some(events),
        ..Measured::default()
    })
}

/// A case that was not measured, and why.
fn skipped(reason: String) -> Measured {
    Measured { skipped: Some(reason), ..Measured::default() }
}

/// Pages of bpftrace's buffer: room for all events without stacks.
const PAGES: u32 = 8192;

/// bpftrace's script: the fields of our default event except for the caller, and a stack with this number of
/// frames for each allocation.
fn script(frames: u8) -> String {
    let (form, stack) = match frames {
        0 => (String::new(), String::new()),
        _ => (" %s".to_owned(), format!(", kstack({frames})")),
    };
    format!(
        "kretfunc:pci_alloc_p2pmem {{ printf(\"A %llu %s %d %d %lx %lx %lx{form}\\n\", \
         nsecs, comm, pid, tid, args->pdev, args->size, retval{stack}); }} \
         kfunc:pci_free_p2pmem {{ printf(\"F %llu %s %d %d %lx %lx %lx\\n\", \
         nsecs, comm, pid, tid, args->pdev, args->addr, args->size); }}"
    )
}

/// The host's bpftrace, run in the guest from the host's own files.
pub(super) fn bpftrace(bench: &mut BenchLab, frames: u8) -> Result<Measured> {
    const OUT: &str = "/run/bpftrace.out";
    if !std::path::Path::new("/usr/bin/bpftrace").exists() {
        return Ok(skipped("bpftrace is not installed on the host".to_owned()));
    }
    let guest = &mut bench.lab.guest;
    let mounted = guest.run(&format!(
        "[ -x /host/usr/bin/bpftrace ] && exit 0; mkdir -p /host && modprobe 9pnet_virtio; modprobe 9p; \
         mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=loose {HOST_TAG} /host && \
         for d in proc sys dev run tmp; do mount -o bind /$d /host/$d; done; \
         mount -t debugfs debugfs /host/sys/kernel/debug; mount -t tracefs tracefs /host/sys/kernel/tracing; \
         [ -x /host/usr/bin/bpftrace ]"
    ))?;
    if mounted.code != 0 {
        return Ok(skipped(format!("this kernel cannot mount the host's files over 9p: {}", mounted.text())));
    }
    let job = guest.spawn(&format!(
        "exec chroot /host /usr/bin/env BPFTRACE_PERF_RB_PAGES={} /usr/bin/bpftrace -o {OUT} -e '{}'",
        if frames == 0 { PAGES } else { 2 * PAGES },
        script(frames)
    ))?;
    // This file lists the functions with an attached trampoline.
    let attached = format!("grep -q ^pci_free_p2pmem {TRACING}/enabled_functions");
    while guest.run(&attached)?.code != 0 {
        if let Some(output) = guest.wait_within(job, Duration::from_millis(500))? {
            return Ok(skipped(format!("bpftrace exited with {}: {}", output.code, output.text())));
        }
    }
    guest.check("sleep 1")?;
    let (instructions_per_pair, reader) = bench.with_reader(job, "bpftrace")?;
    let guest = &mut bench.lab.guest;
    // bpftrace does not always react to the first interrupt.
    for _ in 0..20 {
        guest.signal(job, Signal::INT)?;
        if guest.wait_within(job, Duration::from_secs(1))?.is_some() {
            break;
        }
    }
    let lines = guest.check(&format!("grep -c '^[AF] ' {OUT}; rm {OUT}"))?;
    let delivered: u64 =
        lines.first().and_then(|line| line.parse().ok()).context("bpftrace printed nothing")?;
    Ok(Measured {
        instructions_per_pair: Some(instructions_per_pair),
        events: Some(Events {
            delivered,
            lost: (2 * BenchLab::all_pairs()).saturating_sub(delivered),
            reader_ns: Some(reader),
        }),
        ..Measured::default()
    })
}
