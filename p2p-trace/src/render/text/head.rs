//! The header: the traced hooks and devices, and the missing ones.

use std::fmt::Write as _;

use p2p_trace_common::Hook;
use p2p_trace_model::{
    accounting::{Device, HookState, MissedQuality, SequenceQuality, Status},
    event::Method,
    units::bytes,
};

use super::Style;
use crate::render::words::rings;

/// The text of a status.
pub(crate) fn head(status: &Status, style: Style) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    write(&mut text, status, style).unwrap_or_default();
    text
}

fn write(text: &mut String, status: &Status, style: Style) -> std::fmt::Result {
    let title = format!("p2p-trace {} on Linux {}", status.version, status.kernel);
    writeln!(text, "{}", style.strong(&title))?;
    writeln!(text, "hooks    {}", hooks(status))?;
    for hook in &status.hooks {
        let (name, why) = (hook.hook.name(), hook.error.as_deref().unwrap_or("reason unknown"));
        match hook.state {
            HookState::Failed => {
                let line = format!("{name} FAILED: {why}; without it: {}", hook.lost_without);
                writeln!(text, "         {}", style.warning(&line))?;
            }
            HookState::Absent if hook.required => {
                let line = format!("{name} is not in this kernel; without it: {}", hook.lost_without);
                writeln!(text, "         {}", style.warning(&line))?;
            }
            HookState::Absent | HookState::Attached | HookState::Armed => {}
        }
    }
    writeln!(text, "losses   {}", accounting(status))?;
    writeln!(text, "rings    {}", rings(&status.rings, status.cpus))?;
    for device in &status.devices {
        writeln!(text, "device   {}", self::device(device))?;
    }
    if status.devices.is_empty() {
        writeln!(text, "device   none with p2p memory yet")?;
    }
    Ok(())
}

fn hooks(status: &Status) -> String {
    let count = |state| status.hooks.iter().filter(|hook| hook.state == state).count();
    let by = |method| {
        let attached = |hook: &&p2p_trace_model::accounting::HookStatus| hook.state == HookState::Attached;
        status.hooks.iter().filter(attached).filter(|hook| hook.method == Some(method)).count()
    };
    let (attached, absent) = (count(HookState::Attached), count(HookState::Absent));
    let methods: Vec<_> = [Method::Fentry, Method::Kprobe]
        .into_iter()
        .filter(|&method| by(method) > 0)
        .map(|method| format!("{} by {}", by(method), method.name()))
        .collect();
    let how = if methods.is_empty() { String::new() } else { format!(" ({})", methods.join(", ")) };
    let mut parts = vec![format!("{attached} of {} attached{how}", status.hooks.len() - absent)];
    for (state, name) in [
        (HookState::Armed, "armed during teardowns"),
        (HookState::Failed, "failed"),
        (HookState::Absent, "not in this kernel"),
    ] {
        if count(state) > 0 {
            parts.push(format!("{} {name}", count(state)));
        }
    }
    parts.join(", ")
}

const fn accounting(status: &Status) -> &'static str {
    match (status.accounting.sequence, status.accounting.missed) {
        (SequenceQuality::Exact, MissedQuality::Counted) => "counted exactly",
        (SequenceQuality::Exact, MissedQuality::Unknown) => {
            "records counted exactly; runs that the kernel skips are not all counted"
        }
        (SequenceQuality::Partial, _) => "partial: a record that interrupts another is dropped, and counted",
    }
}

fn device(device: &Device) -> String {
    let names = [
        Some(device.device.to_string()),
        device.driver.clone().map(String::from),
        device.name.clone().map(String::from),
    ];
    let mut parts = vec![names.into_iter().flatten().collect::<Vec<_>>().join(" ")];
    parts.extend(device.size.map(bytes));
    if let (Some(size), Some(available)) = (device.size, device.available) {
        parts.push(format!("{} allocated", bytes(size.saturating_sub(available))));
    }
    let published = |published| if published { "published" } else { "not published" };
    parts.extend(device.published.map(published).map(str::to_owned));
    parts.join(", ")
}

/// The line of a hook that was attached or detached while tracing.
pub(crate) fn change(time: &str, hook: Hook, attached: bool, style: Style) -> String {
    let change = if attached { "attached" } else { "detached" };
    style.dim(&format!("{time} hook {} {change}\n", hook.name()))
}
