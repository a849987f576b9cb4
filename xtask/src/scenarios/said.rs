//! What the kernel side says of itself: from a program in the kernel to the user, the dump and the doctor.

use anyhow::{Context as _, Result, bail, ensure};

use super::lab::Lab;
use super::product::{DoctorReport, HookState, Line};
use super::{Method, Verdict};

/// Memory taken and given back, so often, while another device is asked for.
const PAIRS: u32 = 3;
/// How such an allocation and such a free are said to be left out, whether by the bus or by the whole address.
const OMITTED: [&str; 2] = ["alloc: leaves out ", "free: leaves out "];
/// What a pull read comes to behind the only chunk of the pool.
const END_OF_POOL: &str = "pull: the pool has no chunk number 0x1";
/// Where a message comes from.
const TARGET: &str = "kernel_side";

/// What a filter leaves out is said with `-vv`, and to whoever replays the dump so; without, there is nothing. The doctor listens, too.
pub(super) fn said(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("")?;
    let silent = omitted(lab, method, "/run/silent.p2pt", "")?;
    ensure!(!silent.contains(TARGET), "without being asked it says: {silent}");
    let warned = omitted(lab, method, "/run/warned.p2pt", "-v")?;
    ensure!(!OMITTED.iter().any(|words| warned.contains(words)), "with -v it says: {warned}");
    let told = omitted(lab, method, "/run/told.p2pt", "-vv")?;
    for words in OMITTED {
        let times = told.lines().filter(|line| line.contains(TARGET) && line.contains(words)).count();
        ensure!(times >= PAIRS as usize, "`{words}` is said {times} times on stderr: {told}");
    }

    for (file, verbose, expected) in
        [("told", "-vv", true), ("told", "", false), ("silent", "-vv", false), ("warned", "-vv", false)]
    {
        let replay = lab.guest.run(&format!("p2p-trace {verbose} replay /run/{file}.p2pt"))?;
        ensure!(replay.code == 0, "the replay ends with {}: {}", replay.code, replay.text());
        let shown = replay.err.join("\n");
        let is_told = OMITTED.iter().all(|words| shown.contains(words));
        ensure!(is_told == expected, "of the dump {file} a replay {verbose} says: {shown}");
    }

    for verbose in ["-v", "-vv", "-vvv"] {
        all_load(lab, method, verbose)?;
    }

    let heard = lab.guest.check("p2p-trace doctor -vv --json")?;
    let heard: DoctorReport =
        serde_json::from_str(&heard.join("\n")).context("the report is not what its schema says")?;
    let heard = heard.kernel_side.context("the doctor did not listen")?;
    ensure!(heard.error.is_none(), "the doctor heard nothing: {:?}", heard.error);
    ensure!(heard.said.iter().any(|said| said.text == END_OF_POOL), "the doctor heard {:?}", heard.said);
    let text = lab.guest.check("p2p-trace doctor -vv")?.join("\n");
    ensure!(text.contains(END_OF_POOL), "the doctor's text does not have what was said: {text}");
    lab.unload_module()?;
    Ok(Verdict::Passed)
}

/// Records the slow drive while the card's memory is taken; gives what is on stderr.
fn omitted(lab: &mut Lab, method: Method, file: &str, verbose: &str) -> Result<String> {
    let arguments = format!("{verbose} {} --device {}", method.option(), lab.slow);
    let recorder = lab.record(file, &arguments)?;
    let card = lab.card.clone();
    lab.command(&format!("load {card} 4096 {PAIRS}"))?;
    lab.stop_silent(recorder)?;
    Ok(lab.guest.check(&format!("cat {file}.said"))?.join("\n"))
}

/// Whatever it is to say, the kernel takes every program.
fn all_load(lab: &mut Lab, method: Method, verbose: &str) -> Result<()> {
    let live = format!("p2p-trace {verbose} live --json --duration 1s {}", method.option());
    let out = lab.guest.check(&format!("{live} 2> /dev/null | head -n 1"))?.concat();
    let Ok(Line::Status(line)) = serde_json::from_str(&out) else {
        bail!("with {verbose} it does not begin with a status: {out}");
    };
    let failed = line.status.hooks.iter().filter(|hook| hook.state == HookState::Failed);
    let failed: Vec<_> = failed.map(|hook| (hook.hook.name(), hook.error.clone())).collect();
    ensure!(failed.is_empty(), "with {verbose} these hooks failed: {failed:?}");
    Ok(())
}
