//! The allocated memory, by holder.

use p2p_trace_model::units::{bytes, duration};
use ratatui::{Frame, layout::Rect, style::Style};

use super::{
    table::{Cell, Column, Table, flexible, left, right},
    titled,
};
use crate::tui::{
    lists,
    state::App,
    theme::Theme,
    view_model::{self, Grouping, Holder, Row},
};

const COLUMNS: [Column; 9] = [
    flexible("HELD BY", 12, 9),
    left("PROCESS", 5),
    left("KIND", 6),
    right("MEMORY", 9),
    right("REFS", 4),
    right("AGE", 8),
    left("DEVICE", 7),
    flexible("CALLED FROM", 14, 3),
    left("ADDRESS", 2),
];

/// The index of each column that can order the table.
const fn place(column: view_model::Column) -> usize {
    match column {
        view_model::Column::Process => 0,
        view_model::Column::Liveness => 1,
        view_model::Column::Kind => 2,
        view_model::Column::Bytes => 3,
        view_model::Column::References => 4,
        view_model::Column::Age => 5,
        view_model::Column::Device => 6,
        view_model::Column::Caller => 7,
        view_model::Column::Address => 8,
    }
}

pub(super) fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    table(app, frame, area, true);
}

/// The number of lines that the table needs.
pub(super) fn height(app: &App) -> usize {
    lists::rows(app).len() + 2
}

pub(super) fn table(app: &App, frame: &mut Frame<'_>, area: Rect, has_cursor: bool) {
    let theme = app.theme;
    let holders = &app.view_model.holders;
    let rows = lists::rows(app);
    let mut note =
        format!("{}: {} references, {}", app.query.grouping.name(), holders.total.0, bytes(holders.total.1));
    if holders.omitted > 0 {
        note = format!("{note}; {} more rows not shown", holders.omitted);
    }
    if rows.iter().any(|row| row.unsure) {
        note = format!("{note}; ?: uncertain, records were lost");
    }
    let late_ns = app.view_model.now_ns.saturating_sub(holders.as_of_ns);
    if late_ns >= 500_000_000 {
        note = format!("{note}; {} ago", duration(late_ns));
    }
    let inner = titled(frame, area, "Allocated", &note, theme);
    if rows.is_empty() {
        let text = if app.query.filter.is_empty() {
            "  no outstanding memory observed"
        } else {
            "  nothing matches the filter"
        };
        super::put(frame, inner, 0, text.into(), Some(theme.dim()));
        return;
    }
    let (column, reversed) = app.order();
    let ordered = place(column);
    let is_flat = app.query.grouping == Grouping::Flat;
    let columns = if is_flat { &COLUMNS[..] } else { &COLUMNS[..8] };
    let table = Table {
        columns,
        order: has_cursor.then_some((ordered, reversed)),
        selected: has_cursor.then(|| app.cursor()),
    };
    let now_ns = app.view_model.now_ns;
    table.draw(frame, inner, theme, &rows, |row| cells(row, now_ns, theme, is_flat));
}

fn cells(row: &Row, now_ns: u64, theme: Theme, is_flat: bool) -> Vec<Cell> {
    let plain = Style::new();
    let holder = match row.holder {
        Holder::Preexisting | Holder::Unknown => theme.warning(),
        Holder::Task(..) | Holder::Several(_) => theme.strong(),
    };
    let liveness = match row.holder {
        Holder::Task(_, true) => theme.warning(),
        _ => plain,
    };
    let unsure = if row.unsure { "?" } else { "" };
    let age = row.oldest_ns.map_or_else(|| "-".to_owned(), |oldest| duration(now_ns.saturating_sub(oldest)));
    let mut cells = vec![
        (format!("{}{unsure}", row.holder.name()), holder),
        (row.holder.liveness().to_owned(), liveness),
        (row.kind.to_owned(), plain),
        (bytes(row.bytes), plain),
        (row.references.to_string(), plain),
        (age, plain),
        (row.device.to_string(), plain),
        (if row.caller.is_empty() { "-" } else { &row.caller }.to_owned(), theme.dim()),
    ];
    if is_flat {
        let addr = row.addr.map_or_else(|| "-".to_owned(), |addr| format!("{addr:#x}"));
        cells.push((addr, theme.dim()));
    }
    cells
}
