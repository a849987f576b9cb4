//! Traces that see only part of the events: with chosen hooks, or from the middle of a teardown on. They
//! report no finding, and no rule holds that they did not observe.

use anyhow::{Result, ensure};

use super::lab::Lab;
use super::product::Answer;
use super::stream::Stream;
use super::{Method, Verdict, expect};

/// Bytes that are held.
const SIZE: u64 = 64 * 1024;
/// The rules that the removal of a range decides.
const BY_REMOVAL: [&str; 3] = ["removed-before-drained", "drained-after-removal", "use-after-removal"];

/// Correct teardowns, traced only with the hooks that the README names and the hooks that those need.
pub(super) fn chosen_hooks(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let card = lab.card.clone();
    let trace =
        lab.trace("chosen-hooks", &format!("{} --hook kill --hook remove --stacks", method.option()))?;
    lab.load_module("ranges=2")?;
    for _ in 0..3 {
        lab.unbind_card()?;
        lab.bind_card()?;
    }
    lab.unload_module()?;
    let stream = lab.stop(trace)?;

    expect::nothing_lost(&stream)?;
    let kills = stream.of_kind("kill").count();
    ensure!(kills == 8, "{kills} kills were recorded for four teardowns of two ranges");
    ensure!(stream.verdicts.iter().any(|verdict| verdict.device.0.to_string() == card), "no verdicts");
    ensure!(stream.findings.is_empty(), "{:?}", stream.findings);
    Ok(Verdict::Passed)
}

/// The trace begins while an unbind waits: for held memory, and after the removal in the order of the 2018
/// race.
pub(super) fn attached_in_hang(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let card = lab.card.clone();
    for (options, waits_in) in [("ranges=1", "memunmap_pages"), ("race=1", "release_late")] {
        lab.load_module(options)?;
        let held = lab.allocate(&card, SIZE)?.handle;
        let unbinding = lab.start_unbind_card()?;
        lab.wait_sleeping(unbinding.pid, waits_in)?;
        let trace = lab.trace("attached-in-hang", &method.option())?;
        lab.command(&format!("free {held}"))?;
        lab.finish(unbinding)?;
        let stream = lab.stop(trace)?;
        lab.unload_module()?;

        expect::nothing_lost(&stream)?;
        stream.only("drained")?;
        removal_rules_are_open(&stream, &card)?;
    }
    Ok(Verdict::Passed)
}

/// Expects no answer `holds` from a rule that the removal decides, and the reason that the removal was not
/// observed.
fn removal_rules_are_open(stream: &Stream, card: &str) -> Result<()> {
    expect::violated_and(stream, card, &[], &["stalled-drain", "stalled-unbind"])?;
    for rule in BY_REMOVAL {
        let verdict = stream.verdict(card, rule)?;
        let is_explained = verdict.reasons.iter().any(|reason| reason.contains("not seen"));
        ensure!(
            verdict.verdict == Answer::Inconclusive && is_explained,
            "{rule} is {}: {}",
            verdict.verdict.name(),
            verdict.reasons.join("; ")
        );
    }
    Ok(())
}
