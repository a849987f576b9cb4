//! Shared functions: other users hook or patch them or load the kernel with programs of their own, and calls
//! nest within calls of the same function.

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::expect;
use super::lab::Lab;
use super::product::{AttachMethod, DoctorMethod, DoctorReport};
use super::stream::Stream;
use super::{Method, Verdict};
use crate::guest::kmodule;

/// How often the provider is bound and unbound while another program is busy.
const ROUNDS: u32 = 15;
/// The hook on the function that the test module patches.
const PATCHED: &str = "release";

/// The driver's remove callback unbinds a child: one call of `device_release_driver_internal` within another.
pub(super) fn nested_unbinds(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("child=1")?;
    let card = lab.card.clone();
    let trace = lab.trace("nested-unbinds", &method.option())?;
    lab.unbind_card()?;
    let stream = lab.stop(trace)?;
    lab.unload_module()?;

    expect::nothing_lost(&stream)?;
    expect::attached_by(&stream, method)?;
    expect::only_about(&stream, &card)?;
    let mut steps = vec!["driver_remove", "driver_removed", "kill", "released"];
    // On 5.10 the enclosing function is inlined.
    if stream.hook("unbind")?.hits > 0 {
        steps.insert(0, "unbind");
        steps.push("unbound");
    }
    expect::in_order(&stream, &steps)?;
    let missing = stream.summary()?.notes_missing;
    ensure!(missing == 0, "{missing} exits did not find the note of their entry");
    expect::clean(&stream, &card)?;
    Ok(Verdict::Passed)
}

/// Another user's program runs on a function that everything calls, while the provider is bound and unbound.
pub(super) fn busy_kprobe(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("ranges=2")?;
    let card = lab.card.clone();
    let busy = lab.guest.spawn("exec p2pfloor busy")?;
    lab.guest.wait_line(busy, "attached")?;
    let trace = lab.trace("busy-kprobe", &method.option())?;
    let driver = format!("/sys/bus/pci/drivers/{}", kmodule::NAME);
    lab.guest.check(&format!(
        "n=0; while [ $n -lt {ROUNDS} ]; do n=$((n+1)); echo load {card} 65536 50 > /dev/p2ptest && \
         echo {card} > {driver}/unbind && echo {card} > {driver}/bind || exit 1; done"
    ))?;
    let stream = lab.stop(trace)?;
    lab.guest.signal(busy, Signal::KILL)?;
    lab.guest.wait(busy)?;
    lab.unload_module()?;

    expect::nothing_lost(&stream)?;
    expect::attached_by(&stream, method)?;
    let releases = stream.of_kind("release").count();
    ensure!(releases > 0, "none of {ROUNDS} unbinds was recorded");
    expect::only_violated(&stream, &card, &[])?;
    Ok(Verdict::Passed)
}

/// A function is live-patched before the trace, then during it. When the tool chooses the method, the two do
/// not block each other.
pub(super) fn live_patch(lab: &mut Lab, _tool_chooses: Method) -> Result<Verdict> {
    let report = lab.guest.check("p2p-trace doctor --json")?;
    let report: DoctorReport =
        serde_json::from_str(&report.join("\n")).context("the report does not match its schema")?;
    let reported =
        report.hooks.iter().find(|hook| hook.hook == PATCHED).context("the doctor omits the hook")?;
    let release = lab.guest.check("uname -r")?.concat();
    let is_exclusive = release.starts_with("5.");
    let by = if is_exclusive { Method::Kprobe } else { Method::Fentry };
    let expected = if is_exclusive { DoctorMethod::Kprobe } else { DoctorMethod::Fentry };
    ensure!(reported.method == expected, "the hook is reported as attached by {:?}", reported.method);
    let has_limit = report.verdict.problems.iter().any(|problem| problem.what.contains("live patch"));
    ensure!(has_limit == is_exclusive, "the limits are reported as {:?}", report.verdict.problems);

    lab.load_module("")?;
    lab.command("patch")?;
    let trace = lab.trace("live-patch-before", "")?;
    lab.unbind_card()?;
    seen(&lab.stop(trace)?, by)?;
    let calls = lab.command("unpatch")?.number("calls")?;
    ensure!(calls == 1, "the patch before the trace was called {calls} times");

    lab.bind_card()?;
    let trace = lab.trace("live-patch-while", "")?;
    lab.command("patch").context("the trace blocks a live patch")?;
    lab.unbind_card()?;
    let stream = lab.stop(trace)?;
    let calls = lab.command("unpatch")?.number("calls")?;
    ensure!(calls == 1, "the patch during the trace was called {calls} times");
    seen(&stream, by)?;

    // An explicit request for fentry is honored, and blocks live patches where the kernel cannot combine
    // them.
    lab.bind_card()?;
    let trace = lab.trace("live-patch-fentry", &Method::Fentry.option())?;
    if is_exclusive {
        let error = lab.refused("patch")?;
        ensure!(error.contains("busy"), "the patch fails for another reason: {error}");
    } else {
        lab.command("patch")?;
    }
    lab.unbind_card()?;
    seen(&lab.stop(trace)?, Method::Fentry)?;
    if !is_exclusive {
        lab.command("unpatch")?;
    }
    lab.unload_module()?;
    Ok(Verdict::Passed)
}

/// Expects a completely recorded teardown by this method.
fn seen(stream: &Stream, method: Method) -> Result<()> {
    expect::nothing_lost(stream)?;
    // When the tool chooses, armed hooks may use the other method.
    let used = stream.hook(PATCHED)?.method.map(AttachMethod::name);
    ensure!(used == Some(method.name()), "the patched function is attached by {used:?}");
    expect::in_order(stream, &["kill", "drained", "remove", "release", "released"])
}
