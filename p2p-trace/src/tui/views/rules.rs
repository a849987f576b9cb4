//! What every rule comes to now, and what the hooks see.

use ratatui::{Frame, layout::Rect, style::Style};

use super::{
    table::{Cell, Column, Table, flexible, left, put, right},
    titled,
};
use crate::{
    account::HookState,
    rules::{Answer, Verdict},
    tui::{lists, state::App, theme::Theme},
};

const COLUMNS: [Column; 6] = [
    left("RULE", 9),
    left("ANSWER", 8),
    left("DEVICE", 6),
    left("SEVERITY", 3),
    right("FINDINGS", 4),
    flexible("BECAUSE", 20, 5),
];

/// The view.
pub(super) fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let theme = app.theme;
    let hooks: Vec<_> = app
        .snapshot
        .status
        .hooks
        .iter()
        .filter(|hook| hook.state == HookState::Failed || hook.state == HookState::Absent && hook.required)
        .collect();
    let verdicts = lists::verdicts(app);
    let height = if hooks.is_empty() {
        0
    } else {
        hooks.len().min(6) + 1
    };
    let (above, below) = super::overview::split(area, area.height.saturating_sub(height as u16));
    let note = if verdicts.is_empty() {
        "no device with p2p memory seen yet: nothing to judge"
    } else {
        "as of now; enter says what a rule is about"
    };
    let inner = titled(frame, above, "Rules", note, theme);
    if !verdicts.is_empty() {
        let table = Table {
            columns: &COLUMNS,
            order: None,
            count: verdicts.len(),
            selected: Some(app.cursor()),
        };
        table.draw(frame, inner, theme, |at| {
            verdicts
                .get(at)
                .map_or_else(Vec::new, |verdict| cells(verdict, theme))
        });
    }
    if hooks.is_empty() {
        return;
    }
    let inner = titled(frame, below, "Hooks that see nothing", "", theme);
    for (row, hook) in hooks.into_iter().enumerate() {
        let why = hook.error.as_deref().unwrap_or("not in this kernel");
        let text = format!("  {}: {why}; without it: {}", hook.hook.name(), hook.lost_without);
        let text = super::cut(&theme.text(text), usize::from(inner.width), theme);
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
