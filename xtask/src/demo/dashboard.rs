//! The demo on a terminal: the guest's dashboard on this task's own terminal, during the blocked unbind.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::{PATIENCE, blockage::Blockage};
use crate::guest::Job;
use crate::guest::terminal::{DEVICE, Tie, hold_command, resize_command};
use crate::scenarios::lab::Lab;

/// Bytes to read from the slow drive: half a minute, which leaves time to watch.
const BYTES: u64 = 512 * 1024;
/// How long the result is shown.
const EPILOGUE: Duration = Duration::from_secs(6);
/// The dashboard writes its process id to this file once it is attached.
const READY: &str = "/run/ready.top";

/// Runs the demo and measures it. Two tracers run: one is shown, the other one is evaluated.
pub(super) fn show(lab: &mut Lab, attach: &str) -> Result<Blockage> {
    println!("The dashboard of the guest follows: `?` shows its keys, `q` quits early.");
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
        for (job, name) in [(unbind, "the unbind"), (read, "the read into p2p memory")] {
            wait(lab, &mut tie, job)?.with_context(|| format!("{name} failed"))?;
        }
        pause(lab, &mut tie, EPILOGUE)?;
        tie.keys("q")?;
        let ended = lab.guest.wait_within(shown, PATIENCE)?;
        let ended = ended.context("the dashboard does not exit on `q`")?;
        ensure!(ended.code == 0, "the dashboard exited with {}: {}", ended.code, ended.text());
        lab.guest.signal(held, Signal::KILL)?;
        lab.stop(trace)?
    };
    Blockage::find(&stream, &lab.memory)
}

/// Starts the dashboard on the guest's terminal, with this task's settings of the terminal.
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

/// Passes the terminal's size on to the guest, if it has changed.
fn fit(lab: &mut Lab, tie: &mut Tie) -> Result<()> {
    match tie.new_size() {
        Some(size) => lab.guest.check(&resize_command(size)).map(drop),
        None => Ok(()),
    }
}

/// Waits for some time, while the terminal may change its size.
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
