//! Uses of memory: the events that are uses, their ranges, and their number.

use p2p_trace_common::Kind;
use p2p_trace_model::{
    event::{DeviceAddress, Event},
    rules::RuleId,
    state::{At, ChangeKind, Device, FreeMatch, Model, Range},
};

use super::story::{TeardownStory, Use};
use crate::render::check::CheckReport;

/// Counts the uses of each teardown's ranges after their removal, in addition to the listed ones.
pub(super) fn count_uses(teardowns: &mut [TeardownStory], device: DeviceAddress, check: &CheckReport) {
    let starts: Vec<_> = teardowns.iter().map(|story| *story.span().start()).collect();
    for (index, story) in teardowns.iter_mut().enumerate() {
        let from_ns = starts.get(index).copied().unwrap_or(0);
        let to_ns = starts.get(index + 1).copied().unwrap_or(u64::MAX);
        let of = check.findings.iter().filter(|finding| {
            let is_then = (from_ns..to_ns).contains(&finding.start_ns);
            finding.rule == RuleId::UseAfterRemoval && finding.device.0 == device && is_then
        });
        let uses: u64 = of.map(|finding| finding.occurrences).sum();
        story.uses_omitted = uses.saturating_sub(story.uses.len() as u64);
    }
}

/// Its struct pages are removed.
pub(super) const fn is_removed(range: &Range) -> bool {
    range.steps.removed.is_some()
}

/// Events of this kind use memory.
pub(super) const fn is_use(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Alloc | Kind::Free | Kind::SglFree | Kind::Mmap | Kind::PageFree | Kind::Map | Kind::VirtToBus
    )
}

/// The memory that an event uses.
pub(super) fn use_of(event: &Event, device: &Device, model: &Model) -> Use {
    let freed = model.changes().iter().find_map(|change| match change.kind {
        ChangeKind::Freed(
            FreeMatch::Exact(closed) | FreeMatch::TooLarge { closed, .. } | FreeMatch::OfScatterList(closed),
        )
        | ChangeKind::Closed(closed) => Some(closed.reference),
        ChangeKind::Freed(FreeMatch::Partial { before, .. }) => Some(before),
        _ => None,
    });
    let by_reference = freed.and_then(|reference| device.range_of(&reference));
    let range = by_reference
        .or_else(|| {
            let pgmap = event.pgmap?;
            device.ranges().rev().find(|range| range.id.pgmap == pgmap)
        })
        .or_else(|| {
            let addr = event.addr?;
            device.ranges().rev().find(|range| range.contains(addr))
        });
    Use {
        at: At { time_ns: event.time_ns, id: event.id },
        kind: event.kind,
        task: event.task,
        range: range.map(|range| range.id),
        of: freed.map(|reference| reference.at.id),
    }
}
