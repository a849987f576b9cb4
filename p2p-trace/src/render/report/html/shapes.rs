//! The shapes of a picture.

use super::markup::{Markup, element, empty};

/// Right edge of the picture.
pub(super) const RIGHT: f64 = 1040.0;
/// Height of a bar.
const BAR: f64 = 14.0;

/// Text to the right of a position, or to the left if there is no room.
pub(super) fn next_to(x: f64, y: f64, class: &str, text: &str) -> Markup {
    if x + 8.0 * text.chars().count() as f64 > RIGHT + 30.0 {
        words(&format!("{class} end"), x - 16.0, y - 11.0, text)
    } else {
        words(class, x + 6.0, y - 11.0, text)
    }
}

/// The name of a lane in two lines.
pub(super) fn label(y: f64, first: &str, second: &str) -> Markup {
    Markup::all([words("", 0.0, y - 2.0, &cut(first)), words("dim", 0.0, y + 13.0, &cut(second))])
}

/// A name, truncated to the available width.
fn cut(text: &str) -> String {
    const ROOM: usize = 42;
    if text.chars().count() <= ROOM {
        return text.to_owned();
    }
    text.chars().take(ROOM - 1).chain(['\u{2026}']).collect()
}

pub(super) fn words(class: &str, x: f64, y: f64, text: &str) -> Markup {
    let (x, y) = (format!("{x:.1}"), format!("{y:.1}"));
    element("text", &[("class", class), ("x", &x), ("y", &y)], Markup::text(text))
}

pub(super) fn line(class: &str, x1: f64, y1: f64, x2: f64, y2: f64) -> Markup {
    let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(|place| format!("{place:.1}"));
    let attributes = [("class", class), ("x1", &x1), ("y1", &y1), ("x2", &x2), ("y2", &y2)];
    empty("line", &attributes)
}

/// A bar with its middle at `y`.
pub(super) fn bar(class: &str, from: f64, to: f64, y: f64) -> Markup {
    let [x, y, width, height] =
        [from, y - BAR / 2.0, (to - from).max(1.0), BAR].map(|place| format!("{place:.1}"));
    let attributes =
        [("class", class), ("x", &x), ("y", &y), ("width", &width), ("height", &height), ("rx", "2")];
    empty("rect", &attributes)
}

/// Marks a held reference to a removed range.
pub(super) fn hatch() -> Markup {
    let path = empty("path", &[("class", "hatch"), ("d", "M-1,7 L7,-1")]);
    let pattern = element(
        "pattern",
        &[("id", "late"), ("width", "6"), ("height", "6"), ("patternUnits", "userSpaceOnUse")],
        path,
    );
    element("defs", &[], pattern)
}

/// The legend of bars and letters.
pub(super) fn legend(y: f64) -> Markup {
    let mut parts = Vec::new();
    let mut x = 0.0;
    for (class, text) in [
        ("live", "range in use"),
        ("drain", "killed, draining"),
        ("drained", "drained"),
        ("removed", "struct pages removed"),
        ("held", "memory outstanding"),
        ("late", "outstanding after the removal"),
    ] {
        parts.push(bar(class, x, x + 22.0, y - 4.0));
        parts.push(words("dim", x + 28.0, y, text));
        x += 44.0 + 6.6 * text.len() as f64;
    }
    parts.push(words("dim", x, y, "K kill \u{b7} D drain \u{b7} R removal \u{b7} L release"));
    element("g", &[], Markup::all(parts))
}
