//! Tasks and drivers that may be involved with a device's memory, found by other means than observed allocations.

use p2p_trace_model::{event::DeviceAddress, state::HolderKind, units::bytes};
use p2p_trace_probe::kernel::tasks::{Mapping, Scan, TaskName, Waiting};

use super::{
    host::HostDevice,
    report::{Candidate, DeviceReport, TaskLine, Why},
};

/// The candidates for the open questions of a device's report.
pub(super) fn candidates(
    address: DeviceAddress,
    report: &DeviceReport,
    host: &HostDevice,
    scan: &Scan,
) -> Vec<Candidate> {
    let unexplained = report.ranges.iter().filter_map(|range| range.residual);
    let unexplained = unexplained.map(|residual| residual.unexplained_max).max().unwrap_or(0);
    let unseen = report.preexisting.as_ref().map_or(0, |preexisting| preexisting.bytes);
    let blocked = report.unbind.as_ref().is_some_and(|unbind| unbind.blocked);
    let mut found: Vec<_> = scan
        .mappings
        .iter()
        .filter(|mapping| mapping.device == address && !was_seen_to_map(report, mapping.task.tgid))
        .map(mapping)
        .collect();
    // The device that a task waits for is unknown, so waiting tasks are listed only if a holder is missing.
    if blocked || unexplained > 0 {
        found.extend(scan.waiting.iter().filter_map(waiting));
    }
    let unbind = report.unbind.as_ref();
    if unbind.is_some_and(|unbind| unbind.task.is_none()) {
        found.extend(scan.waiting.iter().filter_map(unbinding));
    }
    if unseen > 0 || unexplained > 0 {
        found.extend(host.driver.as_ref().map(|driver| driver_itself(&driver.name)));
    }
    found
}

/// A process whose mapping was observed is a holder, not a candidate.
fn was_seen_to_map(report: &DeviceReport, tgid: u32) -> bool {
    report.holders.iter().any(|holder| {
        holder.kind == HolderKind::Mmap && holder.allocated_by.as_ref().is_some_and(|task| task.tgid == tgid)
    })
}

fn mapping(mapping: &Mapping) -> Candidate {
    let Mapping { task, bytes: size, .. } = mapping;
    let of_before = if mapping.deleted { ", from before its last unbind or removal" } else { "" };
    Candidate {
        reason: format!("{task} has {} of its memory mapped{of_before}", bytes(*size)).into(),
        why: Why::Mapping { task: line(task), bytes: *size, deleted: mapping.deleted },
    }
}

fn waiting(waiting: &Waiting) -> Option<Candidate> {
    // An unbind waits for others.
    let hint = waiting.hint.as_ref().filter(|_| waiting.unbinds.is_none())?;
    let (task, frame) = (&waiting.task, &hint.frame);
    Some(Candidate {
        reason: format!("{task} waits uninterruptibly in {} ({frame}), for an unknown device", hint.part_of)
            .into(),
        why: Why::Waiting { task: line(task), frame: frame.clone() },
    })
}

fn unbinding(waiting: &Waiting) -> Option<Candidate> {
    let step = waiting.unbinds?;
    let task = &waiting.task;
    Some(Candidate {
        reason: format!("{task} is unbinding an unknown device: {step}").into(),
        why: Why::Unbinding { task: line(task), step },
    })
}

fn driver_itself(name: &str) -> Candidate {
    Candidate {
        reason: format!("{name}, the bound driver, may have allocated memory itself").into(),
        why: Why::Driver { driver: name.into() },
    }
}

fn line(task: &TaskName) -> TaskLine {
    TaskLine { pid: task.pid, tgid: task.tgid, comm: task.comm.clone() }
}
