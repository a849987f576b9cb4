//! The table of devices, with the allocated memory of each.

use p2p_trace_model::units::{bytes, duration};
use ratatui::{Frame, layout::Rect, style::Style};

use super::{
    table::{Cell, Column, Table, flexible, left, right},
    titled,
};
use crate::render::words;
use crate::tui::{
    lists, order,
    state::{App, View},
    theme::Theme,
    view_model::DeviceRow,
};

const COLUMNS: [Column; order::DEVICES.len()] = [
    left("DEVICE", 9),
    left("NAME", 5),
    flexible("DRIVER", 7, 4),
    left("STATE", 9),
    right("SIZE", 6),
    right("ALLOCATED", 9),
    right("REFS", 7),
    right("OLDEST", 8),
    right("MAPPED", 2),
    left("PUBLISHED", 1),
    left("TEARDOWN", 8),
];

/// Draws heading and table. The cursor is shown if `has_cursor`.
pub(super) fn draw(app: &App, frame: &mut Frame<'_>, area: Rect, has_cursor: bool) {
    let theme = app.theme;
    let devices = lists::devices(app);
    let note = match devices.len() {
        0 if app.view_model.devices.is_empty() => "no device with p2p memory seen yet".to_owned(),
        0 => "no device matches the filter".to_owned(),
        1 => String::new(),
        count => format!("{count}"),
    };
    let inner = titled(frame, area, "Devices", &note, theme);
    if devices.is_empty() {
        return;
    }
    let table = Table {
        columns: &COLUMNS,
        order: app.order_of(View::Overview).shown().filter(|_| has_cursor),
        selected: has_cursor.then(|| app.cursor()),
    };
    table.draw(frame, inner, theme, &devices, |row| cells(row, app.view_model.now_ns, theme));
}

fn cells(row: &DeviceRow, now_ns: u64, theme: Theme) -> Vec<Cell> {
    let plain = Style::new();
    let text = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let age = |since_ns: Option<u64>| {
        since_ns.map_or_else(|| "-".to_owned(), |since| duration(now_ns.saturating_sub(since)))
    };
    let blocked = row.pending.as_ref().is_some_and(|pending| pending.blocked);
    let state = match &row.pending {
        Some(_) if blocked => theme.alarm(),
        Some(_) => theme.teardown(),
        None => plain,
    };
    let unsure = if row.uncertain { "?" } else { "" };
    let allocated =
        if row.bypassed { words::BYPASSED.to_owned() } else { format!("{}{unsure}", bytes(row.allocated)) };
    let published = row.published.map(|published| if published { "yes" } else { "no" });
    vec![
        (row.address.to_string(), theme.strong()),
        (text(row.name.as_deref()), plain),
        (text(row.driver.as_deref()), plain),
        (row.state().to_owned(), state),
        (row.size.map_or_else(|| "-".to_owned(), bytes), plain),
        (allocated, plain),
        (format!("{}{unsure}", row.references), plain),
        (age(row.oldest_ns), plain),
        (bytes(row.mapped), plain),
        (text(published), plain),
        (teardown(row, now_ns), state),
    ]
}

fn teardown(row: &DeviceRow, now_ns: u64) -> String {
    let Some(pending) = &row.pending else {
        return "-".to_owned();
    };
    let least = if pending.at_least { ">" } else { "" };
    pending.since_ns.map_or_else(
        || "start unknown".to_owned(),
        |since| format!("{least}{}", duration(now_ns.saturating_sub(since))),
    )
}
