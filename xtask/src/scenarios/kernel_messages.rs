//! Messages of the kernel side: from a program in the kernel to the user, the dump and the doctor.

use anyhow::{Context as _, Result, bail, ensure};

use super::lab::Lab;
use super::product::{DoctorReport, HookState, Line};
use super::{Method, Verdict};

/// Pairs of an allocation and a free while another device is traced.
const PAIRS: u32 = 3;
/// The messages about such an allocation and free, whether the bus or the full address filters them.
const OMITTED: [&str; 2] = ["alloc: filters out ", "free: filters out "];
/// The message of a snapshot that has read the only chunk of the pool.
const END_OF_POOL: &str = "snapshot: the pool has no chunk number 0x1";
/// The target of the messages.
const TARGET: &str = "kernel_side";
/// The prefix of its warnings and errors.
const PREFIX: &str = "kernel side: ";

/// The kernel side reports filtered events with `-vv`, and a replay of that dump shows them; without the
/// option there are none. The doctor reads the messages as well.
pub(super) fn kernel_messages(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("")?;
    let silent = omitted(lab, method, "/run/silent.p2pt", "")?;
    ensure!(!silent.contains(TARGET) && !silent.contains(PREFIX), "without -v it prints: {silent}");
    let warned = omitted(lab, method, "/run/warned.p2pt", "-v")?;
    ensure!(!OMITTED.iter().any(|words| warned.contains(words)), "with -v it prints: {warned}");
    let verbose = omitted(lab, method, "/run/verbose.p2pt", "-vv")?;
    for words in OMITTED {
        let times = verbose.lines().filter(|line| line.contains(TARGET) && line.contains(words)).count();
        ensure!(times >= PAIRS as usize, "stderr has `{words}` {times} times: {verbose}");
    }

    for (file, option, expected) in
        [("verbose", "-vv", true), ("verbose", "", false), ("silent", "-vv", false), ("warned", "-vv", false)]
    {
        let replay = lab.guest.run(&format!("p2p-trace {option} replay /run/{file}.p2pt"))?;
        ensure!(replay.code == 0, "the replay exited with {}: {}", replay.code, replay.text());
        let shown = replay.err.join("\n");
        let is_shown = OMITTED.iter().all(|words| shown.contains(words));
        ensure!(is_shown == expected, "the replay of {file} with `{option}` prints: {shown}");
    }

    for option in ["-v", "-vv", "-vvv"] {
        all_load(lab, method, option)?;
    }

    let report = lab.guest.check("p2p-trace doctor -vv --json")?;
    let report: DoctorReport =
        serde_json::from_str(&report.join("\n")).context("the report does not match its schema")?;
    let side = report.kernel_side.context("the report has no messages of the kernel side")?;
    ensure!(side.error.is_none(), "the doctor could not read the messages: {:?}", side.error);
    ensure!(
        side.messages.iter().any(|message| message.text == END_OF_POOL),
        "the doctor read {:?}",
        side.messages
    );
    let text = lab.guest.check("p2p-trace doctor -vv")?.join("\n");
    ensure!(text.contains(END_OF_POOL), "the doctor's text lacks the message: {text}");
    lab.unload_module()?;
    Ok(Verdict::Passed)
}

/// Records the slow drive while the card's memory is allocated; returns stderr.
fn omitted(lab: &mut Lab, method: Method, file: &str, verbose: &str) -> Result<String> {
    let arguments = format!("{verbose} {} --device {}", method.option(), lab.slow);
    let recorder = lab.record(file, &arguments)?;
    let card = lab.card.clone();
    lab.command(&format!("load {card} 4096 {PAIRS}"))?;
    lab.stop_silent(recorder)?;
    Ok(lab.guest.check(&format!("cat {file}.stderr"))?.join("\n"))
}

/// Expects the kernel to accept every program at this verbosity.
fn all_load(lab: &mut Lab, method: Method, verbose: &str) -> Result<()> {
    let live = format!("p2p-trace {verbose} live --json --duration 1s {}", method.option());
    let out = lab.guest.check(&format!("{live} 2> /dev/null | head -n 1"))?.concat();
    let Ok(Line::Status(line)) = serde_json::from_str(&out) else {
        bail!("with {verbose} the first line is not a status: {out}");
    };
    let failed = line.hooks.iter().filter(|hook| hook.state == HookState::Failed);
    let failed: Vec<_> = failed.map(|hook| (hook.hook.name(), hook.error.clone())).collect();
    ensure!(failed.is_empty(), "with {verbose} these hooks failed: {failed:?}");
    Ok(())
}
