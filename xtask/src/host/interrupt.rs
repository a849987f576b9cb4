//! Kills running guests when the task receives a signal to stop.
//!
//! The handler only kills the guests and records the signal. The main thread then finds that its guest has
//! exited, returns an error, and every guard cleans up as for any other error.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Process groups of the running guests.
static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());
/// The caught signal, 0 if there is none.
static CAUGHT: AtomicI32 = AtomicI32::new(0);
/// Whether the handler has been set up.
static WATCHING: OnceLock<()> = OnceLock::new();

/// Sets up the handler of SIGINT, SIGTERM and SIGHUP, once.
///
/// # Errors
///
/// The handler cannot be set up.
pub(crate) fn watch() -> Result<()> {
    if WATCHING.get().is_some() {
        return Ok(());
    }
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot watch for signals")?;
    thread::spawn(move || {
        for signal in &mut signals {
            CAUGHT.store(signal, Ordering::SeqCst);
            for &group in &*RUNNING.lock().unwrap_or_else(PoisonError::into_inner) {
                kill(group);
            }
        }
    });
    WATCHING.get_or_init(|| ());
    Ok(())
}

/// Fails once a signal has been caught.
///
/// # Errors
///
/// The task has received a signal to stop.
pub(crate) fn check() -> Result<()> {
    let signal = CAUGHT.load(Ordering::SeqCst);
    ensure!(signal == 0, "stopped by signal {signal}");
    Ok(())
}

/// Registers a process group that is killed with the task.
pub(crate) fn register(group: Pid) {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).insert(group.as_raw_nonzero().get());
    // A signal that arrived just before would have missed it.
    if check().is_err() {
        kill(group.as_raw_nonzero().get());
    }
}

/// Removes a process group that has exited.
pub(crate) fn unregister(group: Pid) {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).remove(&group.as_raw_nonzero().get());
}

/// Kills a process group. A group that has already exited is not an error.
pub(crate) fn kill(group: i32) {
    if let Some(group) = Pid::from_raw(group)
        && let Err(error) = kill_process_group(group, Signal::KILL)
        && error != rustix::io::Errno::SRCH
    {
        eprintln!("cannot kill process group {group:?}: {error}");
    }
}
