//! Snapshots of the kernel's own state, while nothing happens and in the middle of a blocked unbind.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::lab::{Lab, QUEUES};
use super::product::{EventLine, Hex, StateName};
use super::stream::Stream;
use super::{Method, Verdict};
use super::{clock, expect};

/// Bytes that block the unbind.
const ALLOCATED: u64 = 64 * 1024;

/// The tracer starts after memory has been allocated: its snapshot agrees with sysfs and nvme.
pub(super) fn snapshots(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_driver()?;
    let range = lab.range()?;
    let folder = format!("/sys/bus/pci/devices/{}/p2pmem", lab.memory);
    let sysfs = lab.guest.check(&format!("cat {folder}/size {folder}/available {folder}/published"))?;
    let [size, available, published] = sysfs_numbers(&sysfs)?;
    let trace = lab.trace("snapshots", &method.option())?;
    // The second snapshot, which confirms the first, follows after a second.
    lab.guest.check("sleep 3")?;
    let stream = lab.stop(trace)?;
    lab.unload_driver()?;

    expect::nothing_lost(&stream)?;
    expect::attached_by(&stream, method)?;
    expect::only_about(&stream, &lab.memory)?;
    let snapshots: Vec<_> = stream.of_kind("snapshot_end").collect();
    ensure!(snapshots.len() >= 2, "the device was read {} times, not twice", snapshots.len());
    for event in &snapshots {
        ensure!(event.complete == Some(true), "{} is not complete", event.id.0);
    }
    let runs: Vec<_> = stream.of_kind("allocated_run").collect();
    let bytes: u64 = runs.iter().filter_map(|run| run.size).sum();
    ensure!(
        bytes == snapshots.len() as u64 * QUEUES && size - available == QUEUES,
        "{} snapshots found {bytes} allocated bytes in total; sysfs has {size} - {available}",
        snapshots.len()
    );
    for state in stream.of_kind("range_state") {
        ensure!(
            expect::bounds(state)? == range,
            "{} is not about BAR 2: {:?}-{:?}",
            state.id.0,
            state.range_start,
            state.range_end
        );
        ensure!(state.allocated == Some(QUEUES), "{}: {:?} bytes are allocated", state.id.0, state.allocated);
        // A live reference count is per CPU: one for the range itself, one per allocation, and by kernel one
        // per page.
        ensure!(
            state.state.as_deref() == Some(&[]) && state.refs_estimate && state.refs >= Some(3),
            "{}: {:?}, {:?} references",
            state.id.0,
            state.state,
            state.refs
        );
        let is_own = state.comm.as_deref().is_some_and(|comm| comm.starts_with("p2p-trace"));
        ensure!(is_own, "{} is by {:?}", state.id.0, state.comm);
    }
    for state in stream.of_kind("device_state") {
        ensure!(
            state.count == Some(1) && state.allocated == Some(QUEUES),
            "{}: {:?} chunks, {:?} bytes",
            state.id.0,
            state.count,
            state.allocated
        );
        ensure!(state.published == Some(published == 1), "{}: published {:?}", state.id.0, state.published);
        ensure!(
            state.comm.is_none() && state.waiting_ns.is_none(),
            "{}: no task holds the lock, but {:?} is named",
            state.id.0,
            state.comm
        );
    }
    for kind in ["range_state", "device_state"] {
        let count = stream.of_kind(kind).count();
        ensure!(count == snapshots.len(), "{count} records `{kind}` for {} snapshots", snapshots.len());
    }
    Ok(Verdict::Passed)
}

/// A tracer that is started in the middle of a blocked unbind reads how much is outstanding, and which task
/// waits.
pub(super) fn snapshot_in_hang(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_driver()?;
    lab.load_module("ranges=0")?;
    let range = lab.range()?;
    let memory = lab.memory.clone();
    let allocated = lab.allocate(&memory, ALLOCATED)?;
    let unbind = lab.unbind_command();
    let unbind = lab.guest.spawn(&format!("echo pid $$; {unbind}"))?;
    let pid = lab.guest.wait_line(unbind, "pid ")?;
    let unbinder: u32 = pid.strip_prefix("pid ").context("no pid")?.parse()?;
    lab.wait_sleeping(unbinder, "memunmap_pages")?;
    let before = lab.guest.check("cut -d ' ' -f 1 /proc/uptime")?;
    let trace = lab.trace("snapshot-in-hang", &method.option())?;
    lab.guest.check("sleep 3")?;
    lab.command(&format!("free {}", allocated.handle))?;
    lab.guest.wait(unbind)?.success()?;
    let stream = lab.stop(trace)?;
    lab.unload_module()?;
    lab.unload_driver()?;

    expect::nothing_lost(&stream)?;
    expect::only_about(&stream, &lab.memory)?;
    ensure!(stream.of_kind("kill").next().is_none(), "the tracer recorded the kill");
    let states = blocked_states(&stream)?;
    for (state, device) in &states {
        ensure!(expect::bounds(state)? == range, "{} is about another range", state.id.0);
        ensure!(
            state.allocated == Some(ALLOCATED) && state.refs == Some(1) && !state.refs_estimate,
            "{}: {:?} bytes and {:?} references are outstanding",
            state.id.0,
            state.allocated,
            state.refs
        );
        ensure!(
            state.state.as_deref() == Some(&[StateName::Atomic, StateName::Dead]),
            "{}: {:?}",
            state.id.0,
            state.state
        );
        ensure!(device.pid == Some(unbinder), "{} holds the lock, not {unbinder}", device.id.0);
    }
    let run = stream.of_kind("allocated_run").next().context("no allocation is found")?;
    ensure!(
        run.size == Some(ALLOCATED) && run.addr == Some(Hex(allocated.addr)),
        "{:?} bytes are found at {:?}, not {ALLOCATED} at {:#x}",
        run.size,
        run.addr,
        allocated.addr
    );
    waits_as_time_passes(&states, before.first())
}

/// The unbinding task's waiting time grows with the clock.
fn waits_as_time_passes(states: &[(&EventLine, &EventLine)], before: Option<&String>) -> Result<Verdict> {
    let seconds: f64 = before.context("no uptime")?.parse()?;
    let started = Duration::from_secs_f64(seconds);
    for (_, device) in states {
        let waiting = Duration::from_nanos(device.waiting_ns.context("no task waits")?);
        let since = Duration::from_nanos(device.time_ns).saturating_sub(waiting);
        clock::at_once(
            &format!(
                "{}: the task waited at {started:?} and is reported to wait since {since:?},",
                device.id.0
            ),
            since.saturating_sub(started),
        )?;
    }
    // Compares the first and the last, some seconds apart: more than a busy host explains.
    if let [(_, first), .., (_, last)] = states {
        let passed = last.time_ns.abs_diff(first.time_ns);
        let waited = last.waiting_ns.unwrap_or(0).abs_diff(first.waiting_ns.unwrap_or(0));
        clock::at_once(
            &format!("{passed} ns have passed, and the task waits for {waited} ns more:"),
            Duration::from_nanos(passed.abs_diff(waited)),
        )?;
    }
    Ok(Verdict::Passed)
}

/// Three lines with a number each.
fn sysfs_numbers(lines: &[String]) -> Result<[u64; 3]> {
    let numbers: Vec<u64> = lines.iter().map(|line| line.parse()).collect::<Result<_, _>>()?;
    numbers.try_into().ok().context("sysfs does not have size, available and published")
}

/// Range and device of each snapshot up to the drain.
fn blocked_states(stream: &Stream) -> Result<Vec<(&EventLine, &EventLine)>> {
    let drained = stream.only("drained")?.time_ns;
    let of_kind = |kind| stream.of_kind(kind).filter(|event| event.time_ns + 100_000_000 < drained);
    let states: Vec<_> = of_kind("range_state").zip(of_kind("device_state")).collect();
    ensure!(!states.is_empty(), "the device was not read during the hang");
    Ok(states)
}
