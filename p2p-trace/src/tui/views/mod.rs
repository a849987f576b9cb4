//! Draws the screen. It depends on the state alone.

mod allocated;
mod chart;
mod devices;
mod events;
mod export;
mod findings;
mod footer;
mod front;
mod header;
mod overview;
mod rules;
mod table;
mod teardowns;

use ratatui::{
    Frame, Terminal,
    backend::TestBackend,
    layout::Rect,
    text::{Line, Span},
};

use super::{
    state::{App, View},
    theme::Theme,
};
pub(crate) use export::export;
use table::{cut, put};

/// The minimum size of a terminal.
const MIN_SIZE: (u16, u16) = (40, 10);

/// Lines above the view.
const HEAD: u16 = 4;

pub(crate) fn draw(app: &App, frame: &mut Frame<'_>) {
    let screen = frame.area();
    if screen.width < MIN_SIZE.0 || screen.height < MIN_SIZE.1 {
        let text = format!("needs {} x {}", MIN_SIZE.0, MIN_SIZE.1);
        put(frame, screen, 0, Line::raw(text), None);
        return;
    }
    let foot = footer::height(app);
    let (head, body, feet) = (
        Rect { height: HEAD, ..screen },
        body(app, screen),
        Rect { y: screen.height - foot, height: foot, ..screen },
    );
    header::draw(app, frame, head);
    match app.view {
        View::Overview => overview::draw(app, frame, body),
        View::Allocated => allocated::draw(app, frame, body),
        View::Teardowns => teardowns::draw(app, frame, body),
        View::Findings => findings::draw(app, frame, body),
        View::Events => events::draw(app, frame, body),
        View::Rates => chart::draw(app, frame, body),
        View::Rules => rules::draw(app, frame, body),
    }
    footer::draw(app, frame, feet);
    if app.help {
        front::help(app, frame, body);
    } else if let Some(detail) = &app.detail {
        front::detail(app, detail, frame, body);
    }
}

/// The area of the view.
fn body(app: &App, screen: Rect) -> Rect {
    let foot = footer::height(app);
    Rect { y: HEAD, height: screen.height.saturating_sub(HEAD + foot), ..screen }
}

/// The number of lines that a list of the view can show.
pub(crate) fn page(app: &App, width: u16, height: u16) -> usize {
    usize::from(body(app, Rect::new(0, 0, width, height)).height.saturating_sub(2))
}

/// The screen as text, for a file.
pub(crate) fn as_text(app: &App) -> String {
    let (width, height) = (160, 60);
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let Ok(_) = terminal.draw(|frame| draw(app, frame));
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for y in 0..height {
        let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// Draws a heading with a line to its right. Returns the area below it.
fn titled(frame: &mut Frame<'_>, area: Rect, title: &str, note: &str, theme: Theme) -> Rect {
    let width = usize::from(area.width);
    let title = cut(&theme.text(format!(" {title} ")), width, theme);
    let left = width.saturating_sub(title.chars().count() + 2);
    let note = if note.is_empty() {
        String::new()
    } else {
        cut(&theme.text(format!(" {note} ")), left.saturating_sub(4), theme)
    };
    let rest = left.saturating_sub(note.chars().count());
    let line = Line::from(vec![
        Span::styled(theme.rule().repeat(2), theme.dim()),
        Span::styled(title, theme.strong()),
        Span::styled(note, theme.dim()),
        Span::styled(theme.rule().repeat(rest), theme.dim()),
    ]);
    put(frame, area, 0, line, None);
    Rect { y: area.y + area.height.min(1), height: area.height.saturating_sub(1), ..area }
}
