//! What the tracer itself takes for an event: one processor, the tracer stands still while memory is taken and given back, and
//! catches up when nothing happens any more, so that the processor works for nobody else.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::lab::{BenchLab, Events, Measured};
use super::speed::{left_behind, summed};
use crate::guest::terminal::{Screen, hold_command};
use crate::scenarios::product::CheckReport;
use crate::scenarios::{Method, dashboard};

/// Pairs that are caught up with: two events each.
const PAIRS: u64 = 200_000;
/// Bytes of one allocation.
const SIZE: u64 = 4096;
/// Room for every record.
const ROOM: &str = "--ring-size 128M";
/// The tracer has caught up when it takes less than this in a second.
const RESTING_NS: u64 = 20_000_000;
/// How long the screen may take.
const PATIENCE: Duration = Duration::from_mins(5);
/// The thread that draws the dashboard: its work goes by time and not by events.
const DRAWING: &str = "drawing";

/// What catches up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reader {
    /// `record` into a file in memory.
    Record,
    /// `live --json` into a file in memory.
    Live,
    /// The dashboard.
    Top,
}

/// All of them, by the names of their cases.
pub(super) const CASES: [(&str, Reader); 3] =
    [("reader-record", Reader::Record), ("reader-live", Reader::Live), ("reader-top", Reader::Top)];

impl BenchLab {
    /// What it takes to catch up.
    ///
    /// # Errors
    ///
    /// It does not do what it should.
    pub(super) fn catching_up(&mut self, reader: Reader) -> Result<Measured> {
        match reader {
            Reader::Record => {
                const FILE: &str = "/run/reader.p2pt";
                let job = self.lab.record(FILE, ROOM)?;
                let threads = self.caught_up()?;
                self.lab.stop_silent(job)?;
                let said = self.lab.guest.check(&format!("p2p-trace check --json {FILE}; rm {FILE}*"))?;
                let checked: CheckReport =
                    serde_json::from_str(&said.concat()).context("check did not answer")?;
                Ok(measured(checked.events, checked.lost, threads))
            }
            Reader::Live => {
                const FILE: &str = "/run/reader.ndjson";
                let options = format!("--json {ROOM}");
                let job = self.lab.start_tracer("p2p-trace live", &options, &format!("> {FILE}"))?;
                let threads = self.caught_up()?;
                self.lab.stop_silent(job)?;
                let (delivered, lost) = summed(&mut self.lab, FILE)?;
                Ok(measured(delivered, lost, threads))
            }
            Reader::Top => {
                let mut screen = Screen::new(self.lab.guest.terminal()?, dashboard::SMALL)?;
                let held = self.lab.guest.spawn(&hold_command())?;
                dashboard::settle(&mut self.lab)?;
                let job = dashboard::start(&mut self.lab, &screen, Method::Fentry, ROOM)?;
                let threads = self.caught_up()?;
                screen.keys("q")?;
                let text = screen.wait_for("what the run came to", PATIENCE, |screen, text| {
                    !screen.is_taken() && text.contains(" lost")
                })?;
                self.end(job, held)?;
                let (delivered, lost) = left_behind(&text)
                    .with_context(|| format!("the dashboard does not tell what the run came to:\n{text}"))?;
                Ok(measured(delivered, lost, threads))
            }
        }
    }

    /// Has it stand still while everything happens; gives what its threads took from then on until they had nothing to do.
    fn caught_up(&mut self) -> Result<BTreeMap<String, u64>> {
        self.lab.guest.check("kill -STOP $(pidof p2p-trace)")?;
        let card = self.lab.card.clone();
        self.lab.command(&format!("load {card} {SIZE} {PAIRS}"))?;
        let before = self.threads()?;
        self.lab.guest.check("kill -CONT $(pidof p2p-trace)")?;
        let mut reached = before.clone();
        loop {
            self.catch_up()?;
            let now = self.threads()?;
            let taken = |threads: &BTreeMap<String, u64>| threads.values().sum::<u64>();
            if taken(&now).saturating_sub(taken(&reached)) < RESTING_NS * super::lab::CATCH_UP_S {
                let since = |(name, ns): (String, u64)| {
                    let before = before.get(&name).copied().unwrap_or_default();
                    (name, ns.saturating_sub(before))
                };
                return Ok(now.into_iter().map(since).collect());
            }
            reached = now;
        }
    }

    /// Nanoseconds that the threads of the tracer have run, by their names.
    fn threads(&mut self) -> Result<BTreeMap<String, u64>> {
        let lines = self.lab.guest.check(
            "cd /proc/$(pidof p2p-trace)/task && for task in *; do echo $(cat $task/schedstat $task/comm); done",
        )?;
        let mut threads = BTreeMap::new();
        for line in &lines {
            let mut words = line.split(' ');
            let ns: Option<u64> = words.next().and_then(|ns| ns.parse().ok());
            let ns = ns.with_context(|| format!("no schedstat: {line}"))?;
            *threads.entry(words.skip(2).collect::<Vec<_>>().join(" ")).or_default() += ns;
        }
        Ok(threads)
    }
}

/// Frames of a screen are counted apart.
fn measured(delivered: u64, lost: u64, threads: BTreeMap<String, u64>) -> Measured {
    let reader_ns = threads.iter().filter(|(name, _)| *name != DRAWING).map(|(_, ns)| ns).sum();
    Measured {
        events: Some(Events { delivered, lost, reader_ns: Some(reader_ns) }),
        threads: threads.into_iter().collect(),
        ..Measured::default()
    }
}
