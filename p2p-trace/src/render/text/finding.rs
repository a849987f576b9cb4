//! A finding: the violation, the holders, the advice, the evidence.

use std::fmt::{self, Write as _};

use p2p_trace_model::{
    holders::Holder,
    rules::{Finding, RuleId},
    units::{bytes, duration},
};

use super::{
    Options,
    event::{ACTION, DEVICE},
};
use crate::render::Context;

/// Maximum of holders, records and frames in text; JSON has all.
const HOLDERS: usize = 8;
const RECORDS: usize = 6;
const FRAMES: usize = 12;

/// Width of the time of day.
const TIME: usize = 15;

/// The text of a finding that is new at `reported_ns`, `CLOCK_BOOTTIME`: its line, with details below.
pub(crate) fn finding(
    finding: &Finding,
    reported_ns: u64,
    context: &Context<'_>,
    options: Options,
) -> String {
    let mut out = Out { text: String::new(), context, options };
    // Writing to a string does not fail.
    out.complete(finding, reported_ns).unwrap_or_default();
    out.text
}

/// The line of a finding that was shown before: it has ended, has happened again, or is withdrawn.
pub(crate) fn changed(
    finding: &Finding,
    reported_ns: u64,
    context: &Context<'_>,
    options: Options,
) -> String {
    let change = withdrawn(finding).or_else(|| times(finding)).or_else(|| end(finding));
    let change = change.unwrap_or_else(|| "is ongoing".to_owned());
    let action = format!("finding {}", finding.number);
    let line = format!("{} of {} {change}", finding.rule.name(), finding.device);
    format!(
        "{} {:DEVICE$} {} {line}\n",
        options.style.dim(&context.clock.time_of_day(reported_ns)),
        finding.device.to_string(),
        options.style.warning(&format!("{action:ACTION$}")),
    )
}

/// The finding is withdrawn.
fn withdrawn(finding: &Finding) -> Option<String> {
    finding.withdrawn.as_ref().map(|why| format!("is withdrawn: {why}"))
}

/// The finding has happened again.
fn times(finding: &Finding) -> Option<String> {
    (finding.occurrences > 1).then(|| format!("happened {} times", finding.occurrences))
}

fn end(finding: &Finding) -> Option<String> {
    let lasted = finding.end_ns?.saturating_sub(finding.start_ns);
    Some(format!("ended after {}", duration(lasted)))
}

/// Stalls last for a while; other violations are momentary.
const fn is_stall(finding: &Finding) -> bool {
    matches!(finding.rule, RuleId::StalledDrain | RuleId::StalledUnbind)
}

/// Its known duration is not zero. It is unknown for a finding from before the dump.
fn lasted(finding: &Finding) -> bool {
    is_stall(finding) && finding.end_ns.is_some_and(|end_ns| end_ns > finding.start_ns)
}

struct Out<'a> {
    text: String,
    context: &'a Context<'a>,
    options: Options,
}

impl Out<'_> {
    fn complete(&mut self, finding: &Finding, reported_ns: u64) -> fmt::Result {
        let style = self.options.style;
        writeln!(
            self.text,
            "{} {:DEVICE$} {} {} ({}, finding {}): {}",
            style.dim(&self.context.clock.time_of_day(reported_ns)),
            finding.device.to_string(),
            style.alarm(&format!("{:ACTION$}", "VIOLATED")),
            style.strong(finding.rule.name()),
            finding.severity.name(),
            finding.number,
            finding.message
        )?;
        if let Some(progress) = times(finding).or_else(|| end(finding).filter(|_| lasted(finding))) {
            self.labelled("", &progress)?;
        }
        for holder in finding.holders.iter().take(HOLDERS) {
            let text = self.holder(holder, reported_ns);
            self.labelled("held", &text)?;
        }
        let unshown = finding.holders.len().saturating_sub(HOLDERS) as u64;
        let unshown = unshown.saturating_add(finding.holders_omitted);
        if unshown > 0 {
            self.labelled("", &format!("and by {unshown} more"))?;
        }
        self.labelled("what to do", finding.advice)?;
        let records: Vec<_> = finding.evidence.iter().map(ToString::to_string).collect();
        let (shown, rest) = records.split_at(records.len().min(RECORDS));
        let more = match rest.len() {
            0 => String::new(),
            rest => format!(" and {rest} more"),
        };
        if !shown.is_empty() {
            self.dim("shown by", &format!("{}{more}", shown.join(", ")))?;
        }
        self.stack(finding)
    }

    /// The stack of a stall shows where it hangs; other stacks are shown on request.
    fn stack(&mut self, finding: &Finding) -> fmt::Result {
        let shown = match (self.options.stacks, is_stall(finding)) {
            (true, _) => usize::MAX,
            (false, true) => FRAMES,
            (false, false) => return Ok(()),
        };
        let frames = self.context.frames(&finding.stack).into_iter().take(shown);
        for (index, frame) in frames.enumerate() {
            self.dim(if index == 0 { "stack" } else { "" }, &frame.to_string())?;
        }
        Ok(())
    }

    fn holder(&self, holder: &Holder, reported_ns: u64) -> String {
        let by = holder.task.map_or_else(
            || "an unknown task".to_owned(),
            |task| format!("{} (pid {})", task.name(), task.pid),
        );
        let age = duration(reported_ns.saturating_sub(holder.since_ns));
        let mut parts = vec![format!("{} by {by}: {}", holder.kind, bytes(holder.bytes))];
        if holder.references > 1 {
            parts.push(format!("{} references", holder.references));
            parts.push(format!("allocated up to {age} ago"));
        } else {
            parts.push(format!("allocated {age} ago"));
        }
        let caller = holder.caller.and_then(|addr| self.context.caller(addr));
        parts.extend(caller.map(|frame| format!("called from {frame}")));
        if holder.exited_since_ns.is_some() {
            parts.push("process EXITED".to_owned());
        }
        parts.push(format!("record {}", holder.record));
        parts.join(", ")
    }

    fn labelled(&mut self, label: &str, text: &str) -> fmt::Result {
        let indent = TIME + 1 + DEVICE + 1;
        writeln!(self.text, "{:indent$}{label:ACTION$} {text}", "")
    }

    fn dim(&mut self, label: &str, text: &str) -> fmt::Result {
        let text = self.options.style.dim(text);
        self.labelled(label, &text)
    }
}
