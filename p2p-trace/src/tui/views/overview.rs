//! The overview: devices, holders, the steps of a teardown, findings, and the latest events.

use ratatui::{Frame, layout::Rect};

use super::{allocated, devices, events, findings, teardowns};
use crate::tui::{lists, state::App, view_model::Timeline};

/// The minimum width for two columns.
const WIDE: u16 = 190;

/// Splits an area below `height` lines.
pub(super) fn split(area: Rect, height: u16) -> (Rect, Rect) {
    let height = height.min(area.height);
    (Rect { height, ..area }, Rect { y: area.y + height, height: area.height - height, ..area })
}

pub(super) fn draw(app: &App, frame: &mut Frame<'_>, area: Rect) {
    let timeline = timeline(app);
    if area.width < WIDE {
        let parts = Parts::of(app, timeline, area.height);
        let rest = parts.above(app, frame, area);
        parts.below(app, timeline, frame, rest);
        return;
    }
    // The table of devices needs slightly more than half of the width.
    let half = area.width / 2 + 2;
    let steps = timeline.map_or(0, teardowns::height) as u16;
    let (above, below) = split(area, steps.clamp(area.height / 3, area.height * 2 / 3));
    let (one, other) = split_columns(above, half);
    Parts::of(app, None, one.height).left(app, frame, one);
    match timeline {
        Some(timeline) => teardowns::steps(app, timeline, frame, other),
        None => super::chart::draw(app, frame, other),
    }
    if timeline.is_none() {
        events::latest(app, frame, below);
        return;
    }
    let (one, other) = split_columns(below, area.width * 2 / 3);
    events::latest(app, frame, one);
    super::chart::draw(app, frame, other);
}

/// Splits an area right of `width` columns, the last of which separates the parts.
const fn split_columns(area: Rect, width: u16) -> (Rect, Rect) {
    (Rect { width: width - 1, ..area }, Rect { x: area.x + width, width: area.width - width, ..area })
}

/// The teardown to show: a pending one, preferably of the device under the cursor, else the latest one of that device.
fn timeline(app: &App) -> Option<&Timeline> {
    let device = lists::devices(app).get(app.cursor()).map(|row| row.address);
    let all = lists::teardowns(app);
    let of_device = |timeline: &&Timeline| Some(timeline.device) == device;
    let is_pending = |timeline: &&Timeline| timeline.ended.is_none();
    let all = || all.iter().copied();
    all()
        .filter(of_device)
        .find(is_pending)
        .or_else(|| all().find(is_pending))
        .or_else(|| all().find(of_device))
}

/// The heights of the parts.
struct Parts {
    devices: u16,
    allocated: u16,
    findings: u16,
    steps: u16,
}

impl Parts {
    fn of(app: &App, timeline: Option<&Timeline>, height: u16) -> Self {
        let devices = lists::devices(app).len();
        let devices = if devices == 0 { 1 } else { (devices + 2) as u16 }.min((height / 4).max(3));
        let findings = lists::count(app, crate::tui::state::View::Findings);
        let findings = if findings == 0 { 0 } else { (findings + 2) as u16 };
        let allocated = (allocated::height(app).max(3)) as u16;
        let steps = timeline.map_or(0, |timeline| teardowns::height(timeline) as u16);
        let mut left = height.saturating_sub(devices);
        // A waiting teardown must be visible; the holders get at least two lines.
        let allocated = allocated.min((left / 3).max(4));
        left = left.saturating_sub(allocated);
        let steps = steps.min(left);
        left -= steps;
        let findings = if left >= 3 { findings.min((left / 2).max(3)) } else { 0 };
        Self { devices, allocated, findings, steps }
    }

    fn above(&self, app: &App, frame: &mut Frame<'_>, area: Rect) -> Rect {
        let (place, rest) = split(area, self.devices);
        devices::draw(app, frame, place, true);
        let (place, rest) = split(rest, self.allocated);
        allocated::table(app, frame, place, false);
        rest
    }

    /// Draws devices, holders and findings.
    fn left(&self, app: &App, frame: &mut Frame<'_>, area: Rect) {
        let rest = self.above(app, frame, area);
        if rest.height >= 2 {
            findings::table(app, frame, rest, false);
        }
    }

    fn below(&self, app: &App, timeline: Option<&Timeline>, frame: &mut Frame<'_>, area: Rect) {
        let (place, rest) = split(area, self.steps);
        if let Some(timeline) = timeline {
            teardowns::steps(app, timeline, frame, place);
        }
        let (place, rest) = split(rest, self.findings);
        if self.findings > 0 {
            findings::table(app, frame, place, false);
        }
        if rest.height >= 2 {
            events::latest(app, frame, rest);
        }
    }
}
