//! The complete run: rules, coverage, losses, environment.

use super::{
    Page, badge,
    markup::{Markup, classed, element, plain, row, table},
};
use crate::render::report::{facts, phrase};

impl Page<'_> {
    pub(super) fn rules(&self) -> Markup {
        let rows = self.story.check.verdicts.iter().map(|verdict| {
            let found = match verdict.findings {
                0 => String::new(),
                found => phrase::counted(u64::from(found), "finding"),
            };
            let device = verdict.device.0.to_string();
            let name = format!("{device} {}", verdict.rule.name());
            let reasons = verdict.reasons.join("; ");
            let cells = [
                plain("td", &device),
                plain("td", verdict.rule.name()),
                plain("td", verdict.severity.name()),
                element("td", &[("data-rule", &name)], badge(verdict.verdict)),
                plain("td", &found),
                classed("td", "dim", &reasons),
            ];
            element("tr", &[], Markup::all(cells))
        });
        table(&["device", "rule", "severity", "answer", "", "why"], rows)
    }

    pub(super) fn coverage(&self) -> Markup {
        let (sentences, lines) = facts::coverage(self.story, self.context);
        let items = sentences.iter().map(|sentence| plain("li", sentence));
        let mut parts = vec![element("ul", &[], Markup::all(items))];
        if !lines.is_empty() {
            parts.push(element(
                "ol",
                &[("class", "stack")],
                Markup::all(lines.iter().map(|line| plain("li", line))),
            ));
        }
        Markup::all(parts)
    }

    pub(super) fn environment(&self) -> Markup {
        let rows = facts::environment(self.story);
        let rows = rows.iter().map(|[label, value]| row("", [label.as_str(), value]));
        table(&["", ""], rows)
    }
}
