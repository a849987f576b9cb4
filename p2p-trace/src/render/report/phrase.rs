//! Phrases common to all views.

use p2p_trace_common::Kind;
use p2p_trace_model::{
    event::{Id, Task, user},
    rules::{Answer, Severity},
    state::{ClosedBy, Ended, Range, RangeId},
    units::{bytes, duration},
};

use super::story::{Out, TeardownStory};
use crate::render::{
    Context,
    json::{FindingLine, FindingState, HolderLine},
    text::action,
    words,
};

pub(super) use crate::render::words::counted;

/// `sh (pid 97)`.
pub(super) fn task(task: Option<&Task>) -> String {
    task.map_or_else(
        || "an unknown task".to_owned(),
        |task| match task.name() {
            name if name.is_empty() => format!("pid {}", task.pid),
            name => format!("{name} (pid {})", task.pid),
        },
    )
}

/// Capitalizes a sentence, but not a name of a kernel function, rule or task at its beginning.
pub(super) fn capital(text: &str) -> String {
    const WORDS: [&str; 7] = ["the", "range", "every", "nothing", "no", "a", "an"];
    let mut words = text.split(' ');
    let is_word = words.next().is_some_and(|word| WORDS.contains(&word));
    let is_task = words.next() == Some("(pid");
    match text.chars().next().filter(|_| is_word && !is_task) {
        Some(first) => format!("{}{}", first.to_ascii_uppercase(), &text[first.len_utf8()..]),
        None => text.to_owned(),
    }
}

/// A moment relative to another.
pub(super) fn relative(time_ns: u64, zero_ns: u64) -> String {
    match time_ns.checked_sub(zero_ns) {
        Some(0) => "0".to_owned(),
        Some(after) => format!("+{}", exact(after)),
        None => format!("-{}", exact(zero_ns - time_ns)),
    }
}

/// A duration that is precise enough to distinguish steps within a long teardown.
fn exact(ns: u64) -> String {
    const SECOND_NS: u64 = 1_000_000_000;
    if (SECOND_NS..3600 * SECOND_NS).contains(&ns) {
        format!("{}.{:03} s", ns / SECOND_NS, ns % SECOND_NS / 1_000_000)
    } else {
        duration(ns)
    }
}

/// The id of a record without the run.
pub(super) fn record(id: Id) -> String {
    if id.cpu == user::CPU { format!("tracer:{}", id.seq) } else { format!("{}:{}", id.cpu, id.seq) }
}

/// The physical addresses of a range, or its pgmap.
pub(super) fn range(ranges: &[Range], id: RangeId) -> String {
    let found = ranges.iter().find(|range| range.id == id);
    words::range(id, found.and_then(|range| range.physical))
}

/// A step of a teardown.
pub(super) const fn step(kind: Kind) -> &'static str {
    action(kind)
}

/// A use of memory whose struct pages were removed.
pub(super) const fn use_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Free => "free",
        Kind::SglFree => "free of a list",
        Kind::PageFree => "free of pages",
        Kind::Alloc => "allocation",
        Kind::Mmap => "mmap",
        Kind::VirtToBus => "virt_to_bus",
        _ => "DMA map",
    }
}

/// How a teardown ended.
pub(super) const fn ended(how: Ended) -> &'static str {
    match how {
        Ended::Released => "p2p memory released",
        Ended::Unbound => "unbound; no release of p2p memory was observed",
        Ended::Unseen => "its end was not observed",
    }
}

/// How a reference ended.
pub(super) const fn closed(by: ClosedBy) -> &'static str {
    match by {
        ClosedBy::Free | ClosedBy::SglFree | ClosedBy::PageFree => "freed",
        ClosedBy::Reused | ClosedBy::Snapshot => "freed, not observed",
        ClosedBy::PoolGone => "destroyed with the pool",
    }
}

/// The columns of [`holder`].
pub(super) const HOLDER: [&str; 7] = ["held by", "pid", "process", "kind", "bytes", "since", "called from"];

/// A holder as columns; times are relative to `at_ns`.
pub(super) fn holder(holder: &HolderLine, at_ns: u64) -> [String; 7] {
    let process = match holder.alive {
        Some(true) => "alive (as far as known)",
        Some(false) => "EXITED",
        None => "unknown",
    };
    let kind = if holder.references == 1 {
        holder.kind.name().to_owned()
    } else {
        format!("{} x{}", holder.kind, holder.references)
    };
    [
        holder.comm.clone().unwrap_or_else(|| "unknown".to_owned()),
        holder.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
        process.to_owned(),
        kind,
        bytes(holder.bytes),
        relative(holder.since_ns, at_ns),
        holder
            .caller
            .clone()
            .map(String::from)
            .or_else(|| holder.caller_addr.map(|addr| format!("{:#x}", addr.0)))
            .unwrap_or_else(|| "unknown".into()),
    ]
}

/// An answer, emphasized.
pub(super) const fn loud(answer: Answer) -> &'static str {
    match answer {
        Answer::Violated => "VIOLATED",
        Answer::Inconclusive => "INCONCLUSIVE",
        Answer::Holds => "holds",
        Answer::NotChecked => "not checked",
    }
}

/// The outcome of a teardown in a few words.
pub(super) const fn order(story: &TeardownStory) -> &'static str {
    if !story.is_in_order() {
        "NOT IN ORDER"
    } else if story.teardown.steps_may_be_missing() {
        "in order as far as observed"
    } else if story.pending.is_some() {
        "in order so far"
    } else {
        "in order"
    }
}

/// A teardown in a few sentences.
pub(super) fn about(story: &TeardownStory, context: &Context<'_>) -> String {
    let zero_ns = story.zero_ns();
    let teardown = &story.teardown;
    let span = story.span();
    let lasted = duration(span.end().saturating_sub(*span.start()));
    let from = if teardown.step(Kind::Kill).is_some() { "the kill" } else { "the first step" };
    let ended = teardown.ended.map_or("end not observed", |(how, _)| ended(how));
    let mut text = format!(
        "By {}, {lasted}: {}; {ended}. Times are relative to {from}, {}.",
        task(teardown.task()),
        order(story),
        context.clock.rfc3339(zero_ns)
    );
    if teardown.began_unseen {
        text.push_str(" Its beginning was not observed.");
    }
    if teardown.lost_steps {
        text.push_str(" Lost records may have been steps.");
    }
    text
}

/// The outstanding memory at one moment, in a few sentences.
pub(super) fn out(out: &Out, moment: &str) -> String {
    if out.references == 0 && out.unknown_bytes == 0 && out.unsure == 0 {
        return "No observed allocation was outstanding.".to_owned();
    }
    format!(
        "{} outstanding, {}. Times are relative to {moment}. Who allocated memory was observed; who used or pinned it then was not.",
        counted(out.references, "reference"),
        bytes(out.bytes)
    )
}

/// The text of a finding.
pub(super) fn message(finding: &FindingLine) -> String {
    let mut message = format!("{}.", capital(&finding.message));
    if finding.severity == Severity::Critical {
        message.push_str(" This is about memory safety.");
    }
    if finding.occurrences > 1 {
        let more = format!(" It happened {} times.", finding.occurrences);
        message.push_str(&more);
    }
    if finding.state == FindingState::Ongoing {
        message.push_str(" It was ongoing at the end of the record.");
    }
    message
}

/// The text of a withdrawn finding.
pub(super) fn withdrawn(finding: &FindingLine) -> String {
    let FindingLine { number, rule, device, .. } = finding;
    let why = finding.withdrawn.as_deref().unwrap_or("a later fact refutes it");
    format!("Finding {number}, {} of {}, is withdrawn: {why}.", rule.name(), device.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capital_keeps_names() {
        assert_eq!(capital("the last reference"), "The last reference");
        for text in ["nvme (pid 7) freed", "the (pid 7) freed", "arch_remove_memory, in", ""] {
            assert_eq!(capital(text), text);
        }
    }

    #[test]
    fn relative_times_distinguish_steps_of_a_long_teardown() {
        assert_eq!(relative(3_001_000_000, 0), "+3.001 s");
        assert_eq!(relative(0, 1_500_000), "-1.5 ms");
        assert_eq!(relative(7, 7), "0");
    }
}
