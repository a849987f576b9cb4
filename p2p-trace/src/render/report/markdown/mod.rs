//! The report as Markdown that can be pasted into a mail: prose at a mail's width, and indented columns.

mod run;
mod teardown;

use std::fmt::Write as _;

use p2p_trace_model::units::bytes;

use super::{
    columns::{columns, escape, wrap},
    evidence, facts, phrase,
    story::{DeviceStory, Out, Story},
};
use crate::render::{
    Context,
    json::{FindingLine, HolderLine},
};

/// Maximum of holders shown for a moment.
const MAX_HOLDERS: usize = 12;
/// Maximum of findings shown in full.
const MAX_FINDINGS: usize = 24;
/// Maximum of frames of a stack.
const MAX_FRAMES: usize = 24;

/// The report of a run.
pub(crate) fn markdown(story: &Story, context: &Context<'_>) -> String {
    let mut page = Page { text: String::new(), story, context };
    page.whole();
    page.text
}

struct Page<'a> {
    text: String,
    story: &'a Story,
    context: &'a Context<'a>,
}

impl Page<'_> {
    fn whole(&mut self) {
        let check = &self.story.check;
        let host = check.host.as_deref().map_or_else(String::new, |host| format!("{host}, "));
        let title = format!("PCI p2p memory on {host}Linux {}", check.kernel);
        self.line(&format!("# {}: {}", escape(&title), phrase::loud(check.verdict)));
        self.verdict();
        for device in &self.story.devices {
            self.device(device);
        }
        self.findings();
        self.rules();
        self.coverage();
        self.environment();
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn heading(&mut self, heading: &str) {
        self.line(&format!("\n{heading}\n"));
    }

    fn prose(&mut self, text: &str) {
        self.text.push_str(&wrap(&escape(text), "", ""));
    }

    fn item(&mut self, text: &str) {
        self.text.push_str(&wrap(&escape(text), "- ", "  "));
    }

    fn columns(&mut self, rows: &[Vec<String>]) {
        self.text.push_str(&columns(rows));
    }

    fn verdict(&mut self) {
        self.text.push('\n');
        for device in &self.story.devices {
            let text = format!("{}: {}: {}.", name(device), phrase::loud(device.answer), device.sentence);
            self.item(&text);
        }
        if self.story.devices.is_empty() {
            self.item("No device with p2p memory was observed.");
        }
        for trouble in facts::troubles(self.story) {
            self.item(&trouble);
        }
    }

    fn device(&mut self, device: &DeviceStory) {
        for (index, teardown) in device.teardowns.iter().enumerate() {
            let number = if device.teardowns.len() + device.teardowns_omitted as usize > 1 {
                format!(" {}", index as u64 + 1 + device.teardowns_omitted)
            } else {
                String::new()
            };
            self.heading(&format!("## Teardown{number} of {}", device.device));
            self.teardown(teardown);
        }
        if device.teardowns_omitted > 0 {
            let more = phrase::counted(device.teardowns_omitted, "other teardown");
            self.text.push('\n');
            self.prose(&format!("{more} of {} not shown.", device.device));
        }
        if device.out.references > 0 || device.out.unknown_bytes > 0 {
            self.heading(&format!("## Still allocated on {} at the end of the trace", device.device));
            self.out(&device.out, "the end");
        }
    }

    /// The holders of outstanding memory at one moment.
    fn out(&mut self, out: &Out, moment: &str) {
        self.prose(&phrase::out(out, moment));
        if !out.holders.is_empty() {
            self.text.push('\n');
            let holders: Vec<_> =
                out.holders.iter().map(|holder| HolderLine::new(holder, self.context)).collect();
            self.holders(&holders, out.more, out.at_ns);
        }
        let (unknown, unsure) = (out.unknown_bytes, out.unsure);
        if unknown > 0 || unsure > 0 {
            self.text.push('\n');
        }
        if unknown > 0 {
            self.prose(&format!("In addition, {} of unknown holders.", bytes(unknown)));
        }
        if unsure > 0 {
            let references = phrase::counted(unsure, "reference");
            self.prose(&format!(
                "In addition, {references} whose holders are uncertain, because records were lost."
            ));
        }
    }

    fn holders(&mut self, holders: &[HolderLine], omitted: u64, at_ns: u64) {
        let mut rows = vec![phrase::HOLDER.map(str::to_owned).to_vec()];
        let shown = holders.iter().take(MAX_HOLDERS);
        rows.extend(shown.map(|holder| phrase::holder(holder, at_ns).to_vec()));
        let more = omitted + holders.len().saturating_sub(MAX_HOLDERS) as u64;
        if more > 0 {
            rows.push(vec![format!("... and {more} more")]);
        }
        self.columns(&rows);
    }

    fn findings(&mut self) {
        let findings = &self.story.check.findings;
        self.heading(&format!("## Findings: {}", findings.len()));
        if findings.is_empty() {
            self.prose("None.");
        }
        // The most severe come first if some are omitted.
        let mut shown: Vec<_> = findings.iter().collect();
        shown.sort_by_key(|finding| (std::cmp::Reverse(finding.severity), finding.number));
        let more = shown.len().saturating_sub(MAX_FINDINGS) as u64 + self.story.check.findings_omitted;
        shown.truncate(MAX_FINDINGS);
        shown.sort_by_key(|finding| finding.number);
        for (index, finding) in shown.into_iter().enumerate() {
            if index > 0 {
                self.text.push('\n');
            }
            self.finding(finding);
        }
        if more > 0 {
            self.text.push('\n');
            self.prose(&format!("... and {} more.", phrase::counted(more, "finding")));
        }
        for finding in &self.story.check.withdrawn {
            self.text.push('\n');
            self.prose(&phrase::withdrawn(finding));
        }
    }

    fn finding(&mut self, finding: &FindingLine) {
        self.line(&format!(
            "### {}. {} ({}), {}\n",
            finding.number,
            finding.rule.name(),
            finding.severity.name(),
            finding.device.0
        ));
        self.prose(&phrase::message(finding));
        self.text.push('\n');
        // The advice is the program's own text.
        let advice = format!("What to do: {}", finding.advice);
        self.text.push_str(&wrap(&advice, "", ""));
        if !finding.holders.is_empty() {
            self.text.push_str("\nHolders, times relative to the finding:\n\n");
            self.holders(&finding.holders, finding.holders_omitted, finding.start_ns);
        }
        if !finding.evidence.is_empty() {
            self.text.push_str("\nShown by these records:\n\n");
            let rows: Vec<_> = finding
                .evidence
                .iter()
                .map(|id| vec![id.0.to_string(), evidence::describe(self.story, id.0).unwrap_or_default()])
                .collect();
            self.columns(&rows);
        }
        if !finding.stack.is_empty() {
            self.text.push_str("\nStack, innermost first:\n\n");
            let frames = finding.stack.iter().take(MAX_FRAMES);
            let rows: Vec<_> = frames
                .map(|frame| {
                    let name = frame.symbol.clone().map(String::from);
                    vec![name.unwrap_or_else(|| format!("{:#x}", frame.addr.0))]
                })
                .collect();
            self.columns(&rows);
            let more = finding.stack.len().saturating_sub(MAX_FRAMES);
            if more > 0 {
                writeln!(self.text, "    ... and {more} more").unwrap_or_default();
            }
        }
    }
}

/// A device with its names.
fn name(device: &DeviceStory) -> String {
    let names = device.names.as_ref().map_or_else(String::new, |names| format!(" ({names})"));
    format!("{}{names}", device.device)
}
