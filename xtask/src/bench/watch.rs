//! The ways to watch: starting, stopping, and their results.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use super::lab::BenchLab;
use crate::guest::Job;
use crate::guest::terminal::{Screen, hold_command};
use crate::scenarios::product::{CheckReport, HookState, Line, StatusLine, SummaryLine};
use crate::scenarios::stream::summary;
use crate::scenarios::{Method, dashboard};

/// How long the events may take to be shown.
const PATIENCE: Duration = Duration::from_mins(5);

/// A way to watch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Watcher {
    /// `live --json` into a file in memory.
    Live,
    /// `record` into a file in memory.
    Record,
    /// The dashboard.
    Top,
}

/// The results of watching.
pub(super) struct Watched<T> {
    /// Events that arrived.
    pub(super) delivered: u64,
    /// Events that did not.
    pub(super) lost: u64,
    /// The measurement.
    pub(super) measured: T,
}

impl BenchLab {
    /// Runs a watcher with these options during `act`.
    ///
    /// # Errors
    ///
    /// The watcher fails.
    pub(super) fn watched<T>(
        &mut self,
        watcher: Watcher,
        options: &str,
        act: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<Watched<T>> {
        match watcher {
            Watcher::Live => {
                const FILE: &str = "/run/watched.ndjson";
                let options = format!("--json {options}");
                let job = self.lab.start_tracer("p2p-trace live", &options, &format!("> {FILE}"))?;
                let measured = act(self)?;
                self.lab.stop_silent(job)?;
                let summary = self.ended(FILE)?;
                Ok(Watched { delivered: summary.events, lost: summary.lost, measured })
            }
            Watcher::Record => {
                const FILE: &str = "/run/watched.p2pt";
                let job = self.lab.record(FILE, options)?;
                let measured = act(self)?;
                self.lab.stop_silent(job)?;
                let first = self.lab.guest.check(&format!("p2p-trace replay --json {FILE} | head -n 1"))?;
                status(&first.concat())?;
                let output = self.lab.guest.check(&format!("p2p-trace check --json {FILE}; rm {FILE}*"))?;
                let checked: CheckReport = serde_json::from_str(&output.concat())
                    .context("the output of check does not match its schema")?;
                Ok(Watched { delivered: checked.events, lost: checked.lost, measured })
            }
            Watcher::Top => {
                let mut screen = Screen::new(self.lab.guest.terminal()?, dashboard::SMALL)?;
                let held = self.lab.guest.spawn(&hold_command())?;
                dashboard::settle(&mut self.lab)?;
                let job = dashboard::start(&mut self.lab, &screen, Method::Fentry, options)?;
                let measured = act(self)?;
                screen.keys("q")?;
                let text = screen.wait_for("the summary of the run", PATIENCE, |screen, text| {
                    !screen.is_in_use() && text.contains(" lost")
                })?;
                self.end(job, held)?;
                let (delivered, lost) =
                    last_line(&text).with_context(|| format!("the dashboard prints no summary:\n{text}"))?;
                Ok(Watched { delivered, lost, measured })
            }
        }
    }

    /// The summary at the end of a file of `live --json`; removes the file.
    ///
    /// # Errors
    ///
    /// The file is cut off, or a hook failed to attach.
    pub(super) fn ended(&mut self, file: &str) -> Result<SummaryLine> {
        let lines = self.lab.guest.check(&format!("head -n 1 {file}; tail -n 1 {file}; rm {file}"))?;
        let [first, last] = lines.as_slice() else {
            bail!("unexpected output of the tracer: {}", lines.join(" | "))
        };
        status(first)?;
        summary(last)
    }

    /// Waits until the dashboard exits, and releases the terminal.
    fn end(&mut self, job: Job, held: Job) -> Result<()> {
        self.lab.guest.wait(job)?.success().context("the dashboard failed")?;
        self.lab.guest.signal(held, Signal::KILL)?;
        self.lab.guest.wait(held).map(drop)
    }
}

/// The status at the beginning of a stream.
///
/// # Errors
///
/// There is none, or a hook failed to attach: the attached rest would cost too little.
pub(super) fn status(line: &str) -> Result<StatusLine> {
    let Ok(Line::Status(line)) = serde_json::from_str(line) else {
        bail!("p2p-trace did not begin with a status: {line}");
    };
    if let Some(hook) = line.hooks.iter().find(|hook| hook.state == HookState::Failed) {
        let reason = hook.error.as_deref().unwrap_or("no reason given");
        bail!("the hook {} failed to attach: {reason}", hook.hook.name());
    }
    Ok(*line)
}

/// Events and losses in the last line of the dashboard: `400004 events in 4.0 s, 0 lost`.
fn last_line(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().rfind(|line| line.contains(" events in "))?;
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
    fn rejects_a_failed_hook() {
        let line = |state: &str| {
            let hook = format!(
                r#"{{"hook":"free","state":"{state}","required":true,"error":"no room","lost_without":""}}"#
            );
            format!(
                r#"{{"type":"status","format":1,"time":"","time_ns":0,"version":"","kernel":"","boot_id":"","run":"1","cpus":1,"rings":{{"hot":0,"rare":0}},"accounting":{{"sequence":"exact","missed":"counted"}},"hooks":[{hook}],"devices":[]}}"#
            )
        };
        for state in ["attached", "armed", "absent"] {
            assert_eq!(status(&line(state)).unwrap().hooks.len(), 1, "{state}");
        }
        assert_eq!(
            status(&line("failed")).unwrap_err().to_string(),
            "the hook free failed to attach: no room"
        );
        assert!(status("p2p-trace: nothing").is_err());
    }

    #[test]
    fn parses_the_last_line_of_the_dashboard() {
        let text = "rules for 0000:05:00.0\n  holds          double-free\n400004 events in 4.0 s, 17 lost\n  \
                    pci_free_p2pmem: 200000 hits, 199983 delivered, 17 lost\n";
        assert_eq!(last_line(text), Some((400_004, 17)));
        assert_eq!(last_line("no summary"), None);
        assert_eq!(last_line("3 lost"), None);
    }
}
