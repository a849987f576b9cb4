//! The line of an event: time, device, action, details, task, caller.

use std::fmt::Write as _;

use p2p_trace_common::Kind;
use p2p_trace_model::{
    event::Event,
    units::{bytes, duration},
};

use super::Style;
use crate::render::{
    Context,
    words::{self, counted},
};

/// Options of the text output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) style: Style,
    pub(crate) stacks: bool,
}

/// Widths of the columns device, action and details.
pub(super) const DEVICE: usize = 12;
pub(super) const ACTION: usize = 15;
const DETAIL: usize = 52;

/// The text of an event: one line, and its stack if requested.
pub(crate) fn event(event: &Event, context: &Context<'_>, options: Options) -> String {
    let style = options.style;
    let time = context.clock.time_of_day(event.time_ns);
    let device = event.device.map_or_else(|| "-".to_owned(), |device| device.to_string());
    let action = format!("{:ACTION$}", action(event.kind));
    let action = if event.failed {
        style.warning(&action)
    } else if is_teardown(event.kind) {
        style.teardown(&action)
    } else {
        action
    };
    let mut line =
        format!("{} {device:DEVICE$} {action} {:DETAIL$} {}", style.dim(&time), detail(event), who(event));
    if let Some(frame) = event.caller.and_then(|addr| context.caller(addr)) {
        line.push_str(&style.dim(&format!("  {frame}")));
    }
    let mut text = line.trim_end().to_owned();
    text.push('\n');
    if options.stacks || event.kind == Kind::Stack {
        for frame in context.stack(event) {
            text.push_str(&style.dim(&format!("{:>23} {frame}", "at")));
            text.push('\n');
        }
    }
    text
}

/// The action in one or two words.
pub(crate) const fn action(kind: Kind) -> &'static str {
    match kind {
        Kind::AddResource => "add resource",
        Kind::Memremap => "create pages",
        Kind::Publish => "publish",
        Kind::Alloc => "alloc",
        Kind::Free => "free",
        Kind::SglAlloc => "alloc sgl",
        Kind::SglFree => "free sgl",
        Kind::Mmap => "mmap",
        Kind::PageFree => "free pages",
        Kind::Map => "dma map",
        Kind::Unmap => "dma unmap",
        Kind::VirtToBus => "virt to bus",
        Kind::Unbind => "unbind",
        Kind::Unbound => "unbound",
        Kind::DriverRemove => "driver remove",
        Kind::DriverRemoved => "driver removed",
        Kind::DevresRelease => "devres release",
        Kind::DevresReleased => "devres released",
        Kind::UnmapMappings => "revoke mappings",
        Kind::MemremapRelease => "release pages",
        Kind::Kill => "KILL",
        Kind::Drained => "DRAINED",
        Kind::Remove => "REMOVE",
        Kind::Unmapped => "unmapped",
        Kind::Release => "RELEASE",
        Kind::Released => "released",
        Kind::Stack => "stack",
        Kind::RangeState => "range state",
        Kind::DeviceState => "device state",
        Kind::AllocAttempt => "ALLOC ON DEAD CHUNK",
        Kind::Tick
        | Kind::Loss
        | Kind::Attach
        | Kind::End
        | Kind::AllocatedRun
        | Kind::SnapshotEnd
        | Kind::HolderExited => "",
    }
}

/// A step that is highlighted.
pub(crate) const fn is_teardown(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Unbind | Kind::Kill | Kind::Drained | Kind::Remove | Kind::Release | Kind::MemremapRelease
    )
}

/// The fields of an event, most important first.
pub(crate) fn detail(event: &Event) -> String {
    let mut parts = Vec::new();
    if event.failed {
        parts.push(event.ret.map_or_else(|| "FAILED".to_owned(), |ret| format!("FAILED {ret}")));
    }
    if let Some(range) = event.range {
        parts.push(format!("{:#x}-{:#x} ({})", range.start, range.end, bytes(range.size())));
    }
    if let Some(size) = event.size {
        let is_complete = event.kind == Kind::AddResource && size == 0;
        parts.push(if is_complete { "complete".to_owned() } else { bytes(size) });
    }
    if let Some(bar) = event.bar {
        parts.push(format!("BAR {bar}"));
    }
    if let Some(offset) = event.offset.filter(|&offset| offset > 0) {
        parts.push(format!("at offset {offset:#x}"));
    }
    if event.pooled == Some(false) {
        parts.push(words::BYPASSED.to_owned());
    } else if let Some(flag) = event.flag {
        parts.extend(found(event.kind, flag).map(str::to_owned));
    }
    let places = [("", event.addr), ("sgl ", event.sgl), ("user ", event.user_addr), ("page ", event.page)];
    for (name, place) in places {
        // A range already implies the place, and lines are short.
        if let Some(place) =
            place.filter(|_| parts.len() < 2 && event.range.is_none() && event.span.is_none())
        {
            parts.push(format!("{name}{place:#x}"));
        }
    }
    if let Some(count) = event.count {
        parts.extend(if event.armed { Some(format!("{count} times")) } else { pieces(event.kind, count) });
    }
    if let Some(allocated) = event.allocated.filter(|_| event.pooled != Some(false)) {
        parts.push(if allocated == 0 {
            "nothing allocated".to_owned()
        } else {
            format!("{} allocated", bytes(allocated))
        });
    }
    if let Some(refs) = event.refs {
        let about = if refs.estimate { "~" } else { "" };
        parts.push(format!("{about}{} refs", refs.count));
    }
    if event.kind == Kind::Remove && event.state.is_some_and(|state| state.exited) {
        parts.push("exited".to_owned());
    }
    if let Some(physical) = event.physical {
        parts.push(format!("{physical:#x}"));
    }
    if let Some(client) = event.client {
        parts.push(format!("for {client}"));
    }
    if let Some(span) = event.span.filter(|span| span.last_ns > span.first_ns) {
        parts.push(format!("in {}", duration(span.last_ns - span.first_ns)));
    }
    parts.join(", ")
}

/// The text of a flag.
const fn found(kind: Kind, flag: bool) -> Option<&'static str> {
    match (kind, flag) {
        (Kind::Unbind | Kind::DriverRemove | Kind::DevresRelease, true) => Some("memory outstanding"),
        (Kind::Unbind | Kind::DriverRemove | Kind::DevresRelease, false) => Some("nothing allocated"),
        // Whether it is watched matters only for later uses.
        (Kind::Remove, _) => None,
        (_, true) => Some("on"),
        (_, false) => Some("off"),
    }
}

fn pieces(kind: Kind, count: u32) -> Option<String> {
    match kind {
        // The usual case is omitted.
        Kind::Unbind | Kind::DriverRemove | Kind::DevresRelease if count == 1 => None,
        Kind::Unbind | Kind::DriverRemove | Kind::DevresRelease => Some(counted(count.into(), "range")),
        // The usual case: a device with one range.
        Kind::Kill if count == 1 => None,
        Kind::Kill => Some(format!("{count} ranges")),
        // The range implies it.
        Kind::RangeState => None,
        Kind::DeviceState => Some(counted(count.into(), "range")),
        Kind::Mmap | Kind::PageFree => Some(counted(count.into(), "page")),
        _ if count == 1 => Some("1 entry".to_owned()),
        _ => Some(format!("{count} entries")),
    }
}

/// `sh[735]`, with the thread id if it differs.
pub(crate) fn who(event: &Event) -> String {
    let Some(task) = event.task else {
        return String::new();
    };
    let mut who = format!("{}[{}]", task.name(), task.tgid);
    if task.pid != task.tgid {
        // Writing to a string does not fail.
        write!(who, "/{}", task.pid).unwrap_or_default();
    }
    who
}
