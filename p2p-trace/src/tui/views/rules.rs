//! What every rule comes to now, and what the hooks see.

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
    flexible("BECAUSE", 20, 5),
];

pub(super) fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let theme = app.theme;
    let hooks = blind(app);
    let lacks: Vec<_> =
        app.view_model.playback.iter().flat_map(|playback| playback.lacks.iter().cloned()).collect();
    let height = |lines: &[String]| match lines.len() {
        0 => 0,
        count => count.min(6) as u16 + 1,
    };
    let rest = area.height.saturating_sub(height(&hooks) + height(&lacks));
    let (above, below) = super::overview::split(area, rest);
    let (of_dump, of_hooks) = super::overview::split(below, height(&lacks));
    let verdicts = lists::verdicts(app);
    let note = match (verdicts.is_empty(), app.view_model.verdicts.is_empty()) {
        (_, true) => "no device with p2p memory seen yet: nothing to judge",
        (true, false) => "none matches the filter",
        (false, false) => "as of now; enter says what a rule is about",
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
    warnings(app, frame, of_dump, "Missing of the dump", &lacks);
    warnings(app, frame, of_hooks, "Hooks that see nothing", &hooks);
}

/// The hooks that were asked for and see nothing.
fn blind(app: &App) -> Vec<String> {
    let is_blind = |hook: &&HookStatus| {
        hook.state == HookState::Failed || hook.state == HookState::Absent && hook.required
    };
    let tell = |hook: &HookStatus| {
        let why = hook.error.as_deref().unwrap_or("not in this kernel");
        format!("{}: {why}; without it: {}", hook.hook.name(), hook.lost_without)
    };
    app.view_model.status.hooks.iter().filter(is_blind).map(tell).collect()
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
        Answer::Holds if !verdict.reasons.is_empty() => "holds in part",
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
