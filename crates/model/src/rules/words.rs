//! Phrases shared by the messages of findings.

use crate::{
    event::{DeviceAddress, Task},
    holders::Holders,
    state::{Model, NO_PGMAP, Passed, Range},
    units,
};

/// A task, such as `sh (pid 97)`.
pub(super) fn task(task: Option<&Task>) -> String {
    task.map_or_else(|| "an unknown task".to_owned(), |task| format!("{} (pid {})", task.name(), task.pid))
}

/// A range, such as `range 0xf8000000-0xfbffffff (64 MiB) of 0000:03:00.0`.
pub(super) fn range(range: &Range, device: DeviceAddress) -> String {
    range.physical.map_or_else(
        || match (range.id.pgmap, range.base) {
            (NO_PGMAP, Some(base)) => format!("the range at {base:#x} of {device}"),
            (pgmap, _) => format!("the range of pgmap {pgmap:#x} of {device}"),
        },
        |physical| {
            format!(
                "range {:#x}-{:#x} ({}) of {device}",
                physical.start,
                physical.end,
                units::bytes(physical.size())
            )
        },
    )
}

/// The time between two moments, such as `12.3 ms`.
pub(super) fn between(from_ns: u64, to_ns: u64) -> String {
    units::duration(to_ns.saturating_sub(from_ns))
}

/// The time between two moments without the time for which the machine was suspended, which is shown separately.
pub(super) fn awake(model: &Model, from_ns: u64, to_ns: u64) -> String {
    let Passed { awake_ns, asleep_ns } = model.passed(from_ns, to_ns);
    match asleep_ns {
        // Exact up to the end: ticks may not have covered the last part yet.
        0 => between(from_ns, to_ns),
        _ => format!("{} (excluding {} of suspend)", units::duration(awake_ns), units::duration(asleep_ns)),
    }
}

/// A number and its noun, such as `1 reference` or `3 references`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Outstanding memory as far as its allocation was seen, such as `outstanding: 1 reference (64 KiB), allocated by sh (pid 97)
/// 2.4 s before`.
pub(super) fn outstanding(held: &Holders, now_ns: u64) -> String {
    let Some(first) = held.named.first() else {
        return "outstanding: no allocation that was seen".to_owned();
    };
    let is_only = held.named.len() == 1 && held.omitted == 0;
    let most = if is_only { "" } else { "most of it " };
    let exited = if first.exited_since_ns.is_some() { ", which has exited," } else { "" };
    format!(
        "outstanding: {} ({}), {most}allocated by {}{exited} {} before",
        counted(held.references, "reference"),
        units::bytes(held.bytes),
        task(first.task.as_ref()),
        between(first.since_ns, now_ns),
    )
}
