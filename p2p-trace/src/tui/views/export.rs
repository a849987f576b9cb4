//! What a view shows, for a file.

use std::fmt::Write as _;

use p2p_trace_model::units::bytes;

use super::as_text;
use crate::{
    render::{
        json::{EventLine, FindingLine, Line, LostLine},
        text,
    },
    tui::{
        detail::context,
        history::Entry,
        lists,
        state::{App, View},
    },
};

/// What the view shows, for a file: the first part of its name, and the text.
pub(crate) fn export(app: &App) -> (&'static str, String) {
    let context = context(app);
    let json = |line: &Line| serde_json::to_string(line).unwrap_or_default();
    match app.view {
        View::Events => {
            let mut out = String::new();
            for entry in lists::events(app) {
                let line = match entry {
                    Entry::Event(event) => Line::Event(Box::new(EventLine::new(event, &context))),
                    Entry::Loss(loss) => Line::Lost(LostLine::new(loss, &app.view_model.clock)),
                };
                out.push_str(&json(&line));
                out.push('\n');
            }
            ("events", out)
        }
        View::Findings => {
            let line = |finding: &&std::sync::Arc<p2p_trace_model::rules::Finding>| {
                let mut line = json(&Line::Finding(Box::new(FindingLine::new(finding, &context))));
                line.push('\n');
                line
            };
            ("findings", lists::findings(app).iter().map(line).collect())
        }
        View::Rules => ("rules", text::verdicts(&app.view_model.verdicts, text::Style::default())),
        View::Allocated => ("taken", allocated(app)),
        View::Overview | View::Teardowns | View::Rates => ("screen", as_text(app)),
    }
}

/// One line per row, with every field.
fn allocated(app: &App) -> String {
    let holders = &app.view_model.holders;
    let mut out = format!(
        "# as of {}; {} references, {}; {} rows left out\n\
         device\ttaken by\tprocess\tkind\tbytes\treferences\tsince\taddress\tcaller\n",
        app.view_model.clock.rfc3339(holders.as_of_ns),
        holders.total.0,
        bytes(holders.total.1),
        holders.omitted
    );
    for row in lists::rows(app) {
        let since = row.oldest_ns.map_or_else(|| "before".to_owned(), |ns| app.view_model.clock.rfc3339(ns));
        let addr = row.addr.map_or_else(|| "-".to_owned(), |addr| format!("{addr:#x}"));
        // Writing to a string does not fail.
        writeln!(
            out,
            "{}\t{}\t{}\t{}\t{}\t{}\t{since}\t{addr}\t{}",
            row.device,
            row.who.name(),
            row.who.liveness(),
            row.kind,
            row.bytes,
            row.references,
            row.caller
        )
        .unwrap_or_default();
    }
    out
}
