//! Two processors allocate and free at full speed, and the watcher has to share them: the losses of each way
//! to watch, with default options, and its cost per event.

use anyhow::{Result, bail, ensure};

use super::Plan;
use super::lab::{AtRest, BenchLab, Events, Measured};
use super::watch::{Watched, Watcher};

/// Pairs per processor unless the plan has another number.
pub(crate) const PAIRS: u64 = 100_000;
/// Processors.
pub(super) const CPUS: u8 = 2;
/// Bytes of one allocation.
const SIZE: u64 = 4096;
/// Seconds until the tracer is idle.
const SETTLED: u64 = 3;
/// Seconds of the idle measurement.
const RESTING: u64 = 10;
/// The ways to watch, by the names of their cases.
pub(crate) const CASES: [(&str, Watcher); 3] =
    [("speed-live", Watcher::Live), ("speed-record", Watcher::Record), ("speed-top", Watcher::Top)];

impl BenchLab {
    /// Measures a watcher under full load.
    ///
    /// # Errors
    ///
    /// The watcher fails.
    pub(super) fn at_full_speed(&mut self, watcher: Watcher, plan: Plan<'_>) -> Result<Measured> {
        self.storm_pairs = plan.pairs;
        let at_rest = match watcher {
            Watcher::Live if plan.at_rest => Some(self.at_rest()?),
            _ => None,
        };
        let Watched { delivered, lost, measured: reader_ns } = self.watched(watcher, "", Self::storm)?;
        // Every call has become an event, delivered or lost.
        let all = 2 * self.storm_pairs * u64::from(CPUS);
        ensure!(
            delivered + lost >= all,
            "{delivered} events were delivered and {lost} lost, but there were at least {all}"
        );
        let events = Events { delivered, lost, reader_ns: Some(reader_ns) };
        Ok(Measured { events: Some(events), at_rest, ..Measured::default() })
    }

    /// Milliseconds from the start of the tracer until everything is attached, with an error of about ten.
    fn attached_after(&mut self) -> Result<u64> {
        const READY: &str = "/run/speed.ready";
        let lines = self.lab.guest.check(&format!(
            "cat /proc/uptime; p2p-trace live --ready-file {READY} > /dev/null 2>&1 & \
             until [ -e {READY} ]; do sleep 0.01; done; cat /proc/uptime; kill -INT $(pidof p2p-trace); wait; rm -f {READY}"
        ))?;
        let times: Vec<f64> = lines.iter().filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
        match times[..] {
            [before, after] => Ok(((after - before) * 1000.0).round() as u64),
            _ => bail!("the guest's uptime cannot be read: {}", lines.join(" ")),
        }
    }

    /// Measures the cost of an idle tracer.
    fn at_rest(&mut self) -> Result<AtRest> {
        let attach_ms = self.attached_after()?;
        let job = self.lab.trace_silently("")?;
        self.lab.guest.check(&format!("sleep {SETTLED}"))?;
        let before = self.cpu_of("p2p-trace")?;
        self.lab.guest.check(&format!("sleep {RESTING}"))?;
        let idle_ns = self.cpu_of("p2p-trace")?.saturating_sub(before);
        self.lab.stop_silent(job)?;
        Ok(AtRest { attach_ms, idle_us_per_s: idle_ns / 1000 / RESTING })
    }

    /// Both processors allocate and free at once; returns the watcher's CPU time in nanoseconds until it has
    /// caught up.
    fn storm(&mut self) -> Result<u64> {
        let before = self.cpu_of("p2p-trace")?;
        let (card, pairs) = (self.lab.card.clone(), self.storm_pairs);
        let load = format!("echo load {card} {SIZE} {pairs} > /dev/p2ptest");
        let command = format!("for cpu in 0 1; do taskset -c $cpu sh -c '{load}' & done; wait");
        self.lab.guest.check(&command)?;
        self.catch_up()?;
        Ok(self.cpu_of("p2p-trace")?.saturating_sub(before))
    }
}
