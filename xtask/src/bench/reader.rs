//! The tracer's own cost per event: on one processor, the tracer is stopped during allocations and frees, and
//! catches up afterwards, so that the processor does no other work.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::lab::{BenchLab, Events, Measured};
use super::watch::{Watched, Watcher};

/// Pairs to catch up with: two events each.
const PAIRS: u64 = 200_000;
/// Bytes of one allocation.
const SIZE: u64 = 4096;
/// Room for every record.
const ROOM: &str = "--ring-size 128M";
/// The tracer has caught up when it uses less than this per second.
const RESTING_NS: u64 = 20_000_000;
/// The thread that draws the dashboard: its work depends on time and not on events.
const DRAWING: &str = "drawing";

/// The ways to watch, by the names of their cases.
pub(super) const CASES: [(&str, Watcher); 3] =
    [("reader-record", Watcher::Record), ("reader-live", Watcher::Live), ("reader-top", Watcher::Top)];

impl BenchLab {
    /// Measures the cost of catching up.
    ///
    /// # Errors
    ///
    /// The tracer fails.
    pub(super) fn catching_up(&mut self, watcher: Watcher) -> Result<Measured> {
        let Watched { delivered, lost, measured: threads } = self.watched(watcher, ROOM, Self::caught_up)?;
        // Drawing is counted separately.
        let reader_ns = threads.iter().filter(|(name, _)| *name != DRAWING).map(|(_, ns)| ns).sum();
        Ok(Measured {
            events: Some(Events { delivered, lost, reader_ns: Some(reader_ns) }),
            threads: threads.into_iter().collect(),
            ..Measured::default()
        })
    }

    /// Stops the tracer during the load; returns the CPU time of its threads from then on until they are
    /// idle.
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
            let total = |threads: &BTreeMap<String, u64>| threads.values().sum::<u64>();
            if total(&now).saturating_sub(total(&reached)) < RESTING_NS * super::lab::CATCH_UP_S {
                let since = |(name, ns): (String, u64)| {
                    let before = before.get(&name).copied().unwrap_or_default();
                    (name, ns.saturating_sub(before))
                };
                return Ok(now.into_iter().map(since).collect());
            }
            reached = now;
        }
    }

    /// CPU time of the tracer's threads in nanoseconds, by their names.
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
