//! How a guest ends: switched off, dead, followed by another kernel, or given up.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use p2p_trace_guest::frame::Request;

use super::Guest;
use crate::{guest::console, host::interrupt};

/// How long a guest may take to switch itself off.
const POWER_OFF: Duration = Duration::from_secs(30);

impl Guest {
    /// Switches the guest off as its own kernel does it, and removes its logs.
    ///
    /// # Errors
    ///
    /// It does not switch off in time or not cleanly, or its kernel has complained on the console; then the logs stay.
    pub(crate) fn power_off(mut self) -> Result<()> {
        self.control.send(&Request::PowerOff.to_string())?;
        let event = self
            .qmp
            .wait_event(POWER_OFF, |event| event["event"] == "SHUTDOWN")
            .context("the guest does not switch off")?;
        let reason = event["data"]["reason"].as_str().unwrap_or_default();
        ensure!(
            reason == "guest-shutdown",
            "the guest did not switch itself off: {reason}; {}",
            self.whereabouts()
        );
        let status = self.process.wait(Instant::now() + POWER_OFF)?;
        ensure!(
            status.is_some_and(|status| status.success()),
            "QEMU ended with {status:?}; {}",
            self.whereabouts()
        );
        let complaints = self.complaints();
        ensure!(
            complaints.is_empty(),
            "the kernel complained: {}; {}",
            complaints.join(" | "),
            self.whereabouts()
        );
        fs::remove_dir_all(&self.log).with_context(|| format!("cannot remove {}", self.log.display()))
    }

    /// Ends the guest as a loss of power does: what its kernel has not written yet is gone. Its logs stay, and its disk.
    ///
    /// # Errors
    ///
    /// QEMU cannot be waited for.
    pub(crate) fn cut_power(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Waits until the guest's kernel has died, and gives what it said of it. Until then, whatever its jobs still say is
    /// taken in: see [`Guest::said`].
    ///
    /// # Errors
    ///
    /// It is still alive when its time is over, or it is gone without having died.
    pub(crate) fn wait_death(&mut self) -> Result<Vec<String>> {
        loop {
            if let Err(error) = self.pump(self.deadline) {
                interrupt::check()?;
                let lines = console::death(&self.console());
                return if lines.is_empty() { Err(error) } else { Ok(lines) };
            }
        }
    }

    /// Waits until another kernel has come up in it: the one that saves the memory of the first.
    ///
    /// # Errors
    ///
    /// None has when its time is over, or it is gone.
    pub(crate) fn wait_next_kernel(&mut self) -> Result<()> {
        while self.boots < 2 {
            self.pump(self.deadline)?;
        }
        Ok(())
    }

    /// Ends the guest at once, in whatever state it is, and removes its logs.
    ///
    /// # Errors
    ///
    /// They cannot be removed.
    pub(crate) fn discard(self) -> Result<()> {
        let log = self.log.clone();
        drop(self);
        fs::remove_dir_all(&log).with_context(|| format!("cannot remove {}", log.display()))
    }
}
