//! The findings, newest first, and below them the one under the cursor in full.

use p2p_trace_model::{
    event::Symbolize as _,
    holders::Holder,
    rules::{Finding, Severity},
    units::{bytes, duration},
};
use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{
    cut,
    table::{Cell, Column, Table, flexible, left, put, right},
    titled,
};
use crate::{
    render::{self, text::wrap},
    tui::{
        lists,
        order::{self, Order},
        state::{App, View},
        theme::Theme,
    },
};

const COLUMNS: [Column; order::FINDINGS.len()] = [
    right("NO", 5),
    left("SEVERITY", 8),
    left("RULE", 9),
    left("DEVICE", 7),
    left("BEGAN", 4),
    left("STATE", 8),
    flexible("MESSAGE", 20, 6),
];

/// The width of the labels.
const LABEL: usize = 12;

pub(super) fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let count = lists::count(app, View::Findings);
    let height = (count + 2).min(usize::from(area.height) / 3).max(4) as u16;
    let (above, below) = super::overview::split(area, height);
    table(app, frame, above, true);
    if let Some(&finding) = lists::findings(app).get(app.cursor()) {
        full(app, finding, frame, below);
    }
}

pub(super) fn table(app: &App, frame: &mut Frame<'_>, area: Rect, has_cursor: bool) {
    let theme = app.theme;
    let findings = lists::findings(app);
    let omitted = app.view_model.findings_omitted;
    let is_newest_first = app.order_of(View::Findings) == Order::default();
    let (first, between) = if is_newest_first { ("newest first", "; ") } else { ("", "") };
    let note = match (findings.len(), omitted) {
        (0, _) if app.view_model.findings.is_empty() => "none".to_owned(),
        (0, _) => "no finding matches the filter".to_owned(),
        (_, 0) => first.to_owned(),
        (_, more) => format!("{first}{between}{more} more (only counted)"),
    };
    let inner = titled(frame, area, "Findings", &note, theme);
    if findings.is_empty() {
        return;
    }
    let table = Table {
        columns: &COLUMNS,
        order: app.order_of(View::Findings).shown().filter(|_| has_cursor),
        selected: has_cursor.then(|| app.cursor()),
    };
    table.draw(frame, inner, theme, &findings, |finding| cells(app, finding, theme));
}

const fn paint(severity: Severity, theme: Theme) -> Style {
    match severity {
        Severity::Medium => theme.warning(),
        Severity::High | Severity::Critical => theme.alarm(),
    }
}

fn state(app: &App, finding: &Finding) -> String {
    let lasted = |end_ns: u64| duration(end_ns.saturating_sub(finding.start_ns));
    match finding.end_ns {
        _ if finding.withdrawn.is_some() => "withdrawn".to_owned(),
        None => format!("for {}", lasted(app.view_model.now_ns)),
        Some(_) if finding.occurrences > 1 => format!("{} times", finding.occurrences),
        Some(end_ns) if end_ns > finding.start_ns => format!("ended, {}", lasted(end_ns)),
        Some(_) => "once".to_owned(),
    }
}

fn cells(app: &App, finding: &Finding, theme: Theme) -> Vec<Cell> {
    let plain = Style::new();
    let began = app.view_model.clock.time_of_day(finding.start_ns);
    vec![
        (finding.number.to_string(), plain),
        (finding.severity.name().to_owned(), paint(finding.severity, theme)),
        (finding.rule.name().to_owned(), theme.strong()),
        (finding.device.to_string(), plain),
        (began.get(..12).unwrap_or(&began).to_owned(), plain),
        (state(app, finding), if finding.is_closed() { plain } else { theme.alarm() }),
        (finding.message.clone(), plain),
    ]
}

fn full(app: &App, finding: &Finding, frame: &mut Frame<'_>, area: Rect) {
    let theme = app.theme;
    let title = format!("Finding {}: {}", finding.number, finding.rule.name());
    let note = format!("{}; enter shows its {} records", state(app, finding), finding.evidence.len());
    let inner = titled(frame, area, &title, &note, theme);
    let room = usize::from(inner.width).saturating_sub(LABEL + 3);
    let mut row = 0;
    let mut labelled = |label: &str, text: &str, style: Style| {
        for (at, part) in wrap(text, room).into_iter().enumerate() {
            let label = if at == 0 { label } else { "" };
            let part = cut(&theme.text(part), room, theme);
            let spans =
                vec![Span::styled(format!("  {label:<LABEL$}"), theme.dim()), Span::styled(part, style)];
            put(frame, inner, row, Line::from(spans), None);
            row += 1;
        }
    };
    labelled("message", &finding.message, paint(finding.severity, theme));
    if let Some(reason) = &finding.withdrawn {
        labelled("withdrawn", reason, theme.strong());
    }
    for holder in finding.holders.iter().take(4) {
        labelled("held by", &allocated(app, holder), theme.strong());
    }
    let more = finding.holders.len().saturating_sub(4) as u64 + finding.holders_omitted;
    if more > 0 {
        labelled("", &format!("and {more} more"), Style::new());
    }
    labelled("what to do", finding.advice, Style::new());
    let records: Vec<_> = finding.evidence.iter().map(ToString::to_string).collect();
    labelled("shown by", &records.join(", "), theme.dim());
    for (at, &frame) in finding.stack.iter().enumerate() {
        let name = render::Frame::of(frame, &app.view_model.names).to_string();
        labelled(if at == 0 { "stack" } else { "" }, &name, theme.dim());
    }
}

fn allocated(app: &App, holder: &Holder) -> String {
    let by = holder
        .task
        .map_or_else(|| "an unknown task".to_owned(), |task| format!("{}[{}]", task.name(), task.tgid));
    let age = duration(app.view_model.now_ns.saturating_sub(holder.since_ns));
    let mut text = format!("{by}: {} ({}), allocated {age} ago", bytes(holder.bytes), holder.kind);
    if let Some(caller) = holder.caller.and_then(|caller| app.view_model.names.symbolize(caller)) {
        text = format!("{text} from {caller}");
    }
    if holder.exited_since_ns.is_some() {
        text.push_str(", process exited");
    }
    text
}
