//! The header, which is always shown: tabs, overall answer, current activity, and the coverage behind the answer.

use p2p_trace_model::{
    accounting::{HookState, Status},
    event::Method,
    units::duration,
};
use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{cut, table::put};
use crate::tui::{
    state::{App, View},
    view_model::{Level, Now, ViewModel},
};

pub(super) fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let width = usize::from(area.width);
    put(frame, area, 0, tabs(app, width), None);
    let (theme, headline) = (app.theme, &app.view_model.headline);
    let (badge, style): (_, Style) = match headline.level {
        Level::Fine => (Level::Fine.name(), theme.good()),
        Level::Blocked => (Level::Blocked.name(), theme.warning()),
        Level::Inconclusive => (Level::Inconclusive.name(), theme.warning()),
        Level::Violated => (Level::Violated.name(), theme.badge()),
    };
    put(frame, area, 1, sentence(app, badge, style, &headline.reason, width), None);
    let (badge, style) = match headline.now {
        Now::Calm => ("", theme.dim()),
        Now::Teardown => ("UNBINDING", theme.teardown()),
        Now::Blocked => ("BLOCKED", theme.badge()),
    };
    put(frame, area, 2, sentence(app, badge, style, &headline.activity, width), None);
    put(frame, area, 3, coverage(app, width), None);
}

fn sentence(app: &App, badge: &'static str, style: Style, text: &str, width: usize) -> Line<'static> {
    let theme = app.theme;
    let mut spans = Vec::new();
    if !badge.is_empty() {
        spans.push(Span::styled(format!(" {badge} "), style));
    }
    let room = width.saturating_sub(badge.len() + 3);
    let text = cut(&theme.text(text.to_owned()), room, theme);
    let style = if badge.is_empty() { theme.dim() } else { Style::new() };
    spans.push(Span::styled(format!(" {text}"), style));
    Line::from(spans)
}

fn tabs(app: &App, width: usize) -> Line<'static> {
    let theme = app.theme;
    let clock = clock(app);
    let name = if width >= 110 { " p2p-trace " } else { "" };
    let mut spans = vec![Span::styled(name, theme.strong())];
    for (at, view) in View::ALL.into_iter().enumerate() {
        let style = if view == app.view {
            theme.strong().add_modifier(ratatui::style::Modifier::REVERSED)
        } else {
            Style::new()
        };
        let count = match view {
            View::Findings if !app.view_model.findings.is_empty() => {
                format!("({})", app.view_model.findings.len())
            }
            _ => String::new(),
        };
        let space = if width >= 110 { " " } else { "" };
        spans.push(Span::styled(format!("{space}{}{space}{}{count}{space}", at + 1, view.name()), style));
        spans.push(Span::raw(" "));
    }
    let used: usize = spans.iter().map(Span::width).sum();
    let room = width.saturating_sub(used);
    let clock = cut(&clock, room, theme);
    spans.push(Span::raw(" ".repeat(room.saturating_sub(clock.chars().count()))));
    let style = if app.paused || app.ending { theme.warning() } else { theme.dim() };
    spans.push(Span::styled(clock, style));
    Line::from(spans)
}

/// The time of the shown view model, and whether it is behind.
fn clock(app: &App) -> String {
    let time = app.view_model.clock.time_of_day(app.view_model.now_ns);
    let short = time.get(..8).unwrap_or(&time);
    if app.ending {
        format!("{short} ending")
    } else if app.paused {
        format!("{short} PAUSED {}", duration(app.behind_ns()))
    } else if app.is_replay() {
        time.get(..12).unwrap_or(&time).to_owned()
    } else {
        short.to_owned()
    }
}

fn coverage(app: &App, width: usize) -> Line<'static> {
    let theme = app.theme;
    let ViewModel { status, traffic, headline, .. } = app.view_model.as_ref();
    let lost = format!("{} lost", traffic.lost);
    let missed =
        traffic.missed.map_or_else(|| "missed: unknown".to_owned(), |missed| format!("{missed} missed"));
    let failed = count(status, HookState::Failed);
    let missing = app.view_model.playback.as_ref().map_or(0, |playback| playback.missing.len());
    let dump = match missing {
        0 => None,
        _ => Some(("dump incomplete (press 7)".to_owned(), theme.alarm())),
    };
    let parts = [
        (hooks(status), if failed > 0 { theme.warning() } else { theme.dim() }),
        (format!("{} events/s", traffic.per_second), theme.dim()),
        (lost, if traffic.lost > 0 { theme.alarm() } else { theme.dim() }),
        (missed, if traffic.missed == Some(0) { theme.dim() } else { theme.warning() }),
        (format!("{} of {} rules", headline.checked, headline.rules), theme.dim()),
        (format!("Linux {}", status.kernel), theme.dim()),
    ];
    let mut spans = vec![Span::raw(" ")];
    let mut used = 1;
    for (at, (text, style)) in dump.into_iter().chain(parts).enumerate() {
        let gap = if at == 0 { "" } else { theme.dot() };
        used += text.chars().count() + gap.chars().count();
        if used > width {
            break;
        }
        spans.push(Span::styled(gap, theme.dim()));
        spans.push(Span::styled(text, style));
    }
    Line::from(spans)
}

fn count(status: &Status, state: HookState) -> usize {
    status.hooks.iter().filter(|hook| hook.state == state).count()
}

/// `26 of 31 hooks (26 fentry, 5 armed)`.
fn hooks(status: &Status) -> String {
    let by = |method: Method| {
        let is_by = |hook: &&p2p_trace_model::accounting::HookStatus| {
            hook.state == HookState::Attached && hook.method == Some(method)
        };
        (status.hooks.iter().filter(is_by).count(), method.name())
    };
    let (attached, armed, failed) = (
        count(status, HookState::Attached),
        count(status, HookState::Armed),
        count(status, HookState::Failed),
    );
    let how: Vec<_> = [by(Method::Fentry), by(Method::Kprobe), (armed, "armed"), (failed, "FAILED")]
        .into_iter()
        .filter(|&(count, _)| count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    let asked = status.hooks.len() - count(status, HookState::Absent);
    format!("{attached} of {asked} hooks ({})", how.join(", "))
}

#[cfg(test)]
mod tests {
    use crate::tui::{
        samples::{self, SECOND},
        state::View,
        tests::screen,
    };

    #[test]
    fn counts_skipped_records_as_lost() {
        let mut story = samples::empty();
        story.skip(4 * SECOND);
        let mut app = story.app();
        app.view = View::Events;
        let shown = screen(&app, (160, 30));
        assert!(shown.contains("· 1 lost · 1 missed ·"), "{shown}");
        assert!(shown.contains("LOST 1 record of the rare ring, CPU unknown"), "{shown}");
    }
}
