//! A read into mapped memory that is in flight when the device is unbound.

use anyhow::{Context as _, Result, ensure};

use super::PAGE;
use super::kernel_held::{is_blocked, is_empty, known, residual};
use super::report::{DeviceReportExt as _, ReportExt as _};
use super::unbinding::{self, Unbinding};
use crate::scenarios::lab::Lab;
use crate::scenarios::mapping::number;
use crate::scenarios::product::{DeviceReport, HolderKind, Liveness, TaskLine, Why};
use crate::scenarios::{Method, Verdict};

/// Bytes to read: 48 seconds at the slow drive's limit, which the scenario lifts before.
const SIZE: u64 = 768 * 1024;

/// Memory is mapped and read under a tracer, which reports during the unbind; then a report without a tracer.
pub(in crate::scenarios) fn direct_io(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_driver()?;
    let memory = lab.memory.clone();
    let range = lab.range()?;
    let trace = lab.trace("holders-direct-io", &method.option())?;
    let read = lab.start_read(SIZE)?;
    let mapped = lab.guest.wait_line(read, "mapped ")?;
    let pid = number(&mapped, "pid")?;
    let unbinding = Unbinding::start(lab, &memory, "nvme")?;
    let seen = lab.ask_tracer(&memory)?;
    lab.stop(trace)?;
    let unseen = if method.is_primary() { Some(lab.one_shot(&memory)?) } else { None };
    lab.limit_slow_drive(false)?;
    unbinding.wait(lab)?;
    lab.guest.wait(read)?.success()?;
    lab.limit_slow_drive(true)?;
    let over = if method.is_primary() { Some(lab.one_shot(&memory)?) } else { None };
    lab.unload_driver()?;

    let device = is_blocked(&seen, &memory, &unbinding, range, SIZE)?;
    unbinding::seen_from_the_start(device)?;
    residual(device, known(SIZE / PAGE))?;
    let holder = device.only_holder(HolderKind::Mmap)?;
    ensure!(
        (holder.count, holder.references, holder.bytes) == (1, SIZE / PAGE, SIZE)
            && device.holders.len() == 1
            && device.unseen() == 0,
        "one mapping is reported as {:?}, {} bytes have unknown holders",
        device.holders,
        device.unseen()
    );
    let task = holder.allocated_by.as_ref().context("no task is named")?;
    ensure!(
        u64::from(task.tgid) == pid && task.comm == "p2pdio" && holder.process == Liveness::Alive,
        "the mapping is by process {pid}, not {task:?}, {:?}",
        holder.process
    );
    if let Some(report) = &unseen {
        let device = is_blocked(report, &memory, &unbinding, range, SIZE)?;
        unbinding::start_unknown(device)?;
        unnamed(device, pid)?;
    }
    if let Some(report) = &over {
        is_empty(report.device(&memory)?)?;
    }
    Ok(Verdict::Passed)
}

/// Expects as many references as pages, and the reader only among the candidates.
fn unnamed(device: &DeviceReport, pid: u64) -> Result<()> {
    ensure!(device.holders.is_empty(), "unexpected holders: {:?}", device.holders);
    ensure!(device.unseen() == SIZE, "{} bytes have unknown holders", device.unseen());
    let left = device.only_range()?.residual.context("the report has no references")?;
    let runs = device.preexisting.as_ref().map_or(0, |unseen| unseen.runs.len() as u64);
    let pages = SIZE / PAGE;
    ensure!(
        (left.count, left.known, left.unknown_min, left.unknown_max) == (pages, 0, runs, pages)
            && (left.unexplained_min, left.unexplained_max) == (0, pages - runs),
        "{pages} pages in {runs} pieces are reported as {left:?}"
    );
    let is_reader = |task: &TaskLine| u64::from(task.tgid) == pid && task.comm == "p2pdio";
    let mut why = device.candidates.iter().map(|candidate| &candidate.why);
    let mapping = why.clone().any(|why| matches!(why, Why::Mapping { task, .. } if is_reader(task)));
    let waiting = why.any(|why| matches!(why, Why::Waiting { task, .. } if is_reader(task)));
    ensure!(
        mapping && waiting,
        "process {pid} maps the memory and waits for direct I/O, but the candidates are {:?}",
        device.candidates
    );
    Ok(())
}
