//! What the tracer itself takes for an event: one processor, the tracer stands still while memory is taken and given back, and
//! catches up when nothing happens any more, so that the processor works for nobody else.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::lab::{BenchLab, Events, Measured};
use super::watch::{Watched, Watcher};

/// Pairs that are caught up with: two events each.
const PAIRS: u64 = 200_000;
/// Bytes of one allocation.
const SIZE: u64 = 4096;
/// Room for every record.
const ROOM: &str = "--ring-size 128M";
/// The tracer has caught up when it takes less than this in a second.
const RESTING_NS: u64 = 20_000_000;
/// The thread that draws the dashboard: its work goes by time and not by events.
const DRAWING: &str = "drawing";

/// What catches up, by the names of the cases.
pub(super) const CASES: [(&str, Watcher); 3] =
    [("reader-record", Watcher::Record), ("reader-live", Watcher::Live), ("reader-top", Watcher::Top)];

impl BenchLab {
    /// What it takes to catch up.
    ///
    /// # Errors
    ///
    /// It does not do what it should.
    pub(super) fn catching_up(&mut self, watcher: Watcher) -> Result<Measured> {
        let Watched { delivered, lost, measured: threads } = self.watched(watcher, ROOM, Self::caught_up)?;
        // Frames of a screen are counted apart.
        let reader_ns = threads.iter().filter(|(name, _)| *name != DRAWING).map(|(_, ns)| ns).sum();
        Ok(Measured {
            events: Some(Events { delivered, lost, reader_ns: Some(reader_ns) }),
            threads: threads.into_iter().collect(),
            ..Measured::default()
        })
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
            let allocated = |threads: &BTreeMap<String, u64>| threads.values().sum::<u64>();
            if allocated(&now).saturating_sub(allocated(&reached)) < RESTING_NS * super::lab::CATCH_UP_S {
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
