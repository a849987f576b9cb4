//! Text output: one line per event, losses and findings in place, a header, verdicts and a summary.

mod event;
mod finding;
mod head;
mod style;
mod summary;
mod verdict;
mod wrap;

pub(crate) use event::action;
pub(crate) use event::{Options, event};
#[cfg(feature = "tui")]
pub(crate) use event::{detail, is_teardown, who};
pub(crate) use finding::{changed, finding};
pub(crate) use head::{change, head};
pub(crate) use style::Style;
pub(crate) use summary::summary;
pub(crate) use verdict::verdicts;
pub(crate) use wrap::wrap;

use p2p_trace_common::Hook;
use p2p_trace_model::{
    event::{Loss, Reason, names::ring_name},
    rules::RuleId,
    units::Clock,
};

/// Width of the time of day.
const TIME: usize = 15;

use super::{Frame, printer::Unshown, words::counted};

/// The line of a loss.
pub(crate) fn loss(loss: &Loss, clock: &Clock, style: Style) -> String {
    let (count, ring) = (loss.count(), ring_name(loss.ring));
    let cpu = loss.cpu.map_or_else(|| ", CPU unknown".to_owned(), |cpu| format!(" of CPU {cpu}"));
    let why = match loss.reason {
        Reason::Overwritten => "overwritten before they were read; a larger --ring-size helps",
        Reason::Abandoned => "their producer was interrupted and did not finish",
        Reason::Corrupt => "their memory has been overwritten with other data",
        Reason::Skipped => "never written: the kernel skips a program while one is running on the same CPU",
        Reason::Unrecorded => "the recorder's disk was too slow",
        Reason::Damaged => "they are damaged or missing in the dump",
        Reason::Absent => "the memory dump does not contain them",
    };
    let time = clock.time_of_day(loss.from_ns);
    let until = clock.time_of_day(loss.to_ns);
    let text = if let Some(hook) = loss.hook {
        let runs = counted(count, "run");
        format!("LOST {runs} of {}, until {until}: {}", hook.name(), skipped(hook))
    } else {
        let records = counted(count, "record");
        format!("LOST {records} of the {ring} ring{cpu}, until {until}: {why}")
    };
    format!("{} {}\n", style.dim(&time), style.alarm(&text))
}

/// The reason for lost runs of a hook, and the affected rules.
fn skipped(hook: Hook) -> String {
    let touched: Vec<_> = RuleId::hidden_by(hook).map(RuleId::name).collect();
    let touched = if touched.is_empty() {
        "it affects no rule".to_owned()
    } else {
        format!("it can affect {}", touched.join(", "))
    };
    format!("the kernel skips a program while it is running on the same CPU; {touched}")
}

/// Names of addresses that earlier lines show without one.
pub(crate) fn names(found: &[Frame], style: Style) -> String {
    let name = |Frame { addr, symbol }: &Frame| {
        let symbol = symbol.as_deref().unwrap_or("?");
        style.dim(&format!("{:TIME$} {addr:#x} is {symbol}\n", "name"))
    };
    found.iter().map(name).collect()
}

/// The line for omitted events.
pub(crate) fn unshown(unshown: &Unshown, clock: &Clock, style: Style) -> String {
    let Unshown { events, from_ns, to_ns } = *unshown;
    let events = counted(events, "event");
    let until = clock.time_of_day(to_ns);
    let text = format!("UNSHOWN {events}, until {until}: the reader is too slow; the rules have seen them");
    format!("{} {}\n", style.dim(&clock.time_of_day(from_ns)), style.alarm(&text))
}

#[cfg(test)]
mod tests;
