//! Two devices with p2p memory at once.

use anyhow::{Result, ensure};

use super::expect;
use super::report::{DeviceReportExt as _, ReportExt as _};
use crate::scenarios::lab::{Lab, QUEUES};
use crate::scenarios::product::{HolderKind, Report};
use crate::scenarios::{Method, Verdict};

/// Bytes allocated on the drive, and on the card.
const SIZES: [u64; 2] = [64 * 1024, 12 * 1024];

/// Each device has its own report, and both are in the report without a name.
pub(in crate::scenarios) fn two_devices(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_driver()?;
    lab.load_module("ranges=1")?;
    let devices = [lab.memory.clone(), lab.card.clone()];
    let trace = lab.trace("holders-two-devices", &method.option())?;
    let mut holders = Vec::new();
    for (device, size) in devices.iter().zip(SIZES) {
        holders.push(lab.allocate(device, size)?.pid);
    }
    let both = lab.ask_tracer("")?;
    let each = [lab.ask_tracer(&devices[0])?, lab.ask_tracer(&devices[1])?];
    let facts = [
        (lab.range_of(&devices[0])?, lab.sysfs(&devices[0])?),
        (lab.range_of(&devices[1])?, lab.sysfs(&devices[1])?),
    ];
    lab.stop(trace)?;
    let unseen =
        if method.is_primary() { vec![lab.one_shot("")?, lab.one_shot(&devices[1])?] } else { Vec::new() };
    lab.command("free-all")?;
    lab.unload_module()?;
    lab.unload_driver()?;

    let named = |report: &Report| -> Vec<String> {
        report.devices.iter().map(|device| device.device.0.to_string()).collect()
    };
    ensure!(named(&both) == devices, "the report on both has {:?}", named(&both));
    for (at, (address, (range, sysfs))) in devices.iter().zip(facts).enumerate() {
        ensure!(named(&each[at]) == [address.as_str()], "the report on one has {:?}", named(&each[at]));
        for report in [&both, &each[at]] {
            let device = report.device(address)?;
            expect::in_use(device, range, sysfs)?;
            let holder = device.only_holder(HolderKind::Allocation)?;
            let by = holder.allocated_by.as_ref().map(|task| task.tgid);
            ensure!(
                holder.bytes == SIZES[at] && by == Some(holders[at]) && device.holders.len() == 1,
                "{} bytes by {} are reported as {:?}",
                SIZES[at],
                holders[at],
                device.holders
            );
        }
    }
    for report in &unseen {
        for device in &report.devices {
            let at = usize::from(device.device.0.to_string() == devices[1]);
            let (range, sysfs) = facts[at];
            expect::in_use(device, range, sysfs)?;
            let queues = if at == 0 { QUEUES } else { 0 };
            ensure!(
                device.holders.is_empty() && device.unseen() == queues + SIZES[at],
                "without a tracer: {device:?}"
            );
        }
    }
    if let [both, one] = &unseen[..] {
        ensure!(named(both) == devices, "the report on both has {:?}", named(both));
        ensure!(named(one) == devices[1..], "the report on one has {:?}", named(one));
    }
    Ok(Verdict::Passed)
}
