//! What the agent in the guest says, taken in while something is waited for.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use p2p_trace_guest::frame::Reply;

use super::Guest;
use crate::guest::evidence::Stuck;
use crate::guest::job::{Job, State};
use crate::guest::link::Received;
use crate::host::interrupt;

/// How often waiting looks whether it should go on.
const TICK: Duration = Duration::from_millis(100);
/// How often waiting looks at the console.
const LOOK: Duration = Duration::from_secs(1);
/// How a job ends whose kernel is gone.
const GONE: i32 = 255;

impl Guest {
    /// Takes in the next message of the agent; returns at the latest at `until`.
    pub(super) fn pump(&mut self, until: Instant) -> Result<()> {
        loop {
            interrupt::check()?;
            let now = Instant::now();
            if now >= self.deadline {
                bail!(Stuck(format!(
                    "the guest was given {} s and they are over; {}",
                    self.limit.as_secs(),
                    self.whereabouts()
                )));
            }
            let patience = until.min(self.deadline).saturating_duration_since(now).min(TICK);
            match self.control.receive(patience) {
                Received::Line(line) => return self.take(&line),
                Received::Nothing if Instant::now() >= until => return Ok(()),
                Received::Nothing => {
                    if let Some(status) = self.process.status()? {
                        bail!("the guest is gone (QEMU ended with {status}); {}", self.whereabouts());
                    }
                    self.look()?;
                }
                Received::Closed => {
                    interrupt::check()?;
                    bail!("the guest is gone; {}", self.whereabouts())
                }
            }
        }
    }

    /// Fails as soon as the kernel has complained: what is waited for may never come then.
    fn look(&mut self) -> Result<()> {
        if self.look.is_none_or(|at| Instant::now() < at) {
            return Ok(());
        }
        self.look = Some(Instant::now() + LOOK);
        let complaints = self.complaints();
        if !complaints.is_empty() {
            bail!(Stuck(format!("the kernel complained: {}", complaints.join(" | "))));
        }
        Ok(())
    }

    /// Files one message of the agent.
    fn take(&mut self, line: &str) -> Result<()> {
        match Reply::parse(line) {
            Some(Reply::Ready(release)) => self.come_up(release),
            Some(Reply::Out(job, text)) => self.state(job)?.add_outstanding(text),
            Some(Reply::Err(job, text)) => self.state(job)?.add_err(text),
            Some(Reply::Exit(job, code)) => self.state(job)?.end(code),
            Some(Reply::Refused(why)) => bail!("the agent in the guest refuses: {why}"),
            None => bail!("the agent in the guest said what is not understood: {line}"),
        }
        Ok(())
    }

    /// A kernel has come up. What ran in the one before has ended with it.
    fn come_up(&mut self, release: String) {
        self.release = release;
        self.boots += 1;
        for state in self.jobs.values_mut().filter(|state| !state.ended()) {
            state.end(GONE);
        }
    }

    fn state(&mut self, job: u32) -> Result<&mut State> {
        self.jobs
            .get_mut(&Job::from(job))
            .with_context(|| format!("the guest speaks of an unknown job {job}"))
    }
}
