//! Findings with their evidence.

use super::{
    Page,
    markup::{Markup, classed, element, plain, row, table},
    teardown::holders_table,
};
use crate::render::{
    json::FindingLine,
    report::{evidence, phrase},
};

/// Maximum of findings shown in full.
const MAX_FINDINGS: usize = 64;
/// Maximum of frames of a stack.
const MAX_FRAMES: usize = 32;

impl Page<'_> {
    pub(super) fn findings(&self) -> Markup {
        let findings = &self.story.check.findings;
        let withdrawn =
            self.story.check.withdrawn.iter().map(|finding| plain("p", &phrase::withdrawn(finding)));
        if findings.is_empty() {
            return Markup::all(std::iter::once(plain("p", "None.")).chain(withdrawn));
        }
        let mut shown: Vec<_> = findings.iter().collect();
        shown.sort_by_key(|finding| (std::cmp::Reverse(finding.severity), finding.number));
        let more = shown.len().saturating_sub(MAX_FINDINGS) as u64 + self.story.check.findings_omitted;
        shown.truncate(MAX_FINDINGS);
        shown.sort_by_key(|finding| finding.number);
        let parts = shown.into_iter().map(|finding| self.finding(finding));
        let more = (more > 0)
            .then(|| plain("p", &format!("\u{2026} and {}.", phrase::counted(more, "more finding"))));
        Markup::all(parts.chain(more).chain(withdrawn))
    }

    fn finding(&self, finding: &FindingLine) -> Markup {
        let heading = format!("{}. {}, {}", finding.number, finding.rule.name(), finding.device.0);
        let severity = classed("span", "badge violated", finding.severity.name());
        let number = finding.number.to_string();
        let mut parts = vec![
            element("h3", &[], Markup::all([Markup::text(&heading), severity])),
            plain("p", &phrase::message(finding)),
            element(
                "p",
                &[("class", "advice")],
                Markup::all([plain("strong", "What to do: "), Markup::text(&finding.advice)]),
            ),
        ];
        if !finding.holders.is_empty() {
            parts.push(plain("p", "Holders, times relative to the finding:"));
            parts.push(holders_table(&finding.holders, finding.holders_omitted, finding.start_ns));
        }
        if !finding.evidence.is_empty() {
            parts.push(plain("p", "Shown by these records:"));
            let rows = finding.evidence.iter().map(|id| {
                let event = evidence::describe(self.story, id.0).unwrap_or_default();
                row("", [id.0.to_string().as_str(), &event])
            });
            parts.push(table(&["record", "event"], rows));
        }
        if !finding.stack.is_empty() {
            let frames = finding.stack.iter().take(MAX_FRAMES).map(|frame| {
                let name = frame.symbol.clone();
                plain("li", &name.unwrap_or_else(|| format!("{:#x}", frame.addr.0).into()))
            });
            parts.push(plain("p", "Stack, innermost first:"));
            parts.push(element("ol", &[("class", "stack")], Markup::all(frames)));
        }
        element("div", &[("class", "finding"), ("data-finding", &number)], Markup::all(parts))
    }
}
