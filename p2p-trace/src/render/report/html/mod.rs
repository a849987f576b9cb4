//! The report as one self-contained page: no script, no network, light and dark, printable.

mod findings;
mod markup;
mod picture;
mod run;
mod scale;
mod shapes;
mod teardown;
#[cfg(test)]
mod tests;

use p2p_trace_model::rules::Answer;

use markup::{Markup, classed, element, empty, plain};

use super::{facts, phrase, story::Story};
use crate::render::Context;

/// The content security policy: the page loads and runs nothing, whatever a dump contains.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The page of these runs.
pub(crate) fn html(stories: &[(&Story, &Context<'_>)]) -> String {
    let title = match stories {
        [(story, _)] => title(story),
        _ => format!("PCI p2p memory: {} runs", stories.len()),
    };
    let head = Markup::all([
        empty("meta", &[("charset", "utf-8")]),
        empty("meta", &[("http-equiv", "Content-Security-Policy"), ("content", POLICY)]),
        empty("meta", &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")]),
        plain("title", &title),
        Markup::style(include_str!("style.css")),
    ]);
    let runs = stories.iter().map(|&(story, context)| Page { story, context }.whole());
    let made = format!("Made by p2p-trace {} report --html", env!("CARGO_PKG_VERSION"));
    let body = Markup::all([element("main", &[], Markup::all(runs.chain([plain("footer", &made)])))]);
    let page = Markup::all([element("head", &[], head), element("body", &[], body)]);
    element("html", &[("lang", "en")], page).document()
}

fn title(story: &Story) -> String {
    let host = story.check.host.as_deref().map_or_else(String::new, |host| format!("{host}, "));
    format!("PCI p2p memory on {host}Linux {}", story.check.kernel)
}

struct Page<'a> {
    story: &'a Story,
    context: &'a Context<'a>,
}

impl Page<'_> {
    fn whole(&self) -> Markup {
        let mut parts = self.front();
        for device in &self.story.devices {
            let all = device.teardowns.len() as u64 + device.teardowns_omitted;
            for (index, teardown) in device.teardowns.iter().enumerate() {
                let number = index as u64 + 1 + device.teardowns_omitted;
                let number = if all > 1 { format!(" {number}") } else { String::new() };
                let heading = format!("Teardown{number} of {}", device.device);
                parts.push(section(&heading, self.teardown(teardown)));
            }
            if device.teardowns_omitted > 0 {
                let more = phrase::counted(device.teardowns_omitted, "other teardown");
                parts.push(plain("p", &format!("{more} of {} not shown.", device.device)));
            }
            if device.out.references > 0 || device.out.unknown_bytes > 0 {
                let heading = format!("Still allocated on {} at the end of the trace", device.device);
                parts.push(section(&heading, self.out(&device.out, "the end")));
            }
        }
        parts.push(section("Findings", self.findings()));
        parts.push(section("Rules", self.rules()));
        parts.push(section("Coverage and losses", self.coverage()));
        parts.push(section("Environment", self.environment()));
        element("article", &[], Markup::all(parts))
    }

    fn front(&self) -> Vec<Markup> {
        let check = &self.story.check;
        let heading = Markup::all([Markup::text(&title(self.story)), badge(check.verdict)]);
        let devices = self.story.devices.iter().map(|device| {
            let names = device.names.as_ref().map_or_else(String::new, |names| format!(" ({names})"));
            let class = format!("is-{}", class(device.answer));
            let inside = Markup::all([
                plain("strong", &format!("{}{names}", device.device)),
                badge(device.answer),
                plain("p", &format!("{}.", phrase::capital(&device.sentence))),
            ]);
            element("li", &[("class", &class)], inside)
        });
        let mut verdict: Vec<_> = devices.collect();
        if verdict.is_empty() {
            verdict.push(plain("li", "No device with p2p memory was observed."));
        }
        let troubles = facts::troubles(self.story).into_iter();
        verdict.extend(troubles.map(|trouble| classed("li", "is-inconclusive", &trouble)));
        vec![
            element("h1", &[], heading),
            element("ul", &[("class", "verdict")], Markup::all(verdict)),
            self.figures(),
        ]
    }

    /// The numbers of `check --json`.
    fn figures(&self) -> Markup {
        let check = &self.story.check;
        let of = |answer: Answer| {
            let of = check.verdicts.iter().filter(|verdict| verdict.verdict == answer);
            of.count().to_string()
        };
        let figures = [
            ("verdict", "verdict", check.verdict.name().to_owned()),
            ("findings", "findings", check.findings.len().to_string()),
            ("violated", "rules violated", of(Answer::Violated)),
            ("inconclusive", "inconclusive", of(Answer::Inconclusive)),
            ("holds", "hold", of(Answer::Holds)),
            ("not-checked", "not checked", of(Answer::NotChecked)),
            ("events", "events", check.events.to_string()),
            ("lost", "lost", check.lost.to_string()),
        ];
        let figure = |(name, label, value): (&str, &str, String)| {
            let value = element("dd", &[("data-figure", name)], Markup::text(&value));
            element("div", &[], Markup::all([plain("dt", label), value]))
        };
        element("dl", &[("class", "figures")], Markup::all(figures.map(figure)))
    }
}

fn section(heading: &str, inside: Markup) -> Markup {
    element("section", &[], Markup::all([plain("h2", heading), inside]))
}

/// The class of an answer. Color is never the only sign: the word is next to it.
const fn class(answer: Answer) -> &'static str {
    match answer {
        Answer::Violated => "violated",
        Answer::Inconclusive => "inconclusive",
        Answer::Holds => "holds",
        Answer::NotChecked => "unchecked",
    }
}

fn badge(answer: Answer) -> Markup {
    let sign = match answer {
        Answer::Violated => "\u{2716} ",
        Answer::Inconclusive => "? ",
        Answer::Holds => "\u{2713} ",
        Answer::NotChecked => "",
    };
    let text = format!("{sign}{}", phrase::loud(answer));
    classed("span", &format!("badge {}", class(answer)), &text)
}
