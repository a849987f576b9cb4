//! A provider that allocates pages itself and bypasses the pool, as NVIDIA's UVM does.

use anyhow::{Context as _, Result, ensure};

use super::expect;
use super::report::{DeviceReportExt as _, ReportExt as _};
use super::unbinding::Unbinding;
use crate::guest::kmodule;
use crate::scenarios::lab::Lab;
use crate::scenarios::product::{Answer, CanUnbind, DeviceReport, EventLine, RangeState};
use crate::scenarios::stream::Stream;
use crate::scenarios::testmod::Handle;
use crate::scenarios::{Method, Verdict};

/// Pages that it allocates.
const PAGES: u64 = 4;
/// More ranges than the tracer follows.
const MANY: usize = 40;
/// The rules that depend on the outstanding memory.
const RULES: [&str; 3] = ["removed-before-drained", "use-after-removal", "pool-destroyed-in-use"];
/// The kinds of event that open a teardown.
const OPENING: [&str; 3] = ["unbind", "driver_remove", "devres_release"];

/// Pages without references to their range are removed while in use, and the kernel waits for those with
/// references. The reports deny neither case, and cover small ranges that are too many to follow.
pub(in crate::scenarios) fn bypassed(lab: &mut Lab, method: Method) -> Result<Verdict> {
    if lab.guest.check("uname -r")?.concat().starts_with("5.") {
        let reason = "the test module cannot allocate pages without a reference to the range there";
        return Ok(Verdict::Skipped(reason.to_owned()));
    }
    lab.load_module("own=1")?;
    let card = lab.card.clone();
    let trace = lab.trace("holders-bypassed", &method.option())?;
    let before = lab.ask_until_certain(&card)?;

    let alone = hand_out(lab, false)?;
    lab.unbind_card()?;
    ensure!(!is_there(lab, alone)?, "the kernel has waited for pages without a reference");
    lab.command(&format!("forget {alone}"))?;

    lab.bind_card()?;
    let counted = hand_out(lab, true)?;
    let unbinding = Unbinding::start(lab, &card, kmodule::NAME)?;
    let waiting = lab.ask_until_certain(&card)?;
    ensure!(is_there(lab, counted)?, "the kernel has not waited for pages with a reference");
    lab.command(&format!("free {counted}"))?;
    unbinding.wait(lab)?;
    let stream = lab.stop(trace)?;
    lab.unload_module()?;

    lab.load_module(&format!("own=1 ranges={MANY}"))?;
    let many = lab.one_shot(&card)?;
    lab.unload_module()?;

    let device = before.device(&card)?;
    is_unknown(device)?;
    let range = device.only_range()?;
    ensure!(
        range.pooled == Some(false) && range.references.is_some_and(|refs| refs.count > 0),
        "the range is reported as {range:?}"
    );
    let range = waiting.device(&card)?.only_range()?;
    ensure!(
        range.state == RangeState::Killed && range.references.is_some_and(|refs| refs.count == PAGES as i64),
        "the range that waits for {PAGES} pages is reported as {range:?}"
    );
    expect::answer(waiting.device(&card)?, CanUnbind::No, "blocked already")?;
    is_unknown(many.device(&card)?)?;
    is_armed(&stream)?;
    inconclusive(&stream, &card)?;
    Ok(Verdict::Passed)
}

fn hand_out(lab: &mut Lab, with_reference: bool) -> Result<Handle> {
    let (card, with_reference) = (lab.card.clone(), u8::from(with_reference));
    lab.command(&format!("hand-out {card} {PAGES} {with_reference}"))?.handle()
}

fn is_there(lab: &mut Lab, pages: Handle) -> Result<bool> {
    Ok(lab.command(&format!("show {pages}"))?.number("there")? == 1)
}

/// Expects the answer 2 (every report's exit code is checked), with the driver's name.
fn is_unknown(device: &DeviceReport) -> Result<()> {
    expect::answer(device, CanUnbind::Unknown, &format!("{} allocates its memory itself", kmodule::NAME))
}

/// Expects armed hooks although the pool counts no allocation.
fn is_armed(stream: &Stream) -> Result<()> {
    let opens = |event: &&EventLine| OPENING.contains(&event.kind.name());
    let first = stream.observed().find(opens).context("no event opens the teardown")?;
    ensure!(
        first.pooled == Some(false) && first.memory_outstanding == Some(false),
        "the first step of the teardown is {first:?}"
    );
    let armed = stream.of_kind("attach").filter(|change| change.attached == Some(true)).count();
    ensure!(armed > 0, "no hook was armed");
    Ok(())
}

/// Expects no finding, and no rule that holds.
fn inconclusive(stream: &Stream, card: &str) -> Result<()> {
    ensure!(stream.findings.is_empty(), "there are findings: {:?}", stream.findings);
    for rule in RULES {
        let verdict = stream.verdict(card, rule)?;
        ensure!(
            verdict.verdict == Answer::Inconclusive
                && verdict.reasons.iter().any(|reason| reason.contains("allocates its pages itself")),
            "{rule} comes to {verdict:?}"
        );
    }
    Ok(())
}
