//! The rules against the simulated kernel.

mod blind;
mod cases;
mod coverage;
mod documented;
mod faults;
mod garbage;
mod lifecycle;
mod observed;
mod skips;
mod stalls;

use std::fmt::Write as _;

use super::{Answer, Finding, Options, RuleId, Verdict, words};
use crate::{event::Id, stream::assemble::Element, units};

/// A finding as in a report, with its evidence shown as the kinds and tasks of the records.
fn shown(finding: &Finding, elements: &[Element]) -> String {
    let mut text = format!("{}, {}: {}\n", finding.rule.name(), finding.severity.name(), finding.message);
    if finding.occurrences > 1 {
        writeln!(text, "  happened {} times", finding.occurrences).unwrap();
    }
    let evidence: Vec<_> = finding.evidence.iter().map(|&id| record(id, elements)).collect();
    writeln!(text, "  shown by: {}", evidence.join(", ")).unwrap();
    for holder in &finding.holders {
        writeln!(
            text,
            "  outstanding: {} by {}, {}, {}",
            holder.kind,
            words::task(holder.task.as_ref()),
            words::counted(holder.references, "reference"),
            units::bytes(holder.bytes)
        )
        .unwrap();
    }
    if !finding.is_closed() {
        text += "  ongoing\n";
    }
    writeln!(text, "  next: {}", finding.advice).unwrap();
    text
}

/// A record, such as `kill by taskn (pid 91)`.
fn record(id: Id, elements: &[Element]) -> String {
    let event = elements.iter().find_map(|element| match element {
        Element::Event(event) if event.id == id => Some(event),
        _ => None,
    });
    event.map_or_else(
        || "a record of user space".to_owned(),
        |event| format!("{} by {}", event.kind.name(), words::task(event.task.as_ref())),
    )
}
