//! The dashboard on a real terminal of a real guest, while an unbind hangs.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::lab::Lab;
use super::{Method, Verdict};
use crate::guest::Job;
use crate::guest::terminal::{DEVICE, Screen, Size, hold_command, resize_command};

pub(crate) const SMALL: Size = (24, 80);
const LARGE: Size = (40, 130);
/// Bytes that the slow drive reads: eight seconds, unless it is let go before.
const BYTES: u64 = 128 * 1024;
/// How long the screen may take to show something; the guest may have to share its CPUs.
const PATIENCE: Duration = Duration::from_mins(1);
/// The dashboard writes its process id there once it is attached.
const READY: &str = "/run/ready.dashboard";

/// Who blocks an unbind can be read off the screen while it is blocked; the size of the terminal changes; the dashboard gives
/// the terminal back as it was, when told to quit and when killed.
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
    let holder = format!("taken by p2pdio[{pid}]");
    let waits = |line: &str| line.contains("DRAINED") && line.contains("WAITING") && line.contains(&holder);
    // The step that waits is shown a moment later than that it is blocked.
    let text = screen.wait_for("who blocks the unbind, and the step that waits", PATIENCE, |_, text| {
        text.lines().nth(2).is_some_and(|line| line.contains("BLOCKED") && line.contains(&holder))
            && text.lines().any(waits)
    })?;
    ensure!(
        lab.guest.wait_within(unbind, Duration::ZERO)?.is_none(),
        "the unbind was over before the screen told who blocked it"
    );
    let is_told = |line: &str| line.contains(&lab.memory) && line.contains("BLOCKED");
    ensure!(text.lines().skip(4).any(is_told), "the device is not told as blocked:\n{text}");

    screen.keys("2")?;
    screen.wait_for("what is taken", PATIENCE, |_, text| {
        let row = format!("p2pdio[{pid}]");
        text.contains("CALLED FROM") && text.lines().any(|line| line.contains(&row) && line.contains("mmap"))
    })?;
    screen.keys("?")?;
    screen.wait_for("the help", PATIENCE, |_, text| text.contains("the next view"))?;
    screen.keys("?")?;
    screen.resize(LARGE);
    lab.guest.check(&resize_command(LARGE))?;
    screen.keys("1")?;
    screen.wait_for("the whole width", PATIENCE, |_, text| {
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
    given_back(lab, &screen, shown, &settings)?;

    let shown = start(lab, &screen, method, "")?;
    lab.guest.check(&format!("kill -TERM $(cat {READY})"))?;
    given_back(lab, &screen, shown, &settings)?;
    lab.unload_driver()?;
    lab.guest.signal(held, Signal::KILL)?;
    lab.guest.wait(held)?;
    Ok(Verdict::Passed)
}

/// Has the last minutes written to a file, which tells of the teardown and is nobody else's business.
fn dumped(lab: &mut Lab, screen: &mut Screen) -> Result<()> {
    screen.keys("E")?;
    let text = screen.wait_for("where the dump is", PATIENCE, |_, text| text.contains("written to "))?;
    let path = text.split_once("written to ").and_then(|(_, rest)| rest.split_whitespace().next());
    let path = path.context("the dump has no name")?;
    let told = lab.guest.check(&format!("p2p-trace replay --text {path} && stat -c %a {path}"))?;
    let steps = ["KILL", "DRAINED", "REMOVE"];
    ensure!(
        steps.iter().all(|step| told.iter().any(|line| line.contains(step)))
            && told.last().is_some_and(|mode| mode == "600"),
        "the dump tells:\n{}",
        told.join("\n")
    );
    Ok(())
}

/// Waits until the guest's terminal is there, and makes it small.
pub(crate) fn settle(lab: &mut Lab) -> Result<()> {
    lab.wait_for(&format!("pidof sleep | grep -q . && stty -F {DEVICE}"))?;
    lab.guest.check(&resize_command(SMALL)).map(drop)
}

/// Starts it on the guest's terminal, as a login would: with a session of its own.
pub(crate) fn start(lab: &mut Lab, screen: &Screen, method: Method, arguments: &str) -> Result<Job> {
    let command = format!(
        "rm -f {READY}; export TERM=xterm-256color LANG=C.UTF-8; \
         setsid -c p2p-trace top {} {arguments} --stall-after 1h --ready-file {READY} <{DEVICE} >{DEVICE}",
        method.option()
    );
    let job = lab.guest.spawn(&command)?;
    lab.wait_for(&format!("[ -s {READY} ]"))?;
    screen.wait_for("the dashboard", PATIENCE, |screen, text| {
        screen.is_allocated() && text.contains("no p2p memory seen yet")
    })?;
    Ok(job)
}

/// Waits for its end, and expects the terminal to be as it was.
fn given_back(lab: &mut Lab, screen: &Screen, shown: Job, settings: &[String]) -> Result<()> {
    let ended = lab.guest.wait(shown)?;
    ensure!(ended.code == 0, "it ended with {}: {}", ended.code, ended.text());
    ensure!(ended.err.is_empty(), "it complained: {}", ended.text());
    screen.wait_for("the first screen, with what the run came to", PATIENCE, |screen, text| {
        !screen.is_allocated() && text.contains(" lost")
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
