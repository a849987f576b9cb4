//! The driver's own memory: the two queues of nvme, allocated during the trace or before it.

use anyhow::{Result, ensure};

use super::expect;
use super::report::{DeviceReportExt as _, ReportExt as _};
use crate::scenarios::lab::{Lab, QUEUES};
use crate::scenarios::product::{CanUnbind, DeviceReport, EventLine, HolderKind};
use crate::scenarios::stream::Stream;
use crate::scenarios::{Method, Verdict};

/// Asks a tracer that was running before the allocation, then none.
pub(in crate::scenarios) fn queues(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let trace = lab.trace("holders-queues", &method.option())?;
    lab.load_driver()?;
    let memory = lab.memory.clone();
    let (range, sysfs) = (lab.range()?, lab.sysfs(&memory)?);
    let seen = lab.ask_tracer("")?;
    let stream = lab.stop(trace)?;
    let name = lab.guest.check(&format!("ls /sys/bus/pci/devices/{memory}/nvme"))?;
    let unseen = if method.is_primary() {
        Some((lab.one_shot("")?, lab.guest.check(&format!("p2p-trace holders {}", name.join(" ")))?))
    } else {
        None
    };
    lab.unload_driver()?;

    ensure!(seen.devices.len() == 1, "the devices are {:?}", seen.devices);
    let device = seen.device(&memory)?;
    expect::in_use(device, range, sysfs)?;
    named(device, &stream)?;
    if let Some((report, text)) = unseen {
        ensure!(report.devices.len() == 1, "the devices are {:?}", report.devices);
        let device = report.device(&memory)?;
        expect::in_use(device, range, sysfs)?;
        unnamed(device)?;
        let text = text.join("\n");
        for words in [memory.as_str(), "128 KiB allocated", "can unbind unknown"] {
            ensure!(text.contains(words), "there is no `{words}` in {text}");
        }
    }
    Ok(Verdict::Passed)
}

/// Expects the driver to hold the queues, by the task and function in the stream.
fn named(device: &DeviceReport, stream: &Stream) -> Result<()> {
    let events: Vec<&EventLine> = stream.of_kind("alloc").collect();
    ensure!(events.len() == 2, "nvme allocated {} queues", events.len());
    let holder = device.only_holder(HolderKind::Allocation)?;
    expect::matches_stream(holder, &events, stream)?;
    ensure!(
        holder.bytes == QUEUES && holder.references == 2 && device.holders.len() == 1,
        "the queues are reported as {:?}",
        device.holders
    );
    ensure!(device.unseen() == 0, "{} bytes have unknown holders", device.unseen());
    ensure!(device.candidates.is_empty(), "candidates: {:?}", device.candidates);
    let Some(caller) = &holder.caller else {
        ensure!(holder.by_driver.is_none(), "without a caller, `by_driver` is {:?}", holder.by_driver);
        return expect::answer(device, CanUnbind::Unknown, "unknown whether");
    };
    ensure!(
        caller.starts_with("nvme_") && caller.ends_with(" [nvme]") && holder.by_driver == Some(true),
        "the queues are allocated by {caller}, {:?}",
        holder.by_driver
    );
    expect::answer(device, CanUnbind::Yes, "only nvme itself holds memory (128 KiB)")
}

/// Expects as many bytes with unknown holders, in one piece or two, and no claim about them.
fn unnamed(device: &DeviceReport) -> Result<()> {
    ensure!(device.holders.is_empty(), "unexpected holders: {:?}", device.holders);
    let preexisting = device.preexisting.as_ref();
    ensure!(
        preexisting.is_some_and(|unseen| unseen.bytes == QUEUES && unseen.runs.len() <= 2),
        "the queues are reported as {preexisting:?}"
    );
    expect::only_driver_suspected(device)?;
    expect::answer(device, CanUnbind::Unknown, "of unknown holders")
}
