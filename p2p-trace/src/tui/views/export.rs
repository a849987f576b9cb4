//! Exports views to files.

use std::fmt::Write as _;

use p2p_trace_model::units::bytes;

use super::as_text;
use crate::{
    render::{
        json::{Envelope, EventLine, FindingLine, Line, LostLine, Timed},
        text,
    },
    tui::{
        detail::context,
        history::Entry,
        lists,
        state::{App, View},
    },
};

/// The contents of the view for a file: the topic for the file name, and the text.
pub(crate) fn export(app: &App) -> (&'static str, String) {
    let context = context(app);
    let envelope = Envelope::new(None, &app.view_model.status).to_bytes();
    let json = |line: &Line| {
        let mut out = Vec::new();
        // Serializing to memory does not fail.
        envelope.write(&mut out, line).unwrap_or_default();
        String::from_utf8(out).unwrap_or_default()
    };
    match app.view {
        View::Events => {
            let mut output = String::new();
            for entry in lists::events(app) {
                let line = match entry {
                    Entry::Event(event) => Line::Event(Box::new(EventLine::new(event, &context))),
                    Entry::Loss(loss) => Line::Lost(LostLine::new(loss, &app.view_model.clock)),
                };
                output.push_str(&json(&line));
                output.push('\n');
            }
            ("events", output)
        }
        View::Findings => {
            let line = |finding: &&std::sync::Arc<p2p_trace_model::rules::Finding>| {
                let line = FindingLine::new(finding, &context);
                let line = Timed::new(line, app.view_model.now_ns, &app.view_model.clock);
                let mut line = json(&Line::Finding(Box::new(line)));
                line.push('\n');
                line
            };
            ("findings", lists::findings(app).iter().map(line).collect())
        }
        View::Rules => ("rules", text::verdicts(&app.view_model.verdicts, text::Style::default())),
        View::Allocated => ("allocated", allocated(app)),
        View::Overview | View::Teardowns | View::Rates => ("screen", as_text(app)),
    }
}

/// The table of holders: one line per row, with all fields.
fn allocated(app: &App) -> String {
    let holders = &app.view_model.holders;
    let mut output = format!(
        "# as of {}; {} references, {}; {} rows omitted\n\
         device\theld by\tprocess\tkind\tbytes\treferences\tsince\taddress\tcaller\n",
        app.view_model.clock.rfc3339(holders.as_of_ns),
        holders.total.0,
        bytes(holders.total.1),
        holders.omitted
    );
    for row in lists::rows(app) {
        let since = row.oldest_ns.map_or_else(|| "unknown".to_owned(), |ns| app.view_model.clock.rfc3339(ns));
        let addr = row.addr.map_or_else(|| "-".to_owned(), |addr| format!("{addr:#x}"));
        // Writing to a string does not fail.
        writeln!(
            output,
            "{}\t{}\t{}\t{}\t{}\t{}\t{since}\t{addr}\t{}",
            row.device,
            row.holder.name(),
            row.holder.liveness(),
            row.kind,
            row.bytes,
            row.references,
            row.caller
        )
        .unwrap_or_default();
    }
    output
}
