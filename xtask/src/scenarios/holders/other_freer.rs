//! Memory that another task frees than the one that allocated it, and holders that exit.

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::expect;
use super::report::{DeviceReportExt as _, ReportExt as _};
use crate::guest::kmodule;
use crate::scenarios::lab::{Lab, QUEUES};
use crate::scenarios::product::{CanUnbind, HolderKind, Liveness, Report};
use crate::scenarios::{Method, Verdict};

/// Bytes of the allocation.
const SIZE: u64 = 64 * 1024;
/// Bytes of the scatter list.
const LIST_SIZE: u64 = 8 * 1024;

/// A holder lives, then exits; a kworker frees its memory. The same with a scatter list.
pub(in crate::scenarios) fn other_freer(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_driver()?;
    lab.load_module("ranges=0")?;
    let memory = lab.memory.clone();
    let range = lab.range()?;
    let trace = lab.trace("holders-other-freer", &method.option())?;
    let device = kmodule::NAME;
    let holder = lab.guest.spawn(&format!(
        "exec 3<>/dev/{device}; echo alloc {memory} {SIZE} >&3; echo pid $$ $(cat <&3); sleep 600"
    ))?;
    let line = lab.guest.wait_line(holder, "pid ")?;
    let (pid, handle) = pid_and_handle(&line).with_context(|| format!("the holder printed {line}"))?;
    let list = lab.command(&format!("alloc-list {memory} {LIST_SIZE}"))?;
    let alive = lab.ask_tracer(&memory)?;
    lab.guest.signal(holder, Signal::KILL)?;
    lab.guest.wait(holder)?;
    let exited = lab.ask_tracer(&memory)?;
    for handle in [handle, list.handle()?.to_string()] {
        lab.command(&format!("free-later {handle} 10"))?;
    }
    lab.wait_for(&format!("[ $(cat /sys/module/{device}/refcnt) = 0 ]"))?;
    let sysfs = lab.sysfs(&memory)?;
    let freed = lab.ask_tracer(&memory)?;
    lab.stop(trace)?;
    lab.unload_module()?;
    lab.unload_driver()?;

    let list = (list.pid, Liveness::Exited);
    two_holders(&alive, &memory, (pid, Liveness::Alive), list)?;
    two_holders(&exited, &memory, (pid, Liveness::Exited), list)?;
    let device = freed.device(&memory)?;
    expect::in_use(device, range, sysfs)?;
    ensure!(
        sysfs.allocated == QUEUES && device.unseen() == QUEUES && device.holders.is_empty(),
        "after the frees by a kworker, the holders are {:?}, and {} bytes have unknown holders",
        device.holders,
        device.unseen()
    );
    expect::answer(device, CanUnbind::Unknown, "of unknown holders").map(|()| Verdict::Passed)
}

/// Expects the allocation and the list, each by its process, which is alive or has exited.
fn two_holders(report: &Report, device: &str, plain: (u32, Liveness), list: (u32, Liveness)) -> Result<()> {
    let device = report.device(device)?;
    expect::quiet(device)?;
    ensure!(device.holders.len() == 2, "expected two holders: {:?}", device.holders);
    for (kind, size, (pid, process)) in
        [(HolderKind::Allocation, SIZE, plain), (HolderKind::ScatterList, LIST_SIZE, list)]
    {
        let holder = device.only_holder(kind)?;
        let task = holder.allocated_by.as_ref().context("no task is named")?;
        ensure!(
            (holder.count, holder.references, holder.bytes) == (1, 1, size),
            "{size} bytes are reported as {holder:?}"
        );
        ensure!(
            task.tgid == pid && task.comm == "sh" && holder.process == process,
            "process {pid}, {process:?}, is reported as {task:?}, {:?}",
            holder.process
        );
    }
    Ok(())
}

/// Parses `pid 97 handle=3`.
fn pid_and_handle(line: &str) -> Option<(u32, String)> {
    let (pid, handle) = line.strip_prefix("pid ")?.split_once(" handle=")?;
    Some((pid.parse().ok()?, handle.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_pid_and_handle() {
        assert_eq!(pid_and_handle("pid 97 handle=3"), Some((97, "3".to_owned())));
        assert_eq!(pid_and_handle("pid 97"), None);
    }
}
