//! The detail pane: all facts about one item.

use p2p_trace_model::{
    rules::Verdict,
    units::{bytes, duration},
};

use super::{
    history::Entry,
    lists,
    state::{App, View},
    view_model::{Holder, Row},
};
use crate::render::{
    Context, Frame,
    json::{EventLine, Line, LostLine},
    words::counted,
};

/// A pane of text in front of the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Detail {
    /// The heading.
    pub(crate) title: String,
    pub(crate) lines: Vec<String>,
    /// The index of the first shown line.
    pub(crate) top: usize,
}

impl Detail {
    /// Scrolls by this many lines.
    pub(crate) fn scroll(&mut self, by: isize) {
        let last = self.lines.len().saturating_sub(1);
        self.top = self.top.saturating_add_signed(by).min(last);
    }
}

/// The details of the item under the cursor.
pub(crate) fn of(app: &App) -> Option<Detail> {
    let index = app.cursor();
    match app.view {
        View::Allocated => lists::rows(app).get(index).map(|row| of_row(app, row)),
        View::Events => lists::events(app).nth(index).and_then(|entry| of_entry(app, entry)),
        View::Rules => lists::verdicts(app).get(index).map(|verdict| of_verdict(verdict)),
        View::Overview | View::Teardowns | View::Findings | View::Rates => None,
    }
}

fn of_row(app: &App, row: &Row) -> Detail {
    let view_model = &app.view_model;
    let mut lines = Vec::new();
    let mut line = |label: &str, text: String| lines.push(format!("{label:<13}{text}"));
    let state = match &row.holder {
        Holder::Task(_, false) => ", alive (as far as known)",
        Holder::Task(_, true) => ", exited",
        Holder::Several(_) | Holder::Unknown | Holder::Preexisting => "",
    };
    line("held by", format!("{}{state}", row.holder.name()));
    if let Holder::Task(task, _) = row.holder
        && task.pid != task.tgid
    {
        line("thread", task.pid.to_string());
    }
    if let Some(cgroup) = row.cgroup {
        line("cgroup", format!("id {cgroup}"));
    }
    line("device", row.device.to_string());
    line("kind", row.kind.to_owned());
    line("memory", format!("{} ({} bytes) in {}", bytes(row.bytes), row.bytes, counted(row.count, "piece")));
    line("references", row.references.to_string());
    if let Some(addr) = row.addr {
        line("address", format!("{addr:#x}"));
    }
    match row.oldest_ns {
        Some(oldest_ns) => {
            let age = duration(view_model.now_ns.saturating_sub(oldest_ns));
            line("since", format!("{}, {age} ago", view_model.clock.time_of_day(oldest_ns)));
        }
        None => line("since", "before tracing, or while records were lost".to_owned()),
    }
    if let Some(record) = row.record {
        line("record", record.to_string());
    }
    if !row.caller.is_empty() {
        line("called from", row.caller.clone());
    }
    if row.unsure {
        line("uncertain", "records were lost since: the holder may have changed".to_owned());
    }
    for (at, &frame) in row.stack.iter().enumerate() {
        let name = Frame::of(frame, &view_model.names).to_string();
        line(if at == 0 { "stack" } else { "" }, name);
    }
    if row.stack.is_empty() && matches!(row.holder, Holder::Task(..)) {
        line("stack", "not captured (use --stacks)".to_owned());
    }
    lines.push(String::new());
    lines.push("Who allocated the memory was observed; who uses or pins it now was not.".to_owned());
    Detail { title: "Allocated".to_owned(), lines, top: 0 }
}

fn of_entry(app: &App, entry: &Entry) -> Option<Detail> {
    let context = context(app);
    let line = match entry {
        Entry::Event(event) => Line::Event(Box::new(EventLine::new(event, &context))),
        Entry::Loss(loss) => Line::Lost(LostLine::new(loss, &app.view_model.clock)),
    };
    let json = serde_json::to_string_pretty(&line).ok()?;
    Some(Detail { title: "Event".to_owned(), lines: json.lines().map(str::to_owned).collect(), top: 0 })
}

fn of_verdict(verdict: &Verdict) -> Detail {
    let spec = verdict.rule.spec();
    let mut lines = vec![
        format!("{:<13}{}", "rule", spec.name),
        format!("{:<13}{}", "violated if", spec.title),
        format!("{:<13}{}", "severity", spec.severity.name()),
        format!("{:<13}{}", "device", verdict.device),
        format!("{:<13}{}", "answer", verdict.answer.name()),
        format!("{:<13}{}", "findings", verdict.findings),
    ];
    for (at, reason) in verdict.reasons.iter().enumerate() {
        lines.push(format!("{:<13}{reason}", if at == 0 { "because" } else { "" }));
    }
    let names = |hooks: &[p2p_trace_common::Hook]| {
        let names: Vec<_> = hooks.iter().map(|hook| hook.name()).collect();
        names.join(" or ")
    };
    let needs: Vec<_> = spec.needs.iter().map(|group| names(group)).collect();
    lines.push(format!("{:<13}{}", "needs", needs.join(", ")));
    Detail { title: "Rule".to_owned(), lines, top: 0 }
}

/// The context for rendering events.
pub(crate) fn context(app: &App) -> Context<'_> {
    Context::new(app.view_model.clock, &app.view_model.status, &app.view_model.names)
}
