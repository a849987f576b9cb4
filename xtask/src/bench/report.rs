//! The figures, as a table and as JSON.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::case;
use super::innocent::Innocent;
use super::lab::{AtRest, Measured};
use super::start::Start;

/// The measurements of one case.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// The case's name.
    pub(crate) case: &'static str,
    /// Release of the kernel.
    kernel: String,
    /// Guest instructions per pair of `pci_alloc_p2pmem` and `pci_free_p2pmem`; absent if the case was
    /// skipped, or if the reader ran at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) instructions_per_pair: Option<f64>,
    /// The difference from the untraced pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) added: Option<f64>,
    /// Events that arrived; 0 if there are none.
    pub(crate) delivered: u64,
    /// Events that did not arrive.
    pub(crate) lost: u64,
    /// Nanoseconds of the reader's CPU time per delivered event.
    #[serde(skip_serializing_if = "Option::is_none")]
    reader_ns_per_event: Option<f64>,
    /// The same by the names of the tracer's threads, if measured per thread.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    thread_ns_per_event: BTreeMap<String, f64>,
    /// The cost of an idle tracer.
    #[serde(flatten)]
    at_rest: Option<AtRest>,
    /// The cost of attaching and detaching.
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<Start>,
    /// The cost of innocent I/O.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) innocent: Option<Innocent>,
    /// Why it was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
}

impl Row {
    /// A case, compared with the untraced one.
    pub(super) fn new(case: &'static str, kernel: &str, measured: Measured, untraced: Option<&Self>) -> Self {
        let pair = measured.instructions_per_pair.map(rounded);
        let base = untraced.and_then(|row| row.instructions_per_pair);
        let events = measured.events.unwrap_or_default();
        let per_event = |ns: u64| rounded(ns as f64 / events.delivered as f64);
        Self {
            case,
            kernel: kernel.to_owned(),
            instructions_per_pair: pair,
            added: pair.zip(base).map(|(pair, base)| rounded(pair - base)),
            delivered: events.delivered,
            lost: events.lost,
            reader_ns_per_event: events.reader_ns.filter(|_| events.delivered > 0).map(per_event),
            thread_ns_per_event: measured
                .threads
                .into_iter()
                .map(|(name, ns)| (name, per_event(ns)))
                .collect(),
            at_rest: measured.at_rest,
            start: measured.start,
            innocent: measured.innocent,
            skipped: measured.skipped,
        }
    }

    /// Whether the case has no events to deliver.
    fn is_without_events(&self) -> bool {
        self.case == case::UNTRACED || self.case.starts_with("floor-")
    }

    /// The line that is printed after the measurement.
    pub(super) fn progress(&self) -> String {
        if let Some(start) = self.start {
            return start.sentence();
        }
        if let Some(innocent) = self.innocent {
            return innocent.sentence();
        }
        match (&self.skipped, self.instructions_per_pair, self.added) {
            (Some(reason), ..) => format!("skipped: {reason}"),
            (None, Some(pair), Some(added)) => format!("{pair:.0} instructions per pair, {added:.0} added"),
            (None, Some(pair), None) => format!("{pair:.0} instructions per pair"),
            (None, None, _) => {
                let counts = format!("{} events delivered, {} lost", self.delivered, self.lost);
                self.by_thread().map_or_else(|| counts.clone(), |threads| format!("{counts}; {threads}"))
            }
        }
    }

    /// Each thread's cost per event.
    fn by_thread(&self) -> Option<String> {
        let threads = self.thread_ns_per_event.iter();
        let threads: Vec<_> = threads.map(|(name, ns)| format!("{name} {ns:.0}")).collect();
        (!threads.is_empty()).then(|| threads.join(", "))
    }
}

fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// An array of objects.
pub(super) fn json(rows: &[Row]) -> Result<String> {
    Ok(serde_json::to_string_pretty(rows)?)
}

/// A Markdown table, which is also readable as plain text.
pub(super) fn table(rows: &[Row]) -> String {
    let kernel = rows.first().map_or("", |row| &row.kernel);
    let mut lines = vec![
        format!("Linux {kernel}, guest instructions per pci_alloc_p2pmem + pci_free_p2pmem:"),
        String::new(),
        "| case | per pair | added | delivered | lost | reader, ns of CPU per event |".to_owned(),
        "|---|--:|--:|--:|--:|--:|".to_owned(),
    ];
    lines.extend(rows.iter().filter(|row| row.start.is_none() && row.innocent.is_none()).map(line));
    for row in rows {
        if let Some(reason) = &row.skipped {
            lines.push(String::new());
            lines.push(format!("{} was skipped: {reason}.", row.case));
        }
    }
    for row in rows {
        if let Some(threads) = row.by_thread() {
            lines.push(String::new());
            lines.push(format!("{}: ns of CPU per event by thread: {threads}.", row.case));
        }
    }
    for row in rows {
        if let Some(AtRest { attach_ms, idle_us_per_s }) = row.at_rest {
            lines.push(String::new());
            lines.push(format!(
                "{}: attached {attach_ms} ms after the start; {idle_us_per_s} µs of CPU per second when idle.",
                row.case
            ));
        }
    }
    for row in rows {
        if let Some(start) = row.start {
            lines.push(String::new());
            lines.push(format!("{}: {}.", row.case, start.sentence()));
        }
    }
    for row in rows {
        if let Some(innocent) = row.innocent {
            lines.push(String::new());
            lines.push(format!("{}: {}.", row.case, innocent.sentence()));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// A row of the table.
fn line(row: &Row) -> String {
    const NONE: &str = "–";
    let number = |value: Option<f64>| value.map_or_else(|| NONE.to_owned(), |value| format!("{value:.0}"));
    let has_events = row.skipped.is_none() && !row.is_without_events();
    let count = |value: u64| {
        if has_events { value.to_string() } else { NONE.to_owned() }
    };
    format!(
        "| {} | {} | {} | {} | {} | {} |",
        row.case,
        number(row.instructions_per_pair),
        row.added.map_or_else(|| NONE.to_owned(), |added| format!("{added:+.0}")),
        count(row.delivered),
        count(row.lost),
        number(row.reader_ns_per_event),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::lab::Events;

    fn measured(instructions_per_pair: f64, events: Option<Events>) -> Measured {
        Measured { instructions_per_pair: Some(instructions_per_pair), events, ..Measured::default() }
    }

    fn rows() -> Vec<Row> {
        let untraced = Row::new("untraced", "7.3.4", measured(476.0, None), None);
        let events = Events { delivered: 1000, lost: 2, reader_ns: Some(500_000) };
        let fentry = Row::new("fentry", "7.3.4", measured(1376.0, Some(events)), Some(&untraced));
        let skipped = Measured { skipped: Some("not installed".to_owned()), ..Measured::default() };
        let bpftrace = Row::new("bpftrace", "7.3.4", skipped, Some(&untraced));
        vec![untraced, fentry, bpftrace]
    }

    #[test]
    fn table_has_a_row_per_case() {
        let table = table(&rows());
        assert!(table.contains("| untraced | 476 | – | – | – | – |"), "{table}");
        assert!(table.contains("| fentry | 1376 | +900 | 1000 | 2 | 500 |"), "{table}");
        assert!(table.ends_with("bpftrace was skipped: not installed.\n"), "{table}");
    }

    #[test]
    fn json_has_the_documented_members() {
        let json: serde_json::Value = serde_json::from_str(&json(&rows()).unwrap()).unwrap();
        assert_eq!(json[1]["case"], "fentry");
        assert_eq!(json[1]["kernel"], "7.3.4");
        assert_eq!(json[1]["instructions_per_pair"], 1376.0);
        assert_eq!((&json[1]["delivered"], &json[1]["lost"]), (&1000.into(), &2.into()));
        assert!(json[2]["instructions_per_pair"].is_null());
    }
}
