//! Teardowns that nothing blocks: by unbind, by removal, by unplugging.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::expect;
use super::lab::{Lab, memory_drive};
use super::{Method, Verdict};

/// The driver is loaded while the trace runs, then unbound: the complete life of a range.
pub(super) fn load_and_unbind(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let trace = lab.trace("load-and-unbind", &method.option())?;
    lab.load_driver()?;
    let range = lab.range()?;
    lab.unbind()?;
    let stream = lab.stop(trace)?;
    lab.unload_driver()?;

    expect::nothing_lost(&stream)?;
    expect::attached_by(&stream, method)?;
    expect::only_about(&stream, &lab.memory)?;
    expect::in_order(&stream, &["memremap", "add_resource", "publish", "driver_remove"])?;
    expect::queues_freed(&stream, true)?;
    expect::teardown(&stream, range)?;
    expect::clean(&stream, &lab.memory)?;
    let first = stream.of_kind("alloc").map(|alloc| alloc.time_ns).min();
    ensure!(first > Some(stream.only("publish")?.time_ns), "memory is allocated before it is published");
    ensure!(
        stream.only("memremap")?.pgmap == stream.only("kill")?.pgmap,
        "the range that was made is not the one that was killed"
    );
    if lab.has_mmap {
        expect::in_order(&stream, &["unmap_mappings", "memremap_release"])?;
    }
    Ok(Verdict::Passed)
}

/// The device is removed through sysfs.
pub(super) fn remove(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_driver()?;
    let range = lab.range()?;
    let trace = lab.trace("remove", &method.option())?;
    let device = lab.memory.clone();
    lab.guest.check(&format!("echo 1 > /sys/bus/pci/devices/{device}/remove"))?;
    let stream = lab.stop(trace)?;
    lab.unload_driver()?;
    lab.guest.check("echo 1 > /sys/bus/pci/rescan")?;
    lab.wait_for(&format!("[ -e /sys/bus/pci/devices/{device} ]"))?;

    expect_teardown(lab, &stream, method, range)
}

/// The device is unplugged from the machine.
pub(super) fn unplug(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_driver()?;
    let range = lab.range()?;
    let trace = lab.trace("unplug", &method.option())?;
    let drive = memory_drive();
    lab.guest.qmp().remove_device(&drive.id, Duration::from_secs(40))?;
    let stream = lab.stop(trace)?;
    lab.unload_driver()?;
    lab.guest.qmp().add_device(&drive.device())?;
    let device = lab.memory.clone();
    lab.wait_for(&format!("[ -e /sys/bus/pci/devices/{device} ]"))?;

    expect_teardown(lab, &stream, method, range)
}

/// Expectations for a teardown whose beginning was not traced.
fn expect_teardown(
    lab: &Lab,
    stream: &super::stream::Stream,
    method: Method,
    range: (u64, u64),
) -> Result<Verdict> {
    expect::nothing_lost(stream)?;
    expect::attached_by(stream, method)?;
    expect::only_about(stream, &lab.memory)?;
    expect::queues_freed(stream, false)?;
    expect::teardown(stream, range)?;
    // The size of the driver's queues is unknown: their allocation was not traced.
    expect::verdicts(stream, &lab.memory, &[], &["size-mismatch"])?;
    Ok(Verdict::Passed)
}
