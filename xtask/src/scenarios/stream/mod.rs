//! The complete output of `p2p-trace live --json`.

mod numbers;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};

use p2p_trace_common::slot::Sharing;

use super::product::{
    EventLine, FindingLine, FrameLine, Hex, HookLine, Line, LostLine, SummaryLine, VerdictLine,
};

/// A stream, from the first status to the summary.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// The events, in the order of the output.
    pub(crate) events: Vec<EventLine>,
    /// Reports of losses.
    pub(crate) losses: Vec<LostLine>,
    /// Each version of each finding, in the order of the output.
    pub(crate) findings: Vec<FindingLine>,
    /// The verdicts of the rules.
    pub(crate) verdicts: Vec<VerdictLine>,
    /// Which CPUs share their rings.
    sharing: Sharing,
    /// The summary; a stream that was cut off has none.
    summary: Option<SummaryLine>,
}

impl Stream {
    /// Parses the lines of a complete stream.
    ///
    /// # Errors
    ///
    /// A line is not a JSON object of a known type, or the stream does not begin with a status and end with a
    /// summary.
    pub(crate) fn parse<S: AsRef<str>>(lines: &[S]) -> Result<Self> {
        let read = read(lines)?;
        read.summary()?;
        Ok(read)
    }

    /// Parses a stream up to its writer's death. It has no summary.
    pub(crate) fn parse_cut_off<S: AsRef<str>>(lines: &[S]) -> Result<Self> {
        let read = read(lines)?;
        ensure!(read.summary.is_none(), "the stream has a summary: it was not cut off");
        Ok(read)
    }

    /// Fills in names that arrived after the lines that refer to them.
    fn name(&mut self, names: &[FrameLine]) {
        let symbol = |addr: Hex| names.iter().find(|frame| frame.addr == addr)?.symbol.clone();
        let fill = |frame: &mut FrameLine| {
            if frame.symbol.is_none() {
                frame.symbol = symbol(frame.addr);
            }
        };
        for event in &mut self.events {
            event.caller.iter_mut().chain(&mut event.stack).for_each(fill);
        }
        for finding in &mut self.findings {
            finding.stack.iter_mut().for_each(fill);
            for holder in &mut finding.holders {
                holder.caller = holder.caller.take().or_else(|| symbol(holder.caller_addr?));
            }
        }
    }

    /// The events of one kind.
    pub(crate) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a EventLine> {
        self.events.iter().filter(move |event| event.kind.name() == kind)
    }

    /// The first event of a kind.
    pub(crate) fn first(&self, kind: &str) -> Result<&EventLine> {
        let first = self.events.iter().find(|event| event.kind.name() == kind);
        first.with_context(|| format!("there is no event `{kind}`"))
    }

    /// The only event of a kind.
    pub(crate) fn only(&self, kind: &str) -> Result<&EventLine> {
        let last = self.events.iter().rfind(|event| event.kind.name() == kind);
        let first = self.first(kind)?;
        ensure!(last.is_some_and(|last| std::ptr::eq(first, last)), "there is more than one event `{kind}`");
        Ok(first)
    }

    /// The summary at the end.
    pub(crate) fn summary(&self) -> Result<&SummaryLine> {
        let summary = self.summary.as_ref();
        summary.context("the stream has no summary: it was cut off")
    }

    /// The summary's line on one hook.
    pub(crate) fn hook(&self, name: &str) -> Result<&HookLine> {
        let known = self.summary()?.hooks.iter().find(|hook| hook.hook.name() == name);
        known.with_context(|| format!("the summary lacks the hook {name}"))
    }

    /// Checks the invariants of every stream: each event occurs once and in the order of time, and every hit
    /// is accounted for.
    pub(crate) fn check(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        for event in &self.events {
            let id = event.id.0;
            ensure!(seen.insert(id), "the event {id} occurs twice");
            let expected = (event.cpu, event.seq);
            ensure!((id.cpu, id.seq) == expected, "the id {id} does not end with {expected:?}");
        }
        for pair in self.events.windows(2) {
            ensure!(
                pair[0].time_ns <= pair[1].time_ns,
                "{} of {} ns comes before {} of {} ns",
                pair[0].id.0,
                pair[0].time_ns,
                pair[1].id.0,
                pair[1].time_ns
            );
        }
        let summary = self.summary()?;
        ensure!(
            summary.contradictions.is_empty(),
            "the summary contradicts itself: {}",
            summary.contradictions.join("; ")
        );
        let shown = self.shown();
        for hook in &summary.hooks {
            let (name, delivered) = (hook.hook.name(), hook.delivered);
            ensure!(
                delivered + hook.lost == hook.hits,
                "{name}: {delivered} delivered + {} lost do not add up to {} hits",
                hook.lost,
                hook.hits
            );
            let shown = shown.get(name).copied().unwrap_or_default();
            ensure!(shown == delivered, "{name}: {delivered} delivered, but its events stand for {shown}");
        }
        self.check_findings()?;
        self.check_numbers()
    }

    /// The events that the kernel side observed: neither stacks, which belong to the event before them, nor
    /// the tool's own records about attached hooks and its findings about the kernel's state.
    pub(crate) fn observed(&self) -> impl Iterator<Item = &EventLine> {
        let own = |event: &&EventLine| {
            matches!(
                event.kind.name(),
                "stack" | "attach" | "allocated_run" | "snapshot_end" | "holder_exited"
            )
        };
        self.events.iter().filter(move |event| !own(event))
    }

    /// The number of hits per hook that the events stand for.
    fn shown(&self) -> BTreeMap<&str, u64> {
        let mut shown = BTreeMap::new();
        for event in self.observed() {
            // Only page frees are combined into one record; in other events `count` has another meaning.
            let units = if event.kind.name() == "page_free" { event.count.map_or(1, u64::from) } else { 1 };
            *shown.entry(event.hook.name()).or_default() += units;
        }
        shown
    }
}

/// Parses the last line of a stream.
pub(crate) fn summary(line: &str) -> Result<SummaryLine> {
    match serde_json::from_str(line) {
        Ok(Line::Summary(summary)) => Ok(summary.line),
        _ => bail!("p2p-trace ended without a summary: {line}"),
    }
}

fn read<S: AsRef<str>>(lines: &[S]) -> Result<Stream> {
    let (mut read, mut names) = (Stream::default(), Vec::new());
    for (index, text) in lines.iter().map(AsRef::as_ref).enumerate() {
        let at = || format!("line {} of the stream: {text}", index + 1);
        let line = serde_json::from_str(text).with_context(at)?;
        ensure!(read.summary.is_none(), "{} comes after the summary", at());
        ensure!(
            index > 0 || matches!(line, Line::Status(_)),
            "the stream does not begin with a status: {text}"
        );
        match line {
            Line::Status(line) => read.sharing = line.rings.sharing(line.cpus),
            Line::Event(event) => read.events.push(*event),
            Line::Lost(loss) => read.losses.push(loss.line),
            Line::Finding(finding) => read.findings.push(finding.line),
            Line::Names(found) => names.extend(found.line.names),
            Line::Unshown(unshown) => bail!("{} events are not shown", unshown.events),
            Line::Verdict(verdict) => read.verdicts.push(verdict.line),
            Line::Summary(summary) => read.summary = Some(summary.line),
        }
    }
    read.name(&names);
    Ok(read)
}

#[cfg(test)]
pub(crate) mod tests;
