//! A teardown over time: a lane for each range and reference, with its events.

use p2p_trace_common::Kind;
use p2p_trace_model::{
    state::{At, Range, RangeId},
    units::bytes,
};

use super::{
    markup::{Markup, element, empty},
    scale::Scale,
    shapes::{RIGHT, bar, hatch, label, legend, line, next_to, words},
};
use crate::render::report::{
    phrase,
    story::{Lane, TeardownStory, Use},
};

const WIDTH: f64 = 1080.0;
/// Left edge of the lanes; their names are to the left.
const LEFT: f64 = 300.0;
/// Position of the first moment; earlier ones are to the left of it.
const PAD: f64 = 36.0;
const TOP: f64 = 40.0;
const LANE: f64 = 56.0;
/// Maximum of ranges with a lane.
const MAX_RANGES: usize = 8;
/// Maximum of uses drawn in one lane.
const MAX_USES: usize = 24;

/// The picture of a teardown.
pub(super) fn picture(story: &TeardownStory) -> Markup {
    let drawn = Drawn::new(story);
    let mut parts = vec![element("title", &[], Markup::text("The teardown over time")), hatch()];
    let ranges = &story.ranges[..story.ranges.len().min(MAX_RANGES)];
    let others: Vec<_> = ranges.iter().filter(|range| drawn.others(range.id).next().is_some()).collect();
    let more = story.lanes_omitted > 0 || story.ranges.len() > MAX_RANGES;
    let lanes = ranges.len() + story.lanes.len() + others.len();
    let bottom = TOP + LANE * lanes as f64;
    parts.push(drawn.axis(bottom));
    let mut y = TOP;
    let mut next = || {
        let middle = y + LANE / 2.0;
        y += LANE;
        middle
    };
    for range in ranges {
        parts.push(drawn.range(range, next()));
    }
    for lane in &story.lanes {
        parts.push(drawn.reference(lane, next()));
    }
    for range in others {
        parts.push(drawn.other_uses(range, next()));
    }
    let mut height = bottom + 22.0;
    if more {
        let mut text = Vec::new();
        if story.lanes_omitted > 0 {
            text.push(phrase::counted(story.lanes_omitted, "more reference"));
        }
        let ranges = story.ranges.len().saturating_sub(MAX_RANGES) as u64;
        if ranges > 0 {
            text.push(phrase::counted(ranges, "more range"));
        }
        parts.push(words("dim", 0.0, height, &format!("\u{2026} and {}", text.join(" and "))));
        height += 22.0;
    }
    parts.push(legend(height));
    let view = format!("0 0 {WIDTH} {:.0}", height + 14.0);
    let label =
        "Lanes of ranges and references: allocation, kill, drain, removal, release, and uses after removal";
    let svg =
        element("svg", &[("viewBox", &view), ("role", "img"), ("aria-label", label)], Markup::all(parts));
    element("figure", &[], svg)
}

/// A teardown with the positions of its moments.
struct Drawn<'a> {
    story: &'a TeardownStory,
    scale: Scale,
    zero_ns: u64,
}

impl<'a> Drawn<'a> {
    fn new(story: &'a TeardownStory) -> Self {
        let first_ns = *story.span().start();
        let mut times: Vec<u64> = story.teardown.steps.iter().map(|step| step.at.time_ns).collect();
        times.extend(story.lanes.iter().map(|lane| lane.reference.at.time_ns));
        times.extend(story.lanes.iter().filter_map(|lane| lane.end).map(|(at, _)| at.time_ns));
        times.extend(story.uses.iter().map(|used| used.at.time_ns));
        times.push(story.until_ns);
        times.retain(|&time| time >= first_ns);
        Self { story, scale: Scale::new(times, LEFT + PAD, RIGHT), zero_ns: story.zero_ns() }
    }

    fn x(&self, at: At) -> f64 {
        self.scale.place(at.time_ns)
    }

    /// Labels of the moments, as far as there is room, above all lanes.
    fn axis(&self, bottom: f64) -> Markup {
        let key = [Kind::Kill, Kind::Remove, Kind::Drained, Kind::Release];
        let steps = &self.story.teardown.steps;
        let mut moments: Vec<u64> = key
            .iter()
            .flat_map(|&kind| steps.iter().filter(move |step| step.kind == kind))
            .map(|step| step.at.time_ns)
            .collect();
        moments.extend([self.scale.first_ns(), self.story.until_ns]);
        let mut allocated: Vec<f64> = Vec::new();
        let mut parts = Vec::new();
        for time_ns in moments {
            let x = self.scale.place(time_ns);
            if allocated.iter().any(|other| (other - x).abs() < 72.0) {
                continue;
            }
            allocated.push(x);
            parts.push(line("grid", x, TOP - 8.0, x, bottom));
            let label = phrase::relative(time_ns, self.zero_ns);
            parts.push(words("dim middle", x, TOP - 14.0, &label));
        }
        parts.push(line("rule", 0.0, bottom, WIDTH, bottom));
        element("g", &[], Markup::all(parts))
    }

    fn range(&self, range: &Range, y: f64) -> Markup {
        let steps = range.steps;
        let name = phrase::range(std::slice::from_ref(range), range.id);
        let size = range.size().map_or_else(String::new, bytes);
        let mut parts = vec![label(y, &format!("range {name}"), &size)];
        let end = self.scale.place(self.story.until_ns);
        let released = steps.release.or(steps.released).map_or(end, |at| self.x(at));
        let removed = steps.removed.map(|at| self.x(at));
        let killed = steps.killed.map(|at| self.x(at));
        let drained = steps.drained.map(|at| self.x(at));
        let mut from = LEFT;
        // In the expected order; steps that were not observed have no part.
        let before = |limit: Option<f64>| limit.or(removed).unwrap_or(released);
        for (class, to) in [
            ("live", before(killed)),
            ("drain", before(drained.map(|drained| removed.map_or(drained, |removed| drained.min(removed))))),
            ("drained", removed.unwrap_or(released)),
            ("removed", released),
        ] {
            if to > from {
                parts.push(bar(class, from, to, y));
                from = to;
            }
        }
        for (kind, letter, at) in [
            (Kind::Kill, "K", steps.killed),
            (Kind::Drained, "D", steps.drained),
            (Kind::Remove, "R", steps.removed),
            (Kind::Release, "L", steps.release),
        ] {
            if let Some(at) = at {
                parts.push(self.mark(kind, letter, at, y));
            }
        }
        element("g", &[], Markup::all(parts))
    }

    /// A step. A step in the wrong place has another shape, and a label with the problem.
    fn mark(&self, kind: Kind, letter: &str, at: At, y: f64) -> Markup {
        let x = self.x(at);
        let steps = &self.story.teardown.steps;
        let wrong = self.story.wrong.iter().find_map(|&(index, problem)| {
            let step = steps.get(index)?;
            (step.at.id == at.id).then_some(problem)
        });
        let title = format!(
            "{} {}{}",
            phrase::step(kind),
            phrase::relative(at.time_ns, self.zero_ns),
            wrong.map_or_else(String::new, |problem| format!(", {problem}"))
        );
        let title = element("title", &[], Markup::text(&title));
        let mut parts = vec![title];
        if let Some(problem) = wrong {
            let points = format!(
                "{x:.1},{:.1} {:.1},{y:.1} {x:.1},{:.1} {:.1},{y:.1}",
                y - 13.0,
                x + 13.0,
                y + 13.0,
                x - 13.0
            );
            parts.push(empty("polygon", &[("class", "mark bad"), ("points", &points)]));
            parts.push(words("letter bad", x, y + 4.0, letter));
            // Steps in the wrong order are next to each other, so their labels go to both sides.
            let (class, x) = match kind {
                Kind::Remove => ("alarm end", x + 10.0),
                Kind::Drained => ("alarm", x - 10.0),
                _ => ("alarm middle", x),
            };
            parts.push(words(class, x, y + 27.0, problem));
        } else {
            let (x, y) = (format!("{x:.1}"), format!("{y:.1}"));
            let circle = [("class", "mark"), ("cx", x.as_str()), ("cy", y.as_str()), ("r", "9")];
            parts.push(empty("circle", &circle));
            parts.push(words("letter", self.x(at), y.parse::<f64>().unwrap_or_default() + 4.0, letter));
        }
        element("g", &[], Markup::all(parts))
    }

    fn reference(&self, lane: &Lane, y: f64) -> Markup {
        let reference = &lane.reference;
        let memory = format!("{} {}", bytes(reference.bytes()), reference.allocated.kind());
        let mut parts = vec![label(y, &memory, &format!("held by {}", phrase::task(lane.task.as_ref())))];
        let first_ns = self.scale.first_ns();
        let is_before = reference.at.time_ns < first_ns;
        let from = if is_before { LEFT } else { self.x(reference.at) };
        let to = lane.end.map_or(RIGHT + 16.0, |(at, _)| self.x(at));
        let range = lane.range.and_then(|id| self.story.ranges.iter().find(|range| range.id == id));
        let removed = range.and_then(|range| range.steps.removed).map(|at| self.x(at));
        let held_to = removed.map_or(to, |removed| removed.clamp(from, to.max(from)));
        parts.push(bar("held", from, held_to, y));
        if to > held_to {
            parts.push(bar("late", held_to, to, y));
        }
        let since = phrase::relative(reference.at.time_ns, self.zero_ns);
        if is_before {
            parts.push(words("dim", LEFT + 4.0, y - 11.0, &format!("\u{25c2} allocated {since}")));
        } else {
            parts.push(line("mark", from, y - 10.0, from, y + 10.0));
        }
        match lane.end {
            Some((at, by)) => {
                parts.push(line("mark", to, y - 10.0, to, y + 10.0));
                let text = format!("{} {}", phrase::closed(by), phrase::relative(at.time_ns, self.zero_ns));
                let uses = self.uses(reference.at.id).count();
                if uses == 0 {
                    parts.push(next_to(to, y, "dim", &text));
                }
            }
            None => parts.push(words("dim end", RIGHT + 16.0, y - 11.0, "outstanding \u{25b8}")),
        }
        for used in self.uses(reference.at.id).take(MAX_USES) {
            parts.push(self.used(used, y));
        }
        element("g", &[], Markup::all(parts))
    }

    fn uses(&self, of: p2p_trace_model::event::Id) -> impl Iterator<Item = &'a Use> {
        self.story.uses.iter().filter(move |used| used.of == Some(of))
    }

    /// Uses of a range that belong to no lane of a reference.
    fn others(&self, range: RangeId) -> impl Iterator<Item = &'a Use> {
        let story = self.story;
        story.uses.iter().filter(move |used| {
            let has_lane = |of| story.lanes.iter().any(|lane| lane.reference.at.id == of);
            used.range == Some(range) && !used.of.is_some_and(has_lane)
        })
    }

    fn other_uses(&self, range: &Range, y: f64) -> Markup {
        let name = phrase::range(std::slice::from_ref(range), range.id);
        let mut parts = vec![label(y, "used after its removal", &format!("range {name}"))];
        parts.extend(self.others(range.id).take(MAX_USES).map(|used| self.used(used, y)));
        element("g", &[], Markup::all(parts))
    }

    /// A use after removal: red, with its own shape and a label.
    fn used(&self, used: &Use, y: f64) -> Markup {
        let x = self.x(used.at);
        let points =
            format!("{x:.1},{:.1} {:.1},{:.1} {:.1},{:.1}", y - 12.0, x + 11.0, y + 9.0, x - 11.0, y + 9.0);
        let when = phrase::relative(used.at.time_ns, self.zero_ns);
        let by = phrase::task(used.task.as_ref());
        let title = format!("USE AFTER REMOVAL: {} {when}, by {by}", phrase::use_of(used.kind));
        let text = format!("{} {when}", phrase::use_of(used.kind));
        Markup::all([element(
            "g",
            &[],
            Markup::all([
                element("title", &[], Markup::text(&title)),
                empty("polygon", &[("class", "use"), ("points", &points)]),
                words("bang", x, y + 6.0, "!"),
                next_to(x + 8.0, y, "alarm", &text),
            ]),
        )])
    }
}
