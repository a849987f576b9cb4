//! Receives the messages of the guest's agent while the host waits.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use p2p_trace_guest::frame::Reply;

use super::Guest;
use crate::guest::evidence::Stuck;
use crate::guest::job::{Job, State};
use crate::guest::link::Received;
use crate::host::interrupt;

/// Interval of the checks whether to continue waiting.
const TICK: Duration = Duration::from_millis(100);
/// Interval of the checks of the console.
const CONSOLE_CHECK: Duration = Duration::from_secs(1);
/// Exit code of a job whose kernel has died.
const KERNEL_DIED: i32 = 255;

impl Guest {
    /// Receives the agent's next message; returns at `until` at the latest.
    pub(super) fn pump(&mut self, until: Instant) -> Result<()> {
        loop {
            interrupt::check()?;
            let now = Instant::now();
            if now >= self.deadline {
                bail!(Stuck(format!(
                    "the guest exceeded its time limit of {} s; {}",
                    self.limit.as_secs(),
                    self.console_tail()
                )));
            }
            let patience = until.min(self.deadline).saturating_duration_since(now).min(TICK);
            match self.control.receive(patience) {
                Received::Line(line) => return self.handle(&line),
                Received::Nothing if Instant::now() >= until => return Ok(()),
                Received::Nothing => {
                    if let Some(status) = self.process.status()? {
                        bail!("the guest has exited (QEMU: {status}); {}", self.console_tail());
                    }
                    self.check_console()?;
                }
                Received::Closed => {
                    interrupt::check()?;
                    bail!("the guest has closed its connection; {}", self.console_tail())
                }
            }
        }
    }

    /// Fails as soon as the kernel has complained: the awaited event may never happen then.
    fn check_console(&mut self) -> Result<()> {
        if self.next_check.is_none_or(|at| Instant::now() < at) {
            return Ok(());
        }
        self.next_check = Some(Instant::now() + CONSOLE_CHECK);
        let complaints = self.complaints();
        if !complaints.is_empty() {
            bail!(Stuck(format!("the kernel complained: {}", complaints.join(" | "))));
        }
        Ok(())
    }

    /// Handles one message of the agent.
    fn handle(&mut self, line: &str) -> Result<()> {
        match Reply::parse(line) {
            Some(Reply::Ready(release)) => self.booted(release),
            Some(Reply::Out(job, text)) => self.state(job)?.add_out(text),
            Some(Reply::Err(job, text)) => self.state(job)?.add_err(text),
            Some(Reply::Exit(job, code)) => self.state(job)?.end(code),
            Some(Reply::Refused(reason)) => bail!("the agent in the guest refuses a request: {reason}"),
            None => bail!("the agent in the guest sent an unknown message: {line}"),
        }
        Ok(())
    }

    /// Records that a kernel has booted. The jobs of the previous one have ended with it.
    fn booted(&mut self, release: String) {
        self.release = release;
        self.boots += 1;
        for state in self.jobs.values_mut().filter(|state| !state.ended()) {
            state.end(KERNEL_DIED);
        }
    }

    fn state(&mut self, job: u32) -> Result<&mut State> {
        self.jobs
            .get_mut(&Job::from(job))
            .with_context(|| format!("the guest sent a message about an unknown job {job}"))
    }
}
