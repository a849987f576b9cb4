//! Traces that see a part of what happens: with hooks that were chosen, or from the middle of a teardown on. They accuse nobody, and
//! acquit nothing that they did not see.

use anyhow::{Result, ensure};

use super::lab::Lab;
use super::product::Answer;
use super::stream::Stream;
use super::{Method, Verdict, expect};

/// Bytes that are held.
const SIZE: u64 = 64 * 1024;
/// What the removal of a range decides.
const BY_REMOVAL: [&str; 3] = ["removed-before-drained", "drained-after-removal", "use-after-removal"];

/// Teardowns in the right order, of which only what the README names is traced, and what that needs.
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
    ensure!(kills == 8, "{kills} kills were seen of four teardowns of two ranges");
    ensure!(stream.verdicts.iter().any(|verdict| verdict.device.0.to_string() == card), "no verdicts");
    ensure!(stream.findings.is_empty(), "{:?}", stream.findings);
    Ok(Verdict::Passed)
}

/// The trace begins while an unbind waits: for what is held, and in the order of 2018 behind the removal.
pub(super) fn attached_in_hang(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let card = lab.card.clone();
    for (options, waits_in) in [("ranges=1", "memunmap_pages"), ("race=1", "release_late")] {
        lab.load_module(options)?;
        let held = lab.take(&card, SIZE)?.handle;
        let unbinding = lab.start_unbind_card()?;
        lab.wait_sleeping(unbinding.pid, waits_in)?;
        let trace = lab.trace("attached-in-hang", &method.option())?;
        lab.command(&format!("free {held}"))?;
        lab.finish(unbinding)?;
        let stream = lab.stop(trace)?;
        lab.unload_module()?;

        expect::nothing_lost(&stream)?;
        stream.only("drained")?;
        nothing_acquitted(&stream, &card)?;
    }
    Ok(Verdict::Passed)
}

/// Expects that nothing is said to hold that the removal decides, and that the reason is that it was not seen.
fn nothing_acquitted(stream: &Stream, card: &str) -> Result<()> {
    expect::violated_and(stream, card, &[], &["stalled-drain", "stalled-unbind"])?;
    for rule in BY_REMOVAL {
        let verdict = stream.verdict(card, rule)?;
        let is_told = verdict.reasons.iter().any(|reason| reason.contains("not seen"));
        ensure!(
            verdict.verdict == Answer::Inconclusive && is_told,
            "{rule} is {}: {}",
            verdict.verdict.name(),
            verdict.reasons.join("; ")
        );
    }
    Ok(())
}
