//! The QEMU process: its guard ends it in any case.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, set_parent_process_death_signal};

use crate::host::interrupt;

/// The emulator of the machine.
const QEMU: &str = "qemu-system-x86_64";

/// A running QEMU, in its own process group. It dies with this guard, with the task's signals (see
/// [`interrupt`]), and with the task itself in any case.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    group: Pid,
}

impl Process {
    /// Starts QEMU. Its own output goes to `log`.
    pub(super) fn start(arguments: &[String], log: &Path) -> Result<Self> {
        interrupt::watch()?;
        interrupt::check()?;
        let out = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        let err = out.try_clone().context("cannot share the log")?;
        let mut command = Command::new(QEMU);
        command.args(arguments).stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        // SAFETY: the closure makes one system call, allocates nothing and takes no lock.
        unsafe {
            command.pre_exec(|| set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into));
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {QEMU}: install the package qemu-system-x86"))?;
        let group = Pid::from_child(&child);
        interrupt::register(group);
        Ok(Self { child, group })
    }

    /// Its exit status; `None` while it runs.
    pub(super) fn status(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot query QEMU's state")
    }

    /// Waits until it has exited by itself; `None` if it has not by the deadline.
    pub(super) fn wait(&mut self, deadline: Instant) -> Result<Option<ExitStatus>> {
        loop {
            interrupt::check()?;
            if let Some(status) = self.status()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it.
    pub(super) fn kill(&mut self) -> Result<()> {
        interrupt::kill(self.group.as_raw_nonzero().get());
        self.child.wait().context("cannot wait for QEMU to exit").map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // After the wait, another process may have its id.
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            interrupt::kill(self.group.as_raw_nonzero().get());
            if let Err(error) = self.child.wait() {
                eprintln!("cannot wait for QEMU to exit: {error}");
            }
        }
        interrupt::unregister(self.group);
    }
}
