//! Charts over time: events per second, allocated memory, and references.

use p2p_trace_model::units::bytes;
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

use super::{table::put, titled};
use crate::tui::{history::Sample, state::App};

pub(super) fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let samples = &app.view_model.history;
    let rates: Vec<u64> = samples.windows(2).map(|pair| per_second(pair[0], pair[1])).collect();
    let allocated: Vec<u64> = samples.iter().map(|sample| sample.bytes).collect();
    let references: Vec<u64> = samples.iter().map(|sample| sample.references).collect();
    let third = area.height / 3;
    let part = |number: u16| Rect {
        y: area.y + number * third,
        height: if number == 2 { area.height - 2 * third } else { third },
        ..area
    };
    let title = |title: &'static str| {
        if app.query.filter.is_empty() { title.to_owned() } else { format!("{title} (total, not filtered)") }
    };
    one(app, frame, part(0), &title("Events per second"), &rates, |value| value.to_string());
    one(app, frame, part(1), &title("Memory allocated"), &allocated, bytes);
    one(app, frame, part(2), &title("References"), &references, |value| value.to_string());
}

/// The rate between two samples. They are a second apart, or more if nothing was read meanwhile.
fn per_second(before: Sample, after: Sample) -> u64 {
    let passed = u128::from(after.time_ns.saturating_sub(before.time_ns)).max(1);
    let events = u128::from(after.events.saturating_sub(before.events));
    u64::try_from(events * 1_000_000_000 / passed).unwrap_or(u64::MAX)
}

/// The width of the scale.
const SCALE: usize = 11;

fn one(
    app: &App,
    frame: &mut Frame<'_>,
    area: Rect,
    title: &str,
    values: &[u64],
    show: impl Fn(u64) -> String,
) {
    let theme = app.theme;
    let width = usize::from(area.width).saturating_sub(SCALE + 1);
    let shown = &values[values.len().saturating_sub(width)..];
    let (now, peak) = (shown.last().copied().unwrap_or(0), shown.iter().copied().max().unwrap_or(0));
    let note = format!("now {}, peak {} in the last {} s", show(now), show(peak), shown.len());
    let inner = titled(frame, area, title, &note, theme);
    let height = usize::from(inner.height);
    for row in 0..height {
        let label = if row == 0 {
            show(peak)
        } else if row + 1 == height {
            show(0)
        } else {
            String::new()
        };
        let below = height - 1 - row;
        let bars: String = shown.iter().map(|&value| bar(app, value, peak, below, height)).collect();
        let line = Line::from(vec![
            Span::styled(format!("{label:>SCALE$} "), theme.dim()),
            Span::styled(bars, theme.bar()),
        ]);
        put(frame, inner, row, line, None);
    }
}

/// The part of a bar in the cell that has `below` cells below it.
fn bar(app: &App, value: u64, peak: u64, below: usize, height: usize) -> &'static str {
    if value == 0 || peak == 0 {
        return " ";
    }
    let eighths = (u128::from(value) * 8 * height as u128).div_ceil(u128::from(peak)) as usize;
    match eighths.saturating_sub(below * 8) {
        0 => " ",
        rest => app.theme.bars()[rest.min(8) - 1],
    }
}
