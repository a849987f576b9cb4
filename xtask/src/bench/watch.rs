//! The ways to watch: started, left to what they should watch, ended, and what came of it.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use p2p_trace_model::accounting::Status;
use rustix::process::Signal;

use super::lab::BenchLab;
use crate::guest::Job;
use crate::guest::terminal::{Screen, hold_command};
use crate::scenarios::product::{CheckReport, HookState, Line, SummaryLine};
use crate::scenarios::stream::summary;
use crate::scenarios::{Method, dashboard};

/// How long what came may take to be shown.
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

/// What came of it.
pub(super) struct Watched<T> {
    /// Events that arrived.
    pub(super) delivered: u64,
    /// Events that did not.
    pub(super) lost: u64,
    /// What was measured meanwhile.
    pub(super) measured: T,
}

impl BenchLab {
    /// Has it watch, with these options, while something is done and measured.
    ///
    /// # Errors
    ///
    /// It does not do what it should.
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
                let said = self.lab.guest.check(&format!("p2p-trace check --json {FILE}; rm {FILE}*"))?;
                let checked: CheckReport =
                    serde_json::from_str(&said.concat()).context("check did not answer")?;
                Ok(Watched { delivered: checked.events, lost: checked.lost, measured })
            }
            Watcher::Top => {
                let mut screen = Screen::new(self.lab.guest.terminal()?, dashboard::SMALL)?;
                let held = self.lab.guest.spawn(&hold_command())?;
                dashboard::settle(&mut self.lab)?;
                let job = dashboard::start(&mut self.lab, &screen, Method::Fentry, options)?;
                let measured = act(self)?;
                screen.keys("q")?;
                let text = screen.wait_for("what the run came to", PATIENCE, |screen, text| {
                    !screen.is_allocated() && text.contains(" lost")
                })?;
                self.end(job, held)?;
                let (delivered, lost) = left_behind(&text)
                    .with_context(|| format!("the dashboard does not tell what the run came to:\n{text}"))?;
                Ok(Watched { delivered, lost, measured })
            }
        }
    }

    /// What a file of `live --json` ends with; it is removed.
    ///
    /// # Errors
    ///
    /// It is cut off, or tells of a hook that was refused.
    pub(super) fn ended(&mut self, file: &str) -> Result<SummaryLine> {
        let lines = self.lab.guest.check(&format!("head -n 1 {file}; tail -n 1 {file}; rm {file}"))?;
        let [first, last] = lines.as_slice() else { bail!("the tracer said: {}", lines.join(" | ")) };
        status(first)?;
        summary(last)
    }

    /// Waits for the end of the dashboard, and lets go of the terminal.
    fn end(&mut self, job: Job, held: Job) -> Result<()> {
        self.lab.guest.wait(job)?.success().context("the dashboard failed")?;
        self.lab.guest.signal(held, Signal::KILL)?;
        self.lab.guest.wait(held).map(drop)
    }
}

/// The status that a stream begins with.
///
/// # Errors
///
/// It does not, or a hook was refused: what is attached then costs less than what should be.
pub(super) fn status(line: &str) -> Result<Status> {
    let Ok(Line::Status(line)) = serde_json::from_str(line) else {
        bail!("p2p-trace did not begin with a status: {line}");
    };
    if let Some(hook) = line.status.hooks.iter().find(|hook| hook.state == HookState::Failed) {
        let reason = hook.error.as_deref().unwrap_or("for no reason told");
        bail!("the hook {} was refused: {reason}", hook.hook.name());
    }
    Ok(line.status)
}

/// Events and losses by the line that the dashboard leaves on the terminal: `400004 events in 4.0 s, 0 lost`.
fn left_behind(text: &str) -> Option<(u64, u64)> {
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
    fn a_hook_that_was_refused_ends_it() {
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
        assert_eq!(status(&line("failed")).unwrap_err().to_string(), "the hook free was refused: no room");
        assert!(status("p2p-trace: nothing").is_err());
    }

    #[test]
    fn what_a_run_came_to_is_read_off_the_terminal() {
        let text = "rules for 0000:05:00.0\n  holds          double-free\n400004 events in 4.0 s, 17 lost\n  \
                    pci_free_p2pmem: 200000 hits, 199983 delivered, 17 lost\n";
        assert_eq!(left_behind(text), Some((400_004, 17)));
        assert_eq!(left_behind("nothing of it"), None);
        assert_eq!(left_behind("3 lost"), None);
    }
}
