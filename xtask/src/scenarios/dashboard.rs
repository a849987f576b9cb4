//! The dashboard on a real terminal of a real guest, during a blocked unbind.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::lab::Lab;
use super::{Method, Verdict};
use crate::guest::Job;
use crate::guest::terminal::{DEVICE, Screen, Size, hold_command, resize_command};

pub(crate) const SMALL: Size = (24, 80);
const LARGE: Size = (40, 130);
/// Bytes that the slow drive reads: eight seconds, unless its limit is lifted earlier.
const BYTES: u64 = 128 * 1024;
/// How long the screen may take to show something; the guest may have to share its CPUs.
const PATIENCE: Duration = Duration::from_mins(1);
/// The dashboard writes its process id to this file once it is attached.
const READY: &str = "/run/ready.dashboard";

/// The screen names the holder while the unbind is blocked; the terminal changes its size; the dashboard
/// restores the terminal when it quits and when it is killed.
pub(super) fn dashboard(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let mut screen = Screen::new(lab.guest.terminal()?, SMALL)?;
    let held = lab.guest.spawn(&hold_command())?;
    settle(lab)?;
    let settings = lab.guest.check(&format!("stty -F {DEVICE} -a"))?;
    let shown = start(lab, &screen, method, "")?;

    lab.load_driver()?;
    let read = lab.start_read(BYTES)?;
    let pid = lab.guest.check("pidof p2pdio")?.join("");
    let unbind = lab.guest.spawn(&lab.unbind_command())?;
    let holder = format!("held by p2pdio[{pid}]");
    let waits = |line: &str| line.contains("DRAINED") && line.contains("WAITING") && line.contains(&holder);
    // The waiting step appears a moment after the state BLOCKED.
    let text =
        screen.wait_for("the holder that blocks the unbind, and the waiting step", PATIENCE, |_, text| {
            text.lines().nth(2).is_some_and(|line| line.contains("BLOCKED") && line.contains(&holder))
                && text.lines().any(waits)
        })?;
    ensure!(
        lab.guest.wait_within(unbind, Duration::ZERO)?.is_none(),
        "the unbind ended before the screen named the holder"
    );
    let is_blocked = |line: &str| line.contains(&lab.memory) && line.contains("BLOCKED");
    ensure!(text.lines().skip(4).any(is_blocked), "the device is not shown as blocked:\n{text}");

    screen.keys("2")?;
    screen.wait_for("the holders", PATIENCE, |_, text| {
        let row = format!("p2pdio[{pid}]");
        text.contains("CALLED FROM") && text.lines().any(|line| line.contains(&row) && line.contains("mmap"))
    })?;
    screen.keys("?")?;
    screen.wait_for("the help", PATIENCE, |_, text| text.contains("the next view"))?;
    screen.keys("?")?;
    screen.resize(LARGE);
    lab.guest.check(&resize_command(LARGE))?;
    screen.keys("1")?;
    screen.wait_for("the full width", PATIENCE, |_, text| {
        text.contains("p2p-trace  1 Overview") && text.lines().count() == usize::from(LARGE.0)
    })?;

    lab.limit_slow_drive(false)?;
    lab.guest.wait(unbind)?.success().context("the unbind failed")?;
    lab.guest.wait(read)?.success().context("the read failed")?;
    lab.limit_slow_drive(true)?;
    screen.wait_for("the end of the teardown", PATIENCE, |_, text| {
        text.contains("no teardown under way") && text.contains("released in")
    })?;
    dumped(lab, &mut screen)?;
    screen.keys("q")?;
    restored(lab, &screen, shown, &settings)?;

    let shown = start(lab, &screen, method, "")?;
    lab.guest.check(&format!("kill -TERM $(cat {READY})"))?;
    restored(lab, &screen, shown, &settings)?;
    lab.unload_driver()?;
    lab.guest.signal(held, Signal::KILL)?;
    lab.guest.wait(held)?;
    Ok(Verdict::Passed)
}

/// Writes the last minutes to a file, which must show the teardown and be readable by its owner only.
fn dumped(lab: &mut Lab, screen: &mut Screen) -> Result<()> {
    screen.keys("E")?;
    let text = screen.wait_for("the path of the dump", PATIENCE, |_, text| text.contains("written to "))?;
    let path = text.split_once("written to ").and_then(|(_, rest)| rest.split_whitespace().next());
    let path = path.context("the dump has no name")?;
    let shown = lab.guest.check(&format!("p2p-trace replay --text {path} && stat -c %a {path}"))?;
    let steps = ["KILL", "DRAINED", "REMOVE"];
    ensure!(
        steps.iter().all(|step| shown.iter().any(|line| line.contains(step)))
            && shown.last().is_some_and(|mode| mode == "600"),
        "the dump shows:\n{}",
        shown.join("\n")
    );
    Ok(())
}

/// Waits for the guest's terminal, and makes it small.
pub(crate) fn settle(lab: &mut Lab) -> Result<()> {
    lab.wait_for(&format!("pidof sleep | grep -q . && stty -F {DEVICE}"))?;
    lab.guest.check(&resize_command(SMALL)).map(drop)
}

/// Starts the dashboard on the guest's terminal, as a login would: in a session of its own.
pub(crate) fn start(lab: &mut Lab, screen: &Screen, method: Method, arguments: &str) -> Result<Job> {
    let command = format!(
        "rm -f {READY}; export TERM=xterm-256color LANG=C.UTF-8; \
         setsid -c p2p-trace top {} {arguments} --stall-after 1h --ready-file {READY} <{DEVICE} >{DEVICE}",
        method.option()
    );
    let job = lab.guest.spawn(&command)?;
    lab.wait_for(&format!("[ -s {READY} ]"))?;
    screen.wait_for("the dashboard", PATIENCE, |screen, text| {
        screen.is_in_use() && text.contains("no p2p memory seen yet")
    })?;
    Ok(job)
}

/// Waits until the dashboard exits, and expects the terminal as it was before.
fn restored(lab: &mut Lab, screen: &Screen, shown: Job, settings: &[String]) -> Result<()> {
    let ended = lab.guest.wait(shown)?;
    ensure!(ended.code == 0, "the dashboard exited with {}: {}", ended.code, ended.text());
    ensure!(ended.err.is_empty(), "the dashboard printed an error: {}", ended.text());
    screen.wait_for("the first screen, with the summary of the run", PATIENCE, |screen, text| {
        !screen.is_in_use() && text.contains(" lost")
    })?;
    let now = lab.guest.check(&format!("stty -F {DEVICE} -a"))?;
    let without_size = |lines: &[String]| lines.get(1..).unwrap_or_default().to_vec();
    ensure!(
        without_size(&now) == without_size(settings),
        "the terminal was\n{}\nand is now\n{}",
        settings.join("\n"),
        now.join("\n")
    );
    Ok(())
}
