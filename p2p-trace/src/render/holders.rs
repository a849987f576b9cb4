//! The text of the `holders` report, for a terminal of at least 80 columns.

use std::fmt::{self, Write as _};

use p2p_trace_model::{
    state::HolderKind,
    units::{bytes, duration},
};
use p2p_trace_probe::kernel::tasks::Liveness;

use crate::{
    device_report::{
        Answer, DeviceReport, Holder, Preexisting, RangeReport, RangeState, Report, Residual, Source,
        UnbindReport,
    },
    render::{
        text::{Style, wrap},
        words::{self, counted},
    },
};

/// Maximum of listed pieces of pre-existing memory.
const RUNS: usize = 4;

/// Maximum of named steps of an unbind, the latest ones.
const STEPS: usize = 12;

/// Indent of continuation lines.
const INDENT: &str = "             ";

/// The text of a report, wrapped at `width` columns.
pub(crate) fn text(report: &Report, width: usize, style: Style) -> String {
    let mut out = Out { text: String::new(), width: width.clamp(60, 120), style };
    // Writing to a string does not fail.
    out.report(report).unwrap_or_default();
    out.text
}

struct Out {
    text: String,
    width: usize,
    style: Style,
}

impl Out {
    fn report(&mut self, report: &Report) -> fmt::Result {
        let source = match &report.source {
            Source::Live { pid, since_ns, .. } => format!(
                "as observed by the tracer with process id {pid} for {}",
                duration(report.time_ns.saturating_sub(*since_ns))
            ),
            Source::OneShot => "a single snapshot: the holders of earlier allocations are unknown".to_owned(),
        };
        writeln!(self.text, "{}", self.style.dim(&format!("{}  {source}", short_time(&report.time))))?;
        if report.devices.is_empty() {
            writeln!(self.text, "no device has p2p memory")?;
        }
        for device in &report.devices {
            writeln!(self.text)?;
            self.device(device, report.time_ns)?;
        }
        if report.devices.iter().any(|device| !device.holders.is_empty()) {
            writeln!(self.text)?;
            let note = "Who allocated memory was observed; who uses or pins it now was not.";
            writeln!(self.text, "{}", self.style.dim(note))?;
        }
        if !report.gaps.is_empty() {
            writeln!(self.text)?;
        }
        for gap in &report.gaps {
            self.labelled("not read", gap, Self::plain)?;
        }
        Ok(())
    }

    fn device(&mut self, device: &DeviceReport, now_ns: u64) -> fmt::Result {
        let title = device.device.0.to_string();
        let room = self.width.saturating_sub(title.len() + 2);
        for (at, line) in wrap(&headline(device), room).iter().enumerate() {
            match at {
                0 => writeln!(self.text, "{}  {line}", self.style.strong(&title))?,
                _ => writeln!(self.text, "{INDENT}{line}")?,
            }
        }
        for range in &device.ranges {
            self.labelled("range", &range_line(range), Self::plain)?;
            if let Some(residual) = &range.residual {
                self.labelled("references", &residual_line(residual), Self::plain)?;
            }
        }
        if let Some(unbind) = &device.unbind {
            self.unbind(unbind, now_ns)?;
        }
        self.holders(&device.holders)?;
        if let Some(preexisting) = &device.preexisting {
            self.preexisting(preexisting)?;
        }
        for candidate in &device.candidates {
            self.labelled("candidate", &candidate.reason, Self::plain)?;
        }
        for reason in &device.uncertain {
            self.labelled("uncertain", reason, Style::warning)?;
        }
        let verdict = &device.can_unbind;
        let (answer, paint): (_, Paint) = match verdict.answer {
            Answer::Yes => ("yes", Self::plain),
            Answer::Unknown => ("unknown", Style::warning),
            Answer::No => ("no", Style::alarm),
        };
        self.labelled("can unbind", &format!("{answer}: {}", verdict.reason), paint)?;
        // Does not repeat what the reason contains.
        for wait in verdict.waits_for.iter().filter(|wait| !verdict.reason.contains(wait.as_str())) {
            self.labelled("  for", wait, Self::plain)?;
        }
        Ok(())
    }

    fn unbind(&mut self, unbind: &UnbindReport, now_ns: u64) -> fmt::Result {
        let mut text = if unbind.blocked { "BLOCKED" } else { "ongoing" }.to_owned();
        match (unbind.since_ns, unbind.waiting_ns) {
            (Some(since), _) => {
                let least = if unbind.steps_may_be_missing { "at least " } else { "" };
                write!(text, " for {least}{}", duration(now_ns.saturating_sub(since)))?;
            }
            (None, Some(waiting)) => write!(
                text,
                "; its beginning was not observed, its task has been off the CPU for {}",
                duration(waiting)
            )?,
            (None, None) => write!(text, "; its beginning was not observed")?,
        }
        if let Some(task) = &unbind.task {
            write!(text, ", by {task}")?;
        }
        if let Some(step) = unbind.step {
            write!(text, ", {step}")?;
        }
        let paint: Paint = if unbind.blocked { Style::alarm } else { Style::teardown };
        self.labelled("unbind", &text, paint)?;
        if !unbind.steps.is_empty() {
            let first = unbind.steps.len().saturating_sub(STEPS);
            let steps = unbind.steps[first..].iter().map(|step| step.kind.as_str());
            let before = (first > 0).then(|| format!("{first} steps"));
            let steps: Vec<_> = before.as_deref().into_iter().chain(steps).collect();
            self.labelled("  observed", &steps.join(", "), Self::plain)?;
        }
        for (at, frame) in unbind.stack.iter().enumerate() {
            self.labelled(if at == 0 { "  stack" } else { "" }, frame, Self::plain)?;
        }
        if let Some(error) = &unbind.stack_error {
            self.labelled("  stack", error, Style::warning)?;
        }
        Ok(())
    }

    fn holders(&mut self, holders: &[Holder]) -> fmt::Result {
        for holder in holders {
            let by = holder
                .allocated_by
                .as_ref()
                .map_or_else(|| "an unknown task".to_owned(), ToString::to_string);
            let mut text = format!("{} by {by}, {}", bytes(holder.bytes), pieces(holder));
            let age = duration(holder.age_ns);
            if holder.count > 1 {
                write!(text, ", allocated up to {age} ago")?;
            } else {
                write!(text, ", allocated {age} ago")?;
            }
            match holder.process {
                Liveness::Alive => {}
                Liveness::Exited => text.push_str(", process EXITED"),
                Liveness::Unknown => text.push_str(", process state unknown"),
            }
            self.labelled("held", &text, Self::plain)?;
            let caller = holder.caller.clone().map(String::from);
            let own = holder.by_driver.filter(|own| *own).map(|_| "the driver's own".to_owned());
            let cgroup = holder.cgroup.as_ref().map(|cgroup| format!("cgroup {cgroup}"));
            let unsure = "may have been freed and allocated by another task: records were lost since";
            let unsure = holder.unsure.then(|| unsure.to_owned());
            let details: Vec<_> = [caller, own, cgroup, unsure].into_iter().flatten().collect();
            if !details.is_empty() {
                self.labelled("", &details.join(", "), Style::dim)?;
            }
        }
        Ok(())
    }

    fn preexisting(&mut self, preexisting: &Preexisting) -> fmt::Result {
        let pieces = preexisting.runs.len() as u64 + preexisting.runs_omitted;
        let text = format!(
            "{} in {}, holder unknown: allocated before tracing, or while records were lost",
            bytes(preexisting.bytes),
            counted(pieces, "piece")
        );
        self.labelled("held", &text, Self::plain)?;
        if preexisting.mapped_max > 0 {
            let text =
                format!("up to {} of it may belong to observed mappings", bytes(preexisting.mapped_max));
            self.labelled("", &text, Style::dim)?;
        }
        let listed: Vec<_> = preexisting.runs.iter().take(RUNS).collect();
        for run in &listed {
            self.labelled("", &format!("{} at {}", bytes(run.size), run.addr), Style::dim)?;
        }
        let rest = pieces - listed.len() as u64;
        if rest > 0 {
            self.labelled("", &format!("and {rest} more"), Style::dim)?;
        }
        Ok(())
    }

    /// A label and its text, wrapped.
    fn labelled(&mut self, label: &str, text: &str, paint: Paint) -> fmt::Result {
        let room = self.width.saturating_sub(INDENT.len());
        for (at, line) in wrap(text, room).iter().enumerate() {
            let label = if at == 0 { label } else { "" };
            let width = INDENT.len() - 2;
            writeln!(self.text, "  {label:<width$}{}", paint(self.style, line))?;
        }
        Ok(())
    }

    fn plain(_style: Style, text: &str) -> String {
        text.to_owned()
    }
}

type Paint = fn(Style, &str) -> String;

fn headline(device: &DeviceReport) -> String {
    let mut parts = Vec::new();
    if !device.names.is_empty() {
        parts.push(device.names.join(" "));
    }
    parts.extend(device.driver.as_ref().map(|driver| format!("driver {driver}")));
    match device.size {
        Some(size) => parts.push(format!("{} of p2p memory", bytes(size))),
        None if device.ranges.is_empty() => parts.push("no p2p memory".to_owned()),
        None => {}
    }
    if device.ranges.iter().any(RangeReport::is_bypassed) {
        parts.push(words::BYPASSED.to_owned());
    } else {
        parts.extend(device.allocated.map(|allocated| format!("{} allocated", bytes(allocated))));
    }
    let published = |published| if published { "published" } else { "not published" };
    parts.extend(device.published.map(published).map(str::to_owned));
    parts.join(", ")
}

fn range_line(range: &RangeReport) -> String {
    let place = match (range.range_start, range.range_end) {
        (Some(start), Some(end)) => format!("{start}-{end}"),
        _ => format!("of pgmap {}", range.pgmap),
    };
    let state = match range.state {
        RangeState::Live => "live",
        RangeState::Killed => "KILLED, not drained",
        RangeState::Drained => "drained",
        RangeState::Removed => "removed",
        RangeState::Released => "released",
    };
    let mut parts = vec![place];
    parts.extend(range.size.map(bytes));
    parts.extend(range.bar.map(|bar| format!("BAR {bar}")));
    parts.push(state.to_owned());
    if range.is_bypassed() {
        parts.push(words::BYPASSED.to_owned());
        parts.extend(range.references.map(|refs| {
            let about = if refs.estimate { "about " } else { "" };
            format!("{about}{} references", refs.count)
        }));
    } else {
        parts.extend(range.allocated.map(|allocated| format!("{} allocated", bytes(allocated))));
    }
    parts.join(", ")
}

fn residual_line(residual: &Residual) -> String {
    let mut text = format!("{} left, {} of them known", residual.count, residual.known);
    if residual.unknown_max > 0 {
        let preexisting = span(residual.unknown_min, residual.unknown_max);
        text = format!("{text}, {preexisting} of unknown holders");
    }
    let unexplained = span(residual.unexplained_min, residual.unexplained_max);
    format!("{text}, {unexplained} unexplained")
}

fn span(min: u64, max: u64) -> String {
    if min == max { format!("{min}") } else { format!("{min} to {max}") }
}

fn pieces(holder: &Holder) -> String {
    let count = holder.count;
    match holder.kind {
        HolderKind::Allocation => counted(count, "allocation"),
        HolderKind::ScatterList => counted(count, "scatter list"),
        HolderKind::Mmap => {
            let pages = counted(holder.references, "page");
            format!("{pages} of {}", counted(count, "mapping"))
        }
    }
}

/// `2026-11-22T18:00:05.000000000Z` without fractions of a second.
fn short_time(time: &str) -> String {
    let (seconds, _) = time.split_once('.').unwrap_or((time, ""));
    format!("{}Z", seconds.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device_report::samples;

    const PLAIN: Style = Style { color: false };

    #[test]
    fn a_busy_device_and_a_blocked_one() {
        insta::assert_snapshot!(text(&samples::report(), 100, PLAIN));
    }

    #[test]
    fn a_narrow_terminal_gets_more_lines() {
        let text = text(&samples::report(), 80, PLAIN);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_single_snapshot_during_a_hang() {
        let mut report = samples::report();
        report.source = Source::OneShot;
        report.devices.remove(0);
        let device = &mut report.devices[0];
        device.holders.clear();
        device.preexisting = Some(samples::preexisting());
        if let Some(unbind) = &mut device.unbind {
            (unbind.since, unbind.since_ns) = (None, None);
            unbind.stack.clear();
            unbind.steps.clear();
            unbind.stack_error = Some("cannot read kernel stacks: CAP_SYS_ADMIN is required".into());
        }
        insta::assert_snapshot!(text(&report, 100, PLAIN));
        report.devices.clear();
        report.gaps.clear();
        assert_eq!(text(&report, 100, PLAIN).lines().nth(1), Some("no device has p2p memory"));
    }

    #[test]
    fn color_changes_only_escapes() {
        let colored = text(&samples::report(), 100, Style { color: true });
        assert!(colored.contains("\x1b[1;31m"));
        let mut plain = colored;
        while let Some(at) = plain.find('\x1b') {
            let end = plain[at..].find('m').unwrap();
            plain.replace_range(at..=at + end, "");
        }
        assert_eq!(plain, text(&samples::report(), 100, PLAIN));
    }
}
