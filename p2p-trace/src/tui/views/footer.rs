//! The footer: the input line, a message, or the active keys. In a replay, there is a scrubber above it.

use p2p_trace_model::units::duration;
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use super::{cut, table::put};
use crate::tui::{
    keymap::BINDINGS,
    state::{App, Prompt},
    view_model::Playback,
};

/// The number of lines of the footer.
pub(super) fn height(app: &App) -> u16 {
    if app.is_replay() { 2 } else { 1 }
}

pub(super) fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let width = usize::from(area.width);
    if let Some(playback) = &app.view_model.playback {
        put(frame, area, 0, scrubber(app, playback, width), None);
    }
    let last = usize::from(area.height) - 1;
    let line = match &app.prompt {
        Some(Prompt::Filter(text)) => typed(app, "filter: ", text, width),
        Some(Prompt::Time(text)) => typed(app, "go to time: ", text, width),
        None => message_or_keys(app, width),
    };
    put(frame, area, last, line, None);
}

fn typed(app: &App, label: &'static str, text: &str, width: usize) -> Line<'static> {
    let theme = app.theme;
    let room = width.saturating_sub(label.len() + 2);
    let length = text.chars().count();
    // Show the end, where the user types.
    let shown: String = text.chars().skip(length.saturating_sub(room)).collect();
    Line::from(vec![
        Span::styled(format!(" {label}"), theme.strong()),
        Span::raw(shown),
        Span::styled(" ", theme.strong().add_modifier(ratatui::style::Modifier::REVERSED)),
    ])
}

/// The filter, followed by the message, or by the active keys.
fn message_or_keys(app: &App, width: usize) -> Line<'static> {
    let theme = app.theme;
    let mut spans = Vec::new();
    let mut used = 0;
    if !app.query.filter.is_empty() {
        let text = format!(" filter: {} ", app.query.filter.text());
        let text = cut(&text, width / 3, theme);
        used += text.chars().count();
        spans.push(Span::styled(text, theme.warning()));
    }
    if let Some(message) = &app.message {
        let text = cut(&format!(" {message}"), width.saturating_sub(used), theme);
        spans.push(Span::styled(text, theme.strong()));
        return Line::from(spans);
    }
    let shown = BINDINGS.iter().filter(|binding| !binding.short.is_empty() && binding.works(app));
    for binding in shown {
        used += binding.shown.len() + binding.short.len() + 3;
        if used > width {
            break;
        }
        spans.push(Span::styled(format!(" {}", binding.shown), theme.strong()));
        spans.push(Span::styled(format!(" {} ", binding.short), theme.dim()));
    }
    Line::from(spans)
}

fn scrubber(app: &App, playback: &Playback, width: usize) -> Line<'static> {
    let theme = app.theme;
    let now_ns = app.view_model.now_ns.clamp(playback.start_ns, playback.end_ns);
    let (elapsed, total) = (now_ns - playback.start_ns, playback.end_ns.saturating_sub(playback.start_ns));
    let state = match (playback.playing, elapsed >= total) {
        (_, true) => "end",
        (true, false) => "playing",
        (false, false) => "stopped",
    };
    let speed = match playback.speed {
        100 => String::new(),
        speed if speed % 100 == 0 => format!(" x{}", speed / 100),
        speed => format!(" x{}", f64::from(speed) / 100.0),
    };
    let run = match playback.runs {
        0 | 1 => String::new(),
        runs => format!(" run {} of {runs}:", playback.run + 1),
    };
    let left = format!("{run} {state}{speed} +{} ", duration(elapsed));
    let right = format!(" {} ", duration(total));
    let room = width.saturating_sub(left.chars().count() + right.chars().count());
    let at =
        if total == 0 { room } else { (u128::from(elapsed) * room as u128 / u128::from(total)) as usize };
    let (done, rest) = (at.min(room.saturating_sub(1)), room.saturating_sub(at + 1));
    Line::from(vec![
        Span::styled(theme.text(left), theme.strong()),
        Span::styled(if theme.ascii { "=" } else { "━" }.repeat(done), theme.bar()),
        Span::styled(if theme.ascii { "O" } else { "●" }, theme.strong()),
        Span::styled(theme.rule().repeat(rest), theme.dim()),
        Span::styled(theme.text(right), theme.dim()),
    ])
}
