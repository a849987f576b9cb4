//! The events, in the format of `live`.

use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{
    cut,
    table::{put, top},
    titled,
};
use crate::{
    render::{Context, text},
    tui::{detail::context, history::Entry, lists, state::App, theme::Theme},
};

pub(super) fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let theme = app.theme;
    let entries: Vec<_> = lists::events(app).collect();
    let mut note = match &app.evidence {
        Some((number, ids)) => {
            format!("records of finding {number}: {} of {} kept", entries.len(), ids.len())
        }
        None if app.follow => format!("{}, following", entries.len()),
        None => format!("{} of {}, press end to follow", app.cursor() + 1, entries.len()),
    };
    let dropped = app.view_model.log.dropped;
    if dropped > 0 && app.evidence.is_none() {
        note = format!("{note}; {dropped} older ones dropped");
    }
    let inner = titled(frame, area, "Events", &note, theme);
    let height = usize::from(inner.height);
    let first = if app.follow {
        entries.len().saturating_sub(height)
    } else {
        top(app.cursor(), entries.len(), height)
    };
    let context = context(app);
    for (row, entry) in entries.iter().skip(first).take(height).enumerate() {
        let is_selected = first + row == app.cursor();
        line(frame, inner, row, entry, &context, theme);
        if is_selected {
            let sign = Line::from(Span::styled(theme.cursor(), theme.strong()));
            put(frame, Rect { width: 1, ..inner }, row, sign, None);
            put(frame, inner, row, Line::default(), Some(theme.selected()));
        }
    }
}

/// Draws the latest events, as many as fit.
pub(super) fn latest(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let theme = app.theme;
    let inner = titled(frame, area, "Events", "", theme);
    let height = usize::from(inner.height);
    let mut entries: Vec<_> = lists::events(app).rev().take(height).collect();
    entries.reverse();
    let context = context(app);
    for (row, entry) in entries.into_iter().enumerate() {
        line(frame, inner, row, entry, &context, theme);
    }
}

/// The widths of action and task.
const ACTION: usize = 15;
const WHO: usize = 18;

/// Draws an entry. The most important parts come first, since the end may be cut off.
fn line(frame: &mut Frame<'_>, area: Rect, row: usize, entry: &Entry, context: &Context<'_>, theme: Theme) {
    let width = usize::from(area.width);
    let (text, style) = match entry {
        Entry::Event(event) => {
            let time = context.clock.time_of_day(event.time_ns);
            let time = if width < 100 { time.get(..12).unwrap_or(&time) } else { &time };
            let device = event.device.map_or_else(|| "-".to_owned(), |device| device.to_string());
            let caller = event.caller.and_then(|caller| context.caller(caller));
            let caller = caller.map_or_else(String::new, |frame| frame.to_string());
            let (action, who) = (text::action(event.kind), text::who(event));
            let text =
                format!("{time} {device:12} {action:ACTION$} {who:WHO$} {}  {caller}", text::detail(event));
            let style = if text::is_teardown(event.kind) { theme.teardown() } else { Style::new() };
            (text, if event.failed { theme.warning() } else { style })
        }
        Entry::Loss(loss) => {
            (text::loss(loss, &context.clock, text::Style::default()).trim_end().to_owned(), theme.alarm())
        }
    };
    let shown = cut(&theme.text(format!(" {}", text.trim_end())), width, theme);
    put(frame, area, row, Line::from(Span::styled(shown, style)), None);
}
