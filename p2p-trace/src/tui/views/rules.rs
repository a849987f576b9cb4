//! The verdict of every rule as of now, and hooks that are not attached.

use p2p_trace_model::{
    accounting::{HookState, HookStatus},
    rules::{Answer, Verdict},
};
use ratatui::{Frame, layout::Rect, style::Style};

use super::{
    table::{Cell, Column, Table, flexible, left, put, right},
    titled,
};
use crate::tui::{
    lists, order,
    state::{App, View},
    theme::Theme,
};

const COLUMNS: [Column; order::RULES.len()] = [
    left("RULE", 9),
    left("ANSWER", 8),
    left("DEVICE", 6),
    left("SEVERITY", 3),
    right("FINDINGS", 4),
    flexible("REASON", 12, 5),
];

pub(super) fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let theme = app.theme;
    let hooks = unattached(app);
    let missing: Vec<_> =
        app.view_model.playback.iter().flat_map(|playback| playback.missing.iter().cloned()).collect();
    let height = |lines: &[String]| match lines.len() {
        0 => 0,
        count => count.min(6) as u16 + 1,
    };
    let rest = area.height.saturating_sub(height(&hooks) + height(&missing));
    let (above, below) = super::overview::split(area, rest);
    let (of_dump, of_hooks) = super::overview::split(below, height(&missing));
    let verdicts = lists::verdicts(app);
    let note = match (verdicts.is_empty(), app.view_model.verdicts.is_empty()) {
        (_, true) => "no device with p2p memory seen yet",
        (true, false) => "no rule matches the filter",
        (false, false) => "as of now; enter explains a rule",
    };
    let inner = titled(frame, above, "Rules", note, theme);
    if !verdicts.is_empty() {
        let table = Table {
            columns: &COLUMNS,
            order: app.order_of(View::Rules).shown(),
            selected: Some(app.cursor()),
        };
        table.draw(frame, inner, theme, &verdicts, |verdict| cells(verdict, theme));
    }
    warnings(app, frame, of_dump, "Missing from the dump", &missing);
    warnings(app, frame, of_hooks, "Hooks that are not attached", &hooks);
}

/// The hooks that failed to attach, and the required ones that this kernel does not have.
fn unattached(app: &App) -> Vec<String> {
    let is_unattached = |hook: &&HookStatus| {
        hook.state == HookState::Failed || hook.state == HookState::Absent && hook.required
    };
    let describe = |hook: &HookStatus| {
        let reason = hook.error.as_deref().unwrap_or("not in this kernel");
        format!("{}: {reason}; without it: {}", hook.hook.name(), hook.lost_without)
    };
    app.view_model.status.hooks.iter().filter(is_unattached).map(describe).collect()
}

fn warnings(app: &App, frame: &mut Frame<'_>, area: Rect, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let theme = app.theme;
    let inner = titled(frame, area, title, "", theme);
    let hidden = lines.len().saturating_sub(usize::from(inner.height));
    for (row, line) in lines.iter().enumerate() {
        let more = match hidden {
            0 => String::new(),
            _ if row + 1 < usize::from(inner.height) => String::new(),
            hidden => format!(" (and {hidden} more)"),
        };
        let text = super::cut(&theme.text(format!("  {line}{more}")), usize::from(inner.width), theme);
        put(frame, inner, row, text.into(), Some(theme.warning()));
    }
}

fn cells(verdict: &Verdict, theme: Theme) -> Vec<Cell> {
    let plain = Style::new();
    let style = match verdict.answer {
        Answer::Violated => theme.alarm(),
        Answer::Inconclusive => theme.warning(),
        Answer::Holds => theme.good(),
        Answer::NotChecked => theme.dim(),
    };
    let answer = match verdict.answer {
        Answer::Violated => "VIOLATED",
        Answer::Holds if !verdict.reasons.is_empty() => "holds (partial coverage)",
        answer => answer.name(),
    };
    vec![
        (verdict.rule.name().to_owned(), theme.strong()),
        (answer.to_owned(), style),
        (verdict.device.to_string(), plain),
        (verdict.rule.spec().severity.name().to_owned(), plain),
        (verdict.findings.to_string(), plain),
        (verdict.reasons.join(", "), theme.dim()),
    ]
}
