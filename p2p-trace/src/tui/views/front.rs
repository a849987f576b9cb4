//! Panes in front of a view: the help, and the details of an item.

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Clear,
};

use super::{cut, table::put, titled};
use crate::{
    render::text::wrap,
    tui::{detail::Detail, keymap::BINDINGS, state::App},
};

/// The width of the keys.
const KEYS: usize = 20;

/// Draws the help: all keys that are active in the current view.
pub(super) fn help(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let theme = app.theme;
    frame.render_widget(Clear, area);
    let inner = titled(frame, area, "Keys", "active in this view; ? or esc closes", theme);
    let room = usize::from(inner.width).saturating_sub(KEYS + 3);
    let mut row = 0;
    let shown = BINDINGS.iter().filter(|binding| !binding.help.is_empty());
    for binding in shown {
        if !binding.works(app) && !is_of_the_list(binding.shown) {
            continue;
        }
        for (at, text) in wrap(binding.help, room).into_iter().enumerate() {
            let keys = if at == 0 { binding.shown } else { "" };
            let line =
                Line::from(vec![Span::styled(format!("  {keys:<KEYS$} "), theme.strong()), Span::raw(text)]);
            put(frame, inner, row, line, None);
            row += 1;
        }
    }
}

/// Whether a binding is for moving or going back. The help always lists those.
fn is_of_the_list(shown: &str) -> bool {
    shown.starts_with("up") || shown == "esc" || shown.starts_with("page") || shown.starts_with("home")
}

/// Draws the details of an item.
pub(super) fn detail(app: &App, detail: &Detail, frame: &mut Frame<'_>, area: Rect) {
    let theme = app.theme;
    frame.render_widget(Clear, area);
    let room = usize::from(area.width).saturating_sub(3);
    let lines: Vec<String> = detail
        .lines
        .iter()
        .flat_map(|line| if line.len() > room { wrap(line, room) } else { vec![line.clone()] })
        .collect();
    let height = usize::from(area.height).saturating_sub(1);
    let top = detail.top.min(lines.len().saturating_sub(height));
    let below = lines.len().saturating_sub(top + height);
    let note = if below > 0 { format!("{below} more lines below") } else { "esc closes".to_owned() };
    let inner = titled(frame, area, &detail.title, &note, theme);
    for (row, line) in lines.into_iter().skip(top).take(height).enumerate() {
        let text = cut(&theme.text(line), room, theme);
        put(frame, inner, row, Line::raw(format!("  {text}")), None);
    }
}
