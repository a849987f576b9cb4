//! Two processors take memory and give it back as fast as they can, and whoever watches has to share them: what each way to
//! watch loses, with default options, and what it takes per event.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;

use super::Plan;
use super::lab::{AtRest, BenchLab, Events, Measured};
use crate::guest::Job;
use crate::guest::terminal::{Screen, hold_command};
use crate::scenarios::lab::Lab;
use crate::scenarios::product::CheckReport;
use crate::scenarios::stream::summary;
use crate::scenarios::{Method, dashboard};

/// Pairs that each processor makes where nothing else is asked for.
pub(crate) const PAIRS: u64 = 100_000;
/// Processors.
pub(super) const CPUS: u8 = 2;
/// Bytes of one allocation.
const SIZE: u64 = 4096;
/// Seconds until it has nothing to do any more.
const SETTLED: u64 = 3;
/// Seconds in which it has nothing to do.
const RESTING: u64 = 10;
/// How long what came may take to be shown.
const PATIENCE: Duration = Duration::from_mins(5);

/// A way to watch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Watcher {
    /// `live --json` into a file.
    Live,
    /// `record`.
    Record,
    /// The dashboard.
    Top,
}

/// All of them, by the names of their cases.
pub(crate) const CASES: [(&str, Watcher); 3] =
    [("speed-live", Watcher::Live), ("speed-record", Watcher::Record), ("speed-top", Watcher::Top)];

impl BenchLab {
    /// What the watcher makes of it.
    ///
    /// # Errors
    ///
    /// It does not do what it should.
    pub(super) fn at_full_speed(&mut self, watcher: Watcher, plan: Plan<'_>) -> Result<Measured> {
        self.storm_pairs = plan.pairs;
        let at_rest = match watcher {
            Watcher::Live if plan.at_rest => Some(self.at_rest()?),
            _ => None,
        };
        let events = match watcher {
            Watcher::Live => self.shown(),
            Watcher::Record => self.recorded(),
            Watcher::Top => self.watched(),
        }?;
        Ok(Measured { events: Some(events), at_rest, ..Measured::default() })
    }

    /// Milliseconds from the start of the tracer until everything is attached, within some ten.
    fn attached_after(&mut self) -> Result<u64> {
        const READY: &str = "/run/speed.ready";
        let lines = self.lab.guest.check(&format!(
            "cat /proc/uptime; p2p-trace live --ready-file {READY} > /dev/null 2>&1 & \
             until [ -e {READY} ]; do sleep 0.01; done; cat /proc/uptime; kill -INT $(pidof p2p-trace); wait; rm -f {READY}"
        ))?;
        let times: Vec<f64> = lines.iter().filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
        match times[..] {
            [before, after] => Ok(((after - before) * 1000.0).round() as u64),
            _ => bail!("the guest does not tell the time: {}", lines.join(" ")),
        }
    }

    /// What it takes when nothing happens.
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

    fn shown(&mut self) -> Result<Events> {
        const FILE: &str = "/run/speed.ndjson";
        let job = self.lab.start_tracer("p2p-trace live", "--json", &format!("> {FILE}"))?;
        let reader_ns = self.storm()?;
        self.lab.stop_silent(job)?;
        let (delivered, lost) = summed(&mut self.lab, FILE)?;
        self.complete(delivered, lost, reader_ns)
    }

    fn recorded(&mut self) -> Result<Events> {
        const FILE: &str = "/run/speed.p2pt";
        let job = self.lab.record(FILE, "")?;
        let reader_ns = self.storm()?;
        self.lab.stop_silent(job)?;
        let said = self.lab.guest.check(&format!("p2p-trace check --json {FILE}; rm {FILE}*"))?;
        let checked: CheckReport = serde_json::from_str(&said.concat()).context("check did not answer")?;
        self.complete(checked.events, checked.lost, reader_ns)
    }

    fn watched(&mut self) -> Result<Events> {
        let mut screen = Screen::new(self.lab.guest.terminal()?, dashboard::SMALL)?;
        let held = self.lab.guest.spawn(&hold_command())?;
        dashboard::settle(&mut self.lab)?;
        let job = dashboard::start(&mut self.lab, &screen, Method::Fentry, "")?;
        let reader_ns = self.storm()?;
        screen.keys("q")?;
        let text = screen.wait_for("what the run came to", PATIENCE, |screen, text| {
            !screen.is_taken() && text.contains(" lost")
        })?;
        self.end(job, held)?;
        let (delivered, lost) = left_behind(&text)
            .with_context(|| format!("the dashboard does not tell what the run came to:\n{text}"))?;
        self.complete(delivered, lost, reader_ns)
    }

    /// Waits for the end of the dashboard, and lets go of the terminal.
    pub(super) fn end(&mut self, job: Job, held: Job) -> Result<()> {
        self.lab.guest.wait(job)?.success().context("the dashboard failed")?;
        self.lab.guest.signal(held, Signal::KILL)?;
        self.lab.guest.wait(held).map(drop)
    }

    /// Both processors take and give back at once; gives the nanoseconds that the watcher has run until it has caught up.
    fn storm(&mut self) -> Result<u64> {
        let before = self.cpu_of("p2p-trace")?;
        let (card, pairs) = (self.lab.card.clone(), self.storm_pairs);
        let load = format!("echo load {card} {SIZE} {pairs} > /dev/p2ptest");
        let command = format!("for cpu in 0 1; do taskset -c $cpu sh -c '{load}' & done; wait");
        self.lab.guest.check(&command)?;
        self.catch_up()?;
        Ok(self.cpu_of("p2p-trace")?.saturating_sub(before))
    }

    /// Everything that was done has become an event, delivered or lost.
    fn complete(&self, delivered: u64, lost: u64, reader_ns: u64) -> Result<Events> {
        let all = 2 * self.storm_pairs * u64::from(CPUS);
        ensure!(
            delivered + lost >= all,
            "{delivered} events were delivered and {lost} lost, of at least {all}"
        );
        Ok(Events { delivered, lost, reader_ns: Some(reader_ns) })
    }
}

/// Events and losses by the last line of a file that `live --json` wrote, which is removed.
pub(super) fn summed(lab: &mut Lab, file: &str) -> Result<(u64, u64)> {
    let last = lab.guest.check(&format!("tail -n 1 {file}; rm {file}"))?;
    let summary = summary(&last.concat())?;
    Ok((summary.events, summary.lost))
}

/// Events and losses by the line that the dashboard leaves on the terminal: `400004 events in 4.0 s, 0 lost`.
pub(super) fn left_behind(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().rfind(|line| line.contains(" lost"))?;
    let words: Vec<_> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let before = |name: &str| {
        let at = words.iter().position(|&word| word == name)?;
        words.get(at.checked_sub(1)?)?.parse().ok()
    };
    Some((before("events")?, before("lost")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_came_to_is_read_off_the_terminal() {
        let text = "rules for 0000:05:00.0\n  holds          double-free\n400004 events in 4.0 s, 17 lost\n";
        assert_eq!(left_behind(text), Some((400_004, 17)));
        assert_eq!(left_behind("nothing of it"), None);
        assert_eq!(left_behind("3 lost"), None);
    }
}
