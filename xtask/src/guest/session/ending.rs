//! The ways in which a guest ends: powered off, dead, followed by another kernel, or discarded.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use p2p_trace_guest::frame::Request;

use super::Guest;
use crate::{guest::console, host::interrupt};

/// How long a guest may take to power off.
const POWER_OFF: Duration = Duration::from_secs(30);

impl Guest {
    /// Powers the guest off through its own kernel, and removes its logs.
    ///
    /// # Errors
    ///
    /// It does not power off in time or not cleanly, or its kernel has complained on the console; then the
    /// logs stay.
    pub(crate) fn power_off(mut self) -> Result<()> {
        self.control.send(&Request::PowerOff.to_string())?;
        let event = self
            .qmp
            .wait_event(POWER_OFF, |event| event["event"] == "SHUTDOWN")
            .context("the guest does not power off")?;
        let reason = event["data"]["reason"].as_str().unwrap_or_default();
        ensure!(
            reason == "guest-shutdown",
            "the guest did not power off by itself: {reason}; {}",
            self.console_tail()
        );
        let status = self.process.wait(Instant::now() + POWER_OFF)?;
        ensure!(
            status.is_some_and(|status| status.success()),
            "QEMU failed: {status:?}; {}",
            self.console_tail()
        );
        let complaints = self.complaints();
        ensure!(
            complaints.is_empty(),
            "the kernel complained: {}; {}",
            complaints.join(" | "),
            self.console_tail()
        );
        fs::remove_dir_all(&self.log).with_context(|| format!("cannot remove {}", self.log.display()))
    }

    /// Kills the guest as a power loss does: data that its kernel has not written yet is lost. Its logs and
    /// its disk stay.
    ///
    /// # Errors
    ///
    /// QEMU cannot be waited for.
    pub(crate) fn cut_power(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Waits until the guest's kernel has died, and returns its last messages. Until then, output of its jobs
    /// is still received: see [`Guest::printed`].
    ///
    /// # Errors
    ///
    /// It is still alive at the time limit, or it has exited without a kernel panic.
    pub(crate) fn wait_death(&mut self) -> Result<Vec<String>> {
        loop {
            if let Err(error) = self.pump(self.deadline) {
                interrupt::check()?;
                let lines = console::death(&self.console());
                return if lines.is_empty() { Err(error) } else { Ok(lines) };
            }
        }
    }

    /// Waits until another kernel has booted in it: the one that saves the memory of the first.
    ///
    /// # Errors
    ///
    /// No kernel has booted at the time limit, or the guest has exited.
    pub(crate) fn wait_next_kernel(&mut self) -> Result<()> {
        while self.boots < 2 {
            self.pump(self.deadline)?;
        }
        Ok(())
    }

    /// Kills the guest in any state, and removes its logs.
    ///
    /// # Errors
    ///
    /// The logs cannot be removed.
    pub(crate) fn discard(self) -> Result<()> {
        let log = self.log.clone();
        drop(self);
        fs::remove_dir_all(&log).with_context(|| format!("cannot remove {}", log.display()))
    }
}
