//! The scene on a terminal: the dashboard of the guest, on this task's own terminal, while the unbind hangs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::{PATIENCE, blockage::Blockage};
use crate::guest::Job;
use crate::guest::terminal::{DEVICE, Tie, hold_command, resize_command};
use crate::scenarios::lab::Lab;

/// Bytes that are read from the slow drive: half a minute, in which there is something to look at.
const BYTES: u64 = 512 * 1024;
/// How long the end of it is shown.
const EPILOGUE: Duration = Duration::from_secs(6);
/// Where the dashboard writes its process id once it is attached.
const READY: &str = "/run/ready.top";

/// Plays the scene and measures it. Two tracers run: one is seen, the other one is evaluated.
pub(super) fn show(lab: &mut Lab, attach: &str) -> Result<Blockage> {
    println!("The dashboard of the guest follows: `?` shows its keys, `q` leaves it early.");
    let trace = lab.trace("demo", attach)?;
    let stream = {
        let mut tie = Tie::new(lab.guest.terminal()?)?;
        let held = lab.guest.spawn(&hold_command())?;
        lab.wait_for(&format!("pidof sleep | grep -q . && stty -F {DEVICE}"))?;
        fit(lab, &mut tie)?;
        let shown = start(lab, attach)?;
        lab.load_driver()?;
        pause(lab, &mut tie, Duration::from_secs(2))?;
        let read = lab.start_read(BYTES)?;
        pause(lab, &mut tie, Duration::from_secs(2))?;
        let unbind = lab.guest.spawn(&lab.unbind_command())?;
        for (job, what) in [(unbind, "the unbind"), (read, "the read into p2p memory")] {
            wait(lab, &mut tie, job)?.with_context(|| format!("{what} failed"))?;
        }
        pause(lab, &mut tie, EPILOGUE)?;
        tie.keys("q")?;
        let ended = lab.guest.wait_within(shown, PATIENCE)?;
        let ended = ended.context("the dashboard does not end on `q`")?;
        ensure!(ended.code == 0, "the dashboard ended with {}: {}", ended.code, ended.text());
        lab.guest.signal(held, Signal::KILL)?;
        lab.stop(trace)?
    };
    Blockage::find(&stream, &lab.memory)
}

/// Starts the dashboard on the guest's terminal, as one of the kind that this task runs on.
fn start(lab: &mut Lab, attach: &str) -> Result<Job> {
    let passed_on: Vec<_> = ["TERM", "COLORTERM", "NO_COLOR", "LANG", "LC_ALL", "LC_CTYPE"]
        .into_iter()
        .filter_map(|name| Some(format!("{name}='{}'", std::env::var(name).ok()?.replace('\'', ""))))
        .collect();
    let job = lab.guest.spawn(&format!(
        "{} setsid -c p2p-trace top {attach} --stall-after 10s --ready-file {READY} <{DEVICE} >{DEVICE}",
        passed_on.join(" ")
    ))?;
    lab.wait_for(&format!("[ -s {READY} ]"))?;
    Ok(job)
}

/// Tells the guest how large the terminal is, if that has changed.
fn fit(lab: &mut Lab, tie: &mut Tie) -> Result<()> {
    match tie.new_size() {
        Some(size) => lab.guest.check(&resize_command(size)).map(drop),
        None => Ok(()),
    }
}

/// Lets some time pass.
fn pause(lab: &mut Lab, tie: &mut Tie, time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        fit(lab, tie)?;
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// Waits for a job, while the terminal may change its size.
fn wait(lab: &mut Lab, tie: &mut Tie, job: Job) -> Result<Result<Vec<String>>> {
    loop {
        fit(lab, tie)?;
        if let Some(output) = lab.guest.wait_within(job, Duration::from_millis(300))? {
            return Ok(output.success());
        }
    }
}
