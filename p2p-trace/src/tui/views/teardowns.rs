//! Teardowns: their steps compared with the required order.

use p2p_trace_model::{event::Task, state::Ended, units::duration};
use ratatui::{Frame, layout::Rect, style::Style};

use super::{
    table::{Cell, Column, Table, flexible, left, right, top},
    titled,
};
use crate::tui::{
    lists, order,
    state::{App, View},
    theme::Theme,
    view_model::{Line, Mark, Timeline},
};

const LIST: [Column; order::TEARDOWNS.len()] = [
    left("DEVICE", 9),
    left("BEGAN", 6),
    right("LASTED", 7),
    left("STATE", 9),
    left("ORDER", 8),
    flexible("BY", 8, 5),
];

const STEPS: [Column; 5] =
    [left("", 9), left("STEP", 9), right("AFTER", 8), left("TIME", 5), flexible("BY", 20, 7)];

/// Draws the view: the teardowns, and below them the steps of the one under the cursor.
pub(super) fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let theme = app.theme;
    let timelines = lists::teardowns(app);
    let height = (timelines.len() + 2).min(usize::from(area.height) / 3).max(3) as u16;
    let (above, below) = super::overview::split(area, height);
    let note = match (timelines.is_empty(), app.view_model.teardowns.is_empty()) {
        (_, true) => "none seen yet",
        (true, false) => "no teardown matches the filter",
        (false, false) => "",
    };
    let inner = titled(frame, above, "Teardowns", note, theme);
    if timelines.is_empty() {
        return;
    }
    let table =
        Table { columns: &LIST, order: app.order_of(View::Teardowns).shown(), selected: Some(app.cursor()) };
    table.draw(frame, inner, theme, &timelines, |timeline| row(app, timeline, theme));
    if let Some(timeline) = timelines.get(app.cursor()) {
        steps(app, timeline, frame, below);
    }
}

fn by(task: Option<&Task>) -> String {
    task.map_or_else(|| "-".to_owned(), |task| format!("{}[{}]", task.name(), task.tgid))
}

fn row(app: &App, timeline: &Timeline, theme: Theme) -> Vec<Cell> {
    let plain = Style::new();
    let now_ns = app.view_model.now_ns;
    let end_ns = timeline.ended.map_or(now_ns, |(_, end_ns)| end_ns);
    let (state, style) = state(timeline, theme);
    let (order, order_style) = match (timeline.wrong, timeline.incomplete, timeline.ended.is_some()) {
        (true, ..) => ("WRONG", theme.alarm()),
        (false, true, _) => ("incomplete", theme.warning()),
        (false, false, true) => ("in order", theme.good()),
        (false, false, false) => ("in order so far", theme.good()),
    };
    vec![
        (timeline.device.to_string(), theme.strong()),
        (time(app, timeline.started_ns), plain),
        (duration(end_ns.saturating_sub(timeline.started_ns)), plain),
        (state.to_owned(), style),
        (order.to_owned(), order_style),
        (by(timeline.task.as_ref()), plain),
    ]
}

const fn state(timeline: &Timeline, theme: Theme) -> (&'static str, Style) {
    match (&timeline.ended, &timeline.pending) {
        (Some((Ended::Released, _)), _) => ("released", Style::new()),
        (Some((Ended::Unbound, _)), _) => ("unbound", Style::new()),
        (Some((Ended::Unseen, _)), _) => ("end not observed", theme.warning()),
        (None, Some(pending)) if pending.blocked => ("BLOCKED", theme.alarm()),
        (None, _) => ("under way", theme.teardown()),
    }
}

fn time(app: &App, time_ns: u64) -> String {
    let time = app.view_model.clock.time_of_day(time_ns);
    time.get(..12).unwrap_or(&time).to_owned()
}

/// The number of lines that the steps need.
pub(super) const fn height(timeline: &Timeline) -> usize {
    timeline.lines.len() + 2
}

/// Draws the steps of a teardown. The step it waits for is visible.
pub(super) fn steps(app: &App, timeline: &Timeline, frame: &mut Frame<'_>, area: Rect) {
    let theme = app.theme;
    let (state, _) = state(timeline, theme);
    let title = format!("Teardown of {}", timeline.device);
    let lasted = timeline.ended.map_or(app.view_model.now_ns, |(_, end_ns)| end_ns);
    let lasted = duration(lasted.saturating_sub(timeline.started_ns));
    let how = if timeline.ended.is_some() { "in" } else { "for" };
    let mut note = format!("by {}, {state} {how} {lasted}", by(timeline.task.as_ref()));
    if timeline.wrong {
        note = format!("WRONG ORDER, {note}");
    }
    if timeline.incomplete {
        note = format!("{note}; some steps were not seen");
    }
    if timeline.omitted > 0 {
        note = format!("{note}; {} more steps", timeline.omitted);
    }
    let inner = titled(frame, area, &title, &note, theme);
    let lines = &timeline.lines;
    let waits = lines.iter().position(|line| line.mark == Mark::Waits);
    let at = waits.unwrap_or_else(|| lines.len().saturating_sub(1));
    let height = usize::from(inner.height).saturating_sub(1);
    // Only a few of the coming steps need to be visible.
    let first = match waits {
        Some(waits) if lines.len() > height => (waits + 4).min(lines.len()).saturating_sub(height),
        _ => top(at, lines.len(), height),
    };
    let table = Table { columns: &STEPS, order: None, selected: None };
    table.draw(frame, inner, theme, &lines[first..], |line| step(app, line, theme));
}

fn step(app: &App, line: &Line, theme: Theme) -> Vec<Cell> {
    let (sign, style) = match line.mark {
        Mark::Done => (theme.done(), if line.is_key { theme.teardown() } else { Style::new() }),
        Mark::Wrong => (theme.wrong(), theme.alarm()),
        Mark::Waits => (theme.waits(), theme.alarm()),
        Mark::Next => (theme.next(), theme.dim()),
    };
    let after = line.after_ns.map_or_else(String::new, duration);
    let waits = line.mark == Mark::Waits;
    let time = match line.time_ns {
        Some(time_ns) => time(app, time_ns),
        None if waits => "WAITING".to_owned(),
        None => String::new(),
    };
    let note = match line.mark {
        Mark::Wrong | Mark::Waits => style,
        Mark::Done => Style::new(),
        Mark::Next => theme.dim(),
    };
    let task = line.task.as_ref().map(|task| by(Some(task)));
    let notes: Vec<_> = task.into_iter().chain((!line.note.is_empty()).then(|| line.note.clone())).collect();
    vec![
        (sign.to_owned(), style),
        (line.name.to_owned(), style),
        (after, style),
        (time, if waits { style } else { Style::new() }),
        (notes.join(", "), note),
    ]
}
