//! Tables that fit the screen. Columns are as wide as their contents. If there is not enough room, flexible columns are
//! cut, then the least important columns are omitted.

use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use crate::tui::theme::Theme;

/// The gap between two columns.
const GAP: usize = 2;

#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Whether cells are aligned right, as for numbers.
    pub(super) right: bool,
    /// The minimum width of a flexible column; `None` if it is never cut.
    pub(super) least: Option<usize>,
    /// Columns with a higher rank are omitted later.
    pub(super) rank: u8,
}

/// A column aligned left that is never cut.
pub(super) const fn left(title: &'static str, rank: u8) -> Column {
    Column { title, right: false, least: None, rank }
}

/// A column aligned right that is never cut.
pub(super) const fn right(title: &'static str, rank: u8) -> Column {
    Column { right: true, ..left(title, rank) }
}

/// A column aligned left that may be cut.
pub(super) const fn flexible(title: &'static str, least: usize, rank: u8) -> Column {
    Column { least: Some(least), ..left(title, rank) }
}

pub(super) type Cell = (String, Style);

/// A table that is being drawn.
pub(super) struct Table<'a> {
    pub(super) columns: &'a [Column],
    /// The index of the ordering column, and whether the order is reversed.
    pub(super) order: Option<(usize, bool)>,
    /// The line of the cursor.
    pub(super) selected: Option<usize>,
}

/// The first line to show so that line `at` is near the middle.
pub(super) const fn top(at: usize, count: usize, height: usize) -> usize {
    let last = count.saturating_sub(height);
    let wanted = at.saturating_sub(height / 2);
    if wanted < last { wanted } else { last }
}

impl Table<'_> {
    /// Draws the heading and as many lines as fit.
    pub(super) fn draw<T>(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        theme: Theme,
        rows: &[T],
        cells: impl Fn(&T) -> Vec<Cell>,
    ) {
        let height = usize::from(area.height).saturating_sub(1);
        let first = top(self.selected.unwrap_or(0), rows.len(), height);
        let lines: Vec<_> = rows.iter().skip(first).take(height).map(cells).collect();
        let widths = self.widths(&lines, usize::from(area.width).saturating_sub(2));
        let titles = self.columns.iter().enumerate().map(|(at, column)| {
            let sign = match self.order {
                Some((ordering, reversed)) if ordering == at => {
                    if reversed {
                        theme.up()
                    } else {
                        theme.down()
                    }
                }
                _ => "",
            };
            (format!("{}{sign}", column.title), theme.dim())
        });
        let heading = self.text(titles.collect(), &widths, theme);
        put(frame, area, 0, Line::from(heading), None);
        for (row, cells) in lines.into_iter().enumerate() {
            let is_selected = self.selected == Some(first + row);
            let mut spans = self.text(cells, &widths, theme);
            if is_selected {
                spans[0] = Span::styled(format!("{} ", theme.cursor()), theme.strong());
            }
            let style = is_selected.then(|| theme.selected());
            put(frame, area, row + 1, Line::from(spans), style);
        }
    }

    fn text(&self, cells: Vec<Cell>, widths: &[Option<usize>], theme: Theme) -> Vec<Span<'static>> {
        let mut spans = vec![Span::raw("  ")];
        let columns = self.columns.iter().zip(widths);
        for ((text, style), (column, width)) in cells.into_iter().zip(columns) {
            let Some(width) = *width else { continue };
            let text = cut(&theme.text(text), width, theme);
            let padded = if column.right { format!("{text:>width$}") } else { format!("{text:<width$}") };
            spans.push(Span::styled(padded, style));
            spans.push(Span::raw(" ".repeat(GAP)));
        }
        spans
    }

    /// The width of each column; `None` if there is no room for it.
    fn widths(&self, lines: &[Vec<Cell>], room: usize) -> Vec<Option<usize>> {
        let mut widths: Vec<Option<usize>> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let sign = usize::from(self.order.is_some_and(|(ordering, _)| ordering == at));
                let cells = lines.iter().filter_map(|cells| cells.get(at));
                let widest = cells.map(|(text, _)| text.chars().count()).max().unwrap_or(0);
                Some(widest.max(column.title.chars().count() + sign))
            })
            .collect();
        loop {
            let shown = widths.iter().flatten();
            let need = shown.clone().sum::<usize>() + GAP * shown.count().saturating_sub(1);
            let Some(excess) = need.checked_sub(room).filter(|&excess| excess > 0) else {
                return widths;
            };
            if self.shrink(&mut widths, excess) {
                continue;
            }
            let least = (0..self.columns.len())
                .filter(|&at| widths[at].is_some())
                .min_by_key(|&at| (self.columns[at].rank, std::cmp::Reverse(at)));
            match least {
                Some(at) if widths.iter().flatten().count() > 1 => widths[at] = None,
                _ => return widths,
            }
        }
    }

    /// Cuts flexible columns. Returns false if that is not enough.
    fn shrink(&self, widths: &mut [Option<usize>], excess: usize) -> bool {
        let spare = |at: usize, width: usize| {
            let least = self.columns[at].least?;
            width.checked_sub(least.max(self.columns[at].title.len())).filter(|&spare| spare > 0)
        };
        let spares: Vec<_> = widths
            .iter()
            .enumerate()
            .map(|(at, width)| width.and_then(|width| spare(at, width)).unwrap_or(0))
            .collect();
        if spares.iter().sum::<usize>() < excess {
            return false;
        }
        let mut excess = excess;
        // The last columns are cut first.
        for (width, spare) in widths.iter_mut().zip(spares).rev() {
            let given = spare.min(excess);
            *width = width.map(|width| width - given);
            excess -= given;
        }
        true
    }
}

/// Cuts text to at most `width` columns.
pub(super) fn cut(text: &str, width: usize, theme: Theme) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept = text.chars().take(width.saturating_sub(1));
    let sign = if width == 0 { "" } else { theme.cut() };
    kept.chain(sign.chars()).collect()
}

/// Draws a line of an area, optionally with a style for the full line.
pub(super) fn put(frame: &mut Frame<'_>, area: Rect, row: usize, line: Line<'_>, style: Option<Style>) {
    if row >= usize::from(area.height) {
        return;
    }
    let place = Rect { y: area.y + row as u16, height: 1, ..area };
    frame.render_widget(line, place);
    if let Some(style) = style {
        frame.buffer_mut().set_style(place, style);
    }
}
