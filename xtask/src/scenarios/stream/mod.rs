//! What `p2p-trace live --json` wrote, as a reader who knows only its documentation sees it.

mod numbers;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::findings::{Finding, Verdict};

/// A whole stream, from the first status to the summary.
#[derive(Debug)]
pub(crate) struct Stream {
    /// What happened, in the order of the output.
    pub(crate) events: Vec<Event>,
    /// Reports of losses.
    pub(crate) losses: Vec<Loss>,
    /// What violates a rule, each version of each, in the order of the output.
    pub(crate) findings: Vec<Finding>,
    /// What the rules came to.
    pub(crate) verdicts: Vec<Verdict>,
    /// The account at the end.
    pub(crate) summary: Summary,
}

/// One event; what is absent was not known.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Event {
    /// `run:cpu:seq`.
    pub(crate) id: String,
    /// What happened.
    pub(crate) kind: String,
    /// The hook that saw it.
    pub(crate) hook: String,
    /// When, in nanoseconds.
    pub(crate) time_ns: u64,
    /// On which CPU.
    pub(crate) cpu: u32,
    /// Number of the record on that CPU.
    pub(crate) seq: u64,
    /// Thread.
    pub(crate) pid: Option<u32>,
    /// Process.
    pub(crate) tgid: Option<u32>,
    /// Name of the thread.
    pub(crate) comm: Option<String>,
    /// PCI device.
    pub(crate) device: Option<String>,
    /// The range's object in the kernel.
    pub(crate) pgmap: Option<String>,
    /// Address of the memory.
    pub(crate) addr: Option<String>,
    /// First address of a range.
    pub(crate) start: Option<String>,
    /// Last address of a range.
    pub(crate) end: Option<String>,
    /// Bytes.
    pub(crate) size: Option<u64>,
    /// Offset in the BAR.
    pub(crate) offset: Option<u64>,
    /// Address of the `struct page`.
    pub(crate) page: Option<String>,
    /// Physical address.
    #[serde(rename = "phys")]
    pub(crate) physical: Option<String>,
    /// Address of the scatter list.
    pub(crate) sgl: Option<String>,
    /// The device that maps.
    pub(crate) client: Option<String>,
    /// The memory is offered to other drivers.
    pub(crate) publish: Option<bool>,
    /// The function gave nothing back.
    #[serde(default)]
    pub(crate) failed: bool,
    /// Where the function returns to.
    pub(crate) caller: Option<Frame>,
    /// Bytes that the pool counts as allocated.
    pub(crate) taken: Option<u64>,
    /// What the function returned.
    pub(crate) ret: Option<i64>,
    /// A hook was attached; false: detached.
    pub(crate) attached: Option<bool>,
    /// How many things the record stands for.
    pub(crate) count: Option<u64>,
    /// References, and whether that is an estimate.
    pub(crate) refs: Option<i64>,
    #[serde(default)]
    pub(crate) refs_estimate: bool,
    /// What a pull read found of a range.
    pub(crate) state: Option<Vec<String>>,
    /// Time that the holder of the device's lock has been off the CPU.
    pub(crate) waiting_ns: Option<u64>,
    /// The memory is published.
    pub(crate) published: Option<bool>,
    /// A pull read reached its end.
    pub(crate) complete: Option<bool>,
    /// Time of the last of them.
    pub(crate) last_ns: Option<u64>,
}

/// A kernel address with its name.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Frame {
    /// Function, offset and module.
    pub(crate) symbol: Option<String>,
}

/// The account of a run.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Summary {
    /// Per hook.
    pub(crate) hooks: Vec<Hook>,
    /// Records that were lost.
    pub(crate) lost: u64,
    /// Of these, the ones that the kernel did not run a program for.
    #[serde(default)]
    pub(crate) skipped: u64,
    /// Where the accounts of the kernel and of user space differ.
    #[serde(default)]
    pub(crate) contradictions: Vec<String>,
}

/// Records of one CPU that were lost.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Loss {
    /// The CPU, where it is known.
    pub(crate) cpu: Option<u32>,
    /// `hot` or `rare`.
    pub(crate) ring: String,
    /// How many.
    pub(crate) count: u64,
    /// Number of the first.
    pub(crate) first_seq: u64,
    /// Number of the last.
    pub(crate) last_seq: u64,
    /// `skipped`: they were never written, and have no numbers.
    pub(crate) reason: String,
}

/// The account of one hook, in units of what it counts.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Hook {
    /// Its name.
    #[serde(rename = "hook")]
    pub(crate) name: String,
    /// How it was attached; absent when it was not.
    pub(crate) method: Option<String>,
    /// What should have been delivered.
    #[serde(default)]
    pub(crate) hits: u64,
    /// What was.
    #[serde(default)]
    pub(crate) delivered: u64,
    /// What was not.
    #[serde(default)]
    pub(crate) lost: u64,
    /// What the kernel did not run the hook for; absent when it does not say.
    pub(crate) missed: Option<u64>,
}

impl Stream {
    /// Reads the lines of a whole stream.
    ///
    /// # Errors
    ///
    /// A line is no JSON object of a known type, or the stream does not begin with a status and end with a summary.
    pub(crate) fn parse<S: AsRef<str>>(lines: &[S]) -> Result<Self> {
        let read = read(lines)?;
        ensure!(
            read.summary.is_some(),
            "the stream has no summary: it was cut off"
        );
        Ok(read.into())
    }

    /// Reads what came of a stream until the machine of its writer died. Its account is empty.
    ///
    /// # Errors
    ///
    /// As for [`Stream::parse`], but here a summary is one too many.
    pub(crate) fn parse_cut_off<S: AsRef<str>>(lines: &[S]) -> Result<Self> {
        let read = read(lines)?;
        ensure!(
            read.summary.is_none(),
            "the stream has a summary: it was not cut off"
        );
        Ok(read.into())
    }

    /// The events of one kind.
    pub(crate) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Event> {
        self.events.iter().filter(move |event| event.kind == kind)
    }

    /// The first event of a kind.
    ///
    /// # Errors
    ///
    /// There is none.
    pub(crate) fn first(&self, kind: &str) -> Result<&Event> {
        let mut events = self.events.iter().filter(|event| event.kind == kind);
        events
            .next()
            .with_context(|| format!("there is no event `{kind}`"))
    }

    /// The only event of a kind.
    ///
    /// # Errors
    ///
    /// There is none, or there are several.
    pub(crate) fn only(&self, kind: &str) -> Result<&Event> {
        let mut events = self.events.iter().filter(|event| event.kind == kind);
        let event = events
            .next()
            .with_context(|| format!("there is no event `{kind}`"))?;
        ensure!(events.next().is_none(), "there is more than one event `{kind}`");
        Ok(event)
    }

    /// The account of one hook.
    ///
    /// # Errors
    ///
    /// The summary does not know it.
    pub(crate) fn hook(&self, name: &str) -> Result<&Hook> {
        let known = self.summary.hooks.iter().find(|hook| hook.name == name);
        known.with_context(|| format!("the summary does not tell of the hook {name}"))
    }

    /// Checks what holds for every stream: each event once and in the order of time, and every hit accounted for.
    ///
    /// # Errors
    ///
    /// Names what does not hold.
    pub(crate) fn check(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        for event in &self.events {
            ensure!(
                seen.insert(event.id.as_str()),
                "the event {} is there twice",
                event.id
            );
            let expected = format!(":{}:{}", event.cpu, event.seq);
            ensure!(
                event.id.ends_with(&expected),
                "the id {} does not end with {expected}",
                event.id
            );
        }
        for pair in self.events.windows(2) {
            ensure!(
                pair[0].time_ns <= pair[1].time_ns,
                "{} of {} ns comes before {} of {} ns",
                pair[0].id,
                pair[0].time_ns,
                pair[1].id,
                pair[1].time_ns
            );
        }
        let summary = &self.summary;
        ensure!(
            summary.contradictions.is_empty(),
            "the tool contradicts itself: {}",
            summary.contradictions.join("; ")
        );
        let shown = self.shown();
        for Hook {
            name,
            hits,
            delivered,
            lost,
            ..
        } in &summary.hooks
        {
            ensure!(
                delivered + lost == *hits,
                "{name}: {delivered} delivered + {lost} lost are not {hits} hits"
            );
            let shown = shown.get(name.as_str()).copied().unwrap_or_default();
            ensure!(
                shown == *delivered,
                "{name}: {delivered} delivered, but its events stand for {shown}"
            );
        }
        self.check_findings()?;
        self.check_numbers()
    }

    /// The events that the kernel side wrote about what happened: neither stacks, which belong to the event before
    /// them, nor what the tool itself writes: changes of what is attached, and what it found out.
    pub(crate) fn observed(&self) -> impl Iterator<Item = &Event> {
        let own = |event: &&Event| {
            matches!(
                event.kind.as_str(),
                "stack" | "attach" | "run" | "pulled" | "gone"
            )
        };
        self.events.iter().filter(move |event| !own(event))
    }

    /// Per hook, for how many hits its events stand.
    fn shown(&self) -> BTreeMap<&str, u64> {
        let mut shown = BTreeMap::new();
        for event in self.observed() {
            // Only page frees are gathered into one record; elsewhere `count` says something else.
            let units = if event.kind == "page_free" {
                event.count.unwrap_or(1)
            } else {
                1
            };
            *shown.entry(event.hook.as_str()).or_default() += units;
        }
        shown
    }
}

/// What the lines of a stream hold.
#[derive(Debug, Default)]
struct Read {
    events: Vec<Event>,
    losses: Vec<Loss>,
    findings: Vec<Finding>,
    verdicts: Vec<Verdict>,
    summary: Option<Summary>,
}

impl From<Read> for Stream {
    fn from(read: Read) -> Self {
        Self {
            events: read.events,
            losses: read.losses,
            findings: read.findings,
            verdicts: read.verdicts,
            summary: read.summary.unwrap_or_default(),
        }
    }
}

fn read<S: AsRef<str>>(lines: &[S]) -> Result<Read> {
    let mut read = Read::default();
    for (index, line) in lines.iter().map(AsRef::as_ref).enumerate() {
        let at = || format!("line {} of the stream: {line}", index + 1);
        let value: Value = serde_json::from_str(line).with_context(at)?;
        ensure!(read.summary.is_none(), "{} comes after the summary", at());
        let kind = value["type"].as_str().unwrap_or_default();
        ensure!(
            index > 0 || kind == "status",
            "the stream does not begin with a status: {line}"
        );
        match kind {
            "status" => {}
            "event" => read.events.push(serde_json::from_value(value).with_context(at)?),
            "lost" => read.losses.push(serde_json::from_value(value).with_context(at)?),
            "finding" => read
                .findings
                .push(serde_json::from_value(value).with_context(at)?),
            "verdict" => read
                .verdicts
                .push(serde_json::from_value(value).with_context(at)?),
            "summary" => read.summary = Some(serde_json::from_value(value).with_context(at)?),
            _ => bail!("{} is of no known type", at()),
        }
    }
    Ok(read)
}

#[cfg(test)]
pub(crate) mod tests;
