//! A teardown: the picture, the steps, and the outstanding memory.

use p2p_trace_common::Kind;
use p2p_trace_model::units::{bytes, duration};

use super::{
    Page,
    markup::{Markup, classed, element, plain, row, table},
    picture::picture,
};
use crate::render::{
    json::HolderLine,
    report::{
        phrase,
        story::{Out, TeardownStory},
    },
};

/// Maximum of steps.
const MAX_STEPS: usize = 128;
/// Maximum of holders.
const MAX_HOLDERS: usize = 24;

impl Page<'_> {
    pub(super) fn teardown(&self, story: &TeardownStory) -> Markup {
        let mut parts = Markup::all([
            plain("p", &phrase::about(story, self.context)),
            picture(story),
            classed(
                "p",
                "dim",
                "Time runs from left to right; each gap is as wide as the logarithm of its length. Red triangles are uses after removal, \
                 red diamonds are steps in the wrong place.",
            ),
            steps(story),
        ]);
        if let Some(out) = &story.at_kill {
            parts.push(plain("h3", "Holders at the kill"));
            parts.push(self.out(out, "the kill"));
        }
        parts
    }

    pub(super) fn out(&self, out: &Out, moment: &str) -> Markup {
        let mut parts = vec![plain("p", &phrase::out(out, moment))];
        if !out.holders.is_empty() {
            let holders: Vec<_> =
                out.holders.iter().map(|holder| HolderLine::new(holder, self.context)).collect();
            parts.push(holders_table(&holders, out.more, out.at_ns));
        }
        if out.unknown_bytes > 0 {
            let text = format!("In addition, {} of unknown holders.", bytes(out.unknown_bytes));
            parts.push(plain("p", &text));
        }
        Markup::all(parts)
    }
}

fn steps(story: &TeardownStory) -> Markup {
    let zero_ns = story.zero_ns();
    let steps = &story.teardown.steps;
    let mut rows = Vec::new();
    let mut before_ns = None;
    for (index, step) in steps.iter().enumerate().take(MAX_STEPS) {
        let time_ns = step.at.time_ns;
        let lasted = before_ns.map_or_else(String::new, |before| duration(time_ns.saturating_sub(before)));
        before_ns = Some(time_ns);
        let wrong = story.wrong.iter().find(|(at, _)| *at == index);
        let is_key = matches!(step.kind, Kind::Kill | Kind::Drained | Kind::Remove | Kind::Release);
        let class = match (wrong, is_key) {
            (Some(_), _) => "wrong",
            (None, true) => "key",
            (None, false) => "",
        };
        let range = step.range.map_or_else(String::new, |id| phrase::range(&story.ranges, id));
        let note = wrong.map_or("", |(_, problem)| *problem);
        let cells = [
            phrase::relative(time_ns, zero_ns),
            lasted,
            phrase::step(step.kind).to_owned(),
            phrase::task(step.task.as_ref()),
            range,
            phrase::record(step.at.id),
            note.to_owned(),
        ];
        rows.push(row(class, cells.iter().map(String::as_str)));
    }
    let more = steps.len().saturating_sub(MAX_STEPS) as u64 + story.teardown.omitted;
    if more > 0 {
        rows.push(row("", ["", "", &format!("\u{2026} and {more} more")]));
    }
    if let Some((step, since_ns)) = &story.pending {
        let age = duration(story.until_ns.saturating_sub(*since_ns));
        let cells = [
            phrase::relative(story.until_ns, zero_ns),
            age,
            step.clone(),
            String::new(),
            String::new(),
            String::new(),
            "END NOT OBSERVED".to_owned(),
        ];
        rows.push(row("waits", cells.iter().map(String::as_str)));
    }
    let table = table(&["time", "duration", "step", "by", "range", "record", ""], rows);
    element("div", &[("class", "steps")], table)
}

pub(super) fn holders_table(holders: &[HolderLine], omitted: u64, at_ns: u64) -> Markup {
    let mut rows: Vec<_> = holders
        .iter()
        .take(MAX_HOLDERS)
        .map(|holder| row("", phrase::holder(holder, at_ns).iter().map(String::as_str)))
        .collect();
    let more = omitted + holders.len().saturating_sub(MAX_HOLDERS) as u64;
    if more > 0 {
        rows.push(row("", [format!("\u{2026} and {more} more").as_str()]));
    }
    table(&phrase::HOLDER, rows)
}
