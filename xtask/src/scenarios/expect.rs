//! Expectations that several scenarios share.

use anyhow::{Context as _, Result, ensure};

use super::Method;
use super::lab::QUEUE_BYTES;
use super::product::{Answer, AttachMethod, EventLine, Hex, Reason, VerdictLine, address};
use super::stream::Stream;

/// The steps of a teardown in the order of a fixed kernel, each expected once.
const TEARDOWN: [&str; 4] = ["kill", "drained", "remove", "release"];

/// Expects that no written record was lost. Which runs the kernel skips is up to the kernel.
pub(crate) fn nothing_lost(stream: &Stream) -> Result<()> {
    let summary = stream.summary()?;
    let lost = summary.lost.saturating_sub(summary.skipped);
    ensure!(lost == 0, "{lost} records were lost");
    Ok(())
}

/// Expects that every hook that is attached is attached by this method.
pub(crate) fn attached_by(stream: &Stream, method: Method) -> Result<()> {
    let mut count = 0;
    for hook in &stream.summary()?.hooks {
        if let Some(how) = hook.method.map(AttachMethod::name) {
            ensure!(how == method.name(), "{} is attached by {how}", hook.hook.name());
            count += 1;
        }
    }
    ensure!(count > 0, "no hook is attached");
    Ok(())
}

/// Expects that hooks on the generic DMA functions were attached while the teardown waited, and that none was
/// detached before its end. (A trace that is stopped early detaches them with all others.)
pub(crate) fn armed_while_blocked(stream: &Stream) -> Result<()> {
    let drained = stream.only("drained")?;
    let unmapped = stream.only("unmapped")?;
    let opens = |kind: &str| ["unbind", "driver_remove", "devres_release"].contains(&kind);
    let first = stream.observed().find(|event| opens(event.kind.name()));
    let first = first.context("no event opens the teardown")?;
    let mut in_time = 0;
    for change in stream.of_kind("attach") {
        let (earliest, fault) = match change.attached {
            Some(true) => (first.time_ns, "attached before the teardown"),
            _ => (unmapped.time_ns, "detached before the end of the teardown"),
        };
        ensure!(change.time_ns > earliest, "{} was {fault}", change.hook.name());
        if change.attached == Some(true) && change.time_ns < drained.time_ns {
            in_time += 1;
        }
    }
    ensure!(in_time > 0, "no hook was attached while the unbind was blocked");
    Ok(())
}

/// Expects that all observed events are about one device.
pub(crate) fn only_about(stream: &Stream, device: &str) -> Result<()> {
    for event in stream.observed() {
        let named = address(event.device).unwrap_or_else(|| "no device".to_owned());
        ensure!(
            named == device,
            "the event {} `{}` is about {named}, not {device}",
            event.id.0,
            event.kind.name()
        );
    }
    Ok(())
}

/// Expects these kinds in this order, each once; others may occur in between.
pub(crate) fn in_order(stream: &Stream, kinds: &[&str]) -> Result<()> {
    let mut before: Option<(usize, &str)> = None;
    for &kind in kinds {
        stream.only(kind)?;
        let place = stream
            .events
            .iter()
            .position(|event| event.kind.name() == kind)
            .context("the only event of its kind is in the list")?;
        if let Some((earlier, name)) = before {
            ensure!(earlier < place, "`{kind}` comes before `{name}`");
        }
        before = Some((place, kind));
    }
    Ok(())
}

/// First and last address of an event.
pub(crate) fn bounds(event: &EventLine) -> Result<(u64, u64)> {
    Ok((hex(event.range_start, event)?, hex(event.range_end, event)?))
}

/// Expects a complete and correct teardown of one range.
pub(crate) fn teardown(stream: &Stream, (start, end): (u64, u64)) -> Result<()> {
    in_order(stream, &["driver_remove", "memremap_release", "kill"])?;
    in_order(stream, &["kill", "drained", "remove", "unmapped", "release", "released"])?;
    in_order(stream, &TEARDOWN)?;
    let pgmap = stream.only("kill")?.pgmap;
    ensure!(pgmap.is_some(), "the kill names no range");
    for kind in ["kill", "drained", "remove"] {
        let event = stream.only(kind)?;
        ensure!(event.pgmap == pgmap, "`{kind}` is about {:?}, the kill about {pgmap:?}", event.pgmap);
        let range = bounds(event)?;
        ensure!(
            range == (start, end),
            "`{kind}` is about {:#x}–{:#x}, the BAR is {start:#x}–{end:#x}",
            range.0,
            range.1
        );
    }
    Ok(())
}

/// Expects the NVMe driver to free its two queues as it allocated them, before the kill. Their allocation is
/// recorded only if the trace began before it.
pub(crate) fn queues_freed(stream: &Stream, with_allocation: bool) -> Result<()> {
    let allocated: Vec<&EventLine> = stream.of_kind("alloc").collect();
    let freed: Vec<&EventLine> = stream.of_kind("free").collect();
    ensure!(freed.len() == 2, "{} frees instead of 2", freed.len());
    ensure!(allocated.len() == if with_allocation { 2 } else { 0 }, "{} allocations", allocated.len());
    for event in allocated.iter().chain(&freed) {
        ensure!(
            event.size == Some(QUEUE_BYTES),
            "`{}` {} is of {:?} bytes",
            event.kind.name(),
            event.id.0,
            event.size
        );
        ensure!(event.addr.is_some(), "`{}` {} has no address", event.kind.name(), event.id.0);
    }
    for allocated in &allocated {
        let frees = freed.iter().filter(|free| free.addr == allocated.addr).count();
        ensure!(frees == 1, "the allocation at {:?} is freed {frees} times", allocated.addr);
    }
    let kill = stream.only("kill")?;
    ensure!(freed.iter().all(|free| free.time_ns < kill.time_ns), "a queue is freed after the kill");
    Ok(())
}

/// Whether callers may be missing: on 5.10 a kretprobe hides them.
pub(crate) fn hides_callers(stream: &Stream) -> Result<bool> {
    Ok(stream.hook("alloc")?.method == Some(AttachMethod::Kprobe))
}

/// The number in a required field.
pub(crate) fn hex(field: Option<Hex>, event: &EventLine) -> Result<u64> {
    let Hex(number) =
        field.with_context(|| format!("`{}` {} has no address", event.kind.name(), event.id.0))?;
    Ok(number)
}

/// The rule that is checked only on request: its hooks sit on a path that every I/O takes.
const ON_REQUEST: &str = "map-imbalance";
/// The rule that is checked only where p2p memory can be mapped into user space.
const OF_MAPPINGS: &str = "leaked-reference";

/// The rules that rest on each allocation and each free.
pub(crate) const BALANCE: [&str; 5] =
    ["unmatched-free", "double-free", "size-mismatch", "unexplained-reference", OF_MAPPINGS];

/// Expects exactly these rules to be violated for a device and exactly those to be inconclusive; all others
/// hold, except for the one that is checked only on request.
pub(crate) fn verdicts(
    stream: &Stream,
    device: &str,
    violated: &[&str],
    inconclusive: &[&str],
) -> Result<()> {
    compare(stream, device, |rule| {
        if violated.contains(&rule) {
            &[Answer::Violated]
        } else if inconclusive.contains(&rule) {
            &[Answer::Inconclusive]
        } else {
            &[Answer::Holds]
        }
    })
}

/// Expects exactly these rules to be violated for a device; all others may hold or be inconclusive.
pub(crate) fn only_violated(stream: &Stream, device: &str, violated: &[&str]) -> Result<()> {
    violated_and(stream, device, violated, &[])
}

/// As [`only_violated`], plus rules that chance decides about.
pub(crate) fn violated_and(stream: &Stream, device: &str, violated: &[&str], perhaps: &[&str]) -> Result<()> {
    compare(stream, device, |rule| {
        if violated.contains(&rule) {
            &[Answer::Violated]
        } else if perhaps.contains(&rule) {
            &[Answer::Violated, Answer::Holds, Answer::Inconclusive]
        } else {
            &[Answer::Holds, Answer::Inconclusive]
        }
    })
}

/// Expects no finding for a device, and no open rule unless the kernel skipped runs: a preempted program
/// keeps other runs of it off its CPU.
pub(crate) fn clean(stream: &Stream, device: &str) -> Result<()> {
    if stream.losses.iter().any(|loss| loss.reason == Reason::Skipped) {
        only_violated(stream, device, &[])
    } else {
        verdicts(stream, device, &[], &[])
    }
}

/// Expects one of these answers for each rule.
fn compare<'a>(stream: &Stream, device: &str, expected: impl Fn(&str) -> &'a [Answer]) -> Result<()> {
    let of_device = |verdict: &&VerdictLine| verdict.device.0.to_string() == device;
    let can_map = stream.hook("mmap").is_ok_and(|hook| hook.method.is_some());
    let mut seen = 0;
    for verdict in stream.verdicts.iter().filter(of_device) {
        let rule = verdict.rule.name();
        let is_unchecked = rule == ON_REQUEST || rule == OF_MAPPINGS && !can_map;
        let expected = if is_unchecked { &[Answer::NotChecked] } else { expected(rule) };
        let sentences: Vec<&str> = stream.findings_of(rule).map(|finding| finding.message.as_str()).collect();
        ensure!(
            expected.contains(&verdict.verdict),
            "{rule} of {device} is {}, not {}: {}{}",
            verdict.verdict.name(),
            expected.iter().map(|answer| answer.name()).collect::<Vec<_>>().join(" or "),
            verdict.reasons.join("; "),
            sentences.join("; ")
        );
        seen += 1;
    }
    ensure!(seen > 10, "there are {seen} verdicts for {device}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::stream::tests::stream;
    use super::*;

    fn events(kinds: &[&str]) -> Stream {
        let rest: Vec<String> = kinds
            .iter()
            .map(|kind| {
                format!(
                    r#""kind":"{kind}","pgmap":"0xff","range_start":"0xf8000000","range_end":"0xfbffffff""#
                )
            })
            .collect();
        let lines: Vec<(u64, u64, &str)> =
            rest.iter().enumerate().map(|(at, rest)| (at as u64, 2 * at as u64 + 1, rest.as_str())).collect();
        Stream::parse(&stream(&lines, r#"{"hook":"kill","method":"fentry","hits":0,"delivered":0,"lost":0}"#))
            .unwrap()
    }

    const CORRECT: [&str; 8] =
        ["driver_remove", "memremap_release", "kill", "drained", "remove", "unmapped", "release", "released"];
    const RANGE: (u64, u64) = (0xf800_0000, 0xfbff_ffff);

    #[test]
    fn accepts_a_correct_teardown() {
        teardown(&events(&CORRECT), RANGE).unwrap();
        only_about(&events(&CORRECT), "0000:03:00.0").unwrap();
        nothing_lost(&events(&CORRECT)).unwrap();
        attached_by(&events(&CORRECT), Method::Fentry).unwrap();
    }

    #[test]
    fn rejects_wrong_teardowns() {
        let mut wrong = CORRECT;
        wrong.swap(3, 4);
        let error = teardown(&events(&wrong), RANGE).unwrap_err().to_string();
        assert!(error.contains("`remove` comes before `drained`"), "{error}");
        assert!(teardown(&events(&CORRECT), (0, 1)).unwrap_err().to_string().contains("the BAR is"));
        assert!(
            teardown(&events(&CORRECT[..5]), RANGE).unwrap_err().to_string().contains("no event `unmapped`")
        );
        assert!(
            only_about(&events(&CORRECT), "0000:04:00.0")
                .unwrap_err()
                .to_string()
                .contains("not 0000:04:00.0")
        );
        let error = attached_by(&events(&CORRECT), Method::Kprobe).unwrap_err().to_string();
        assert!(error.contains("kill is attached by fentry"), "{error}");
    }

    #[test]
    fn queues_are_matched_by_address() {
        let event =
            |kind: &str, addr: &str, size: u64| format!(r#""kind":"{kind}","addr":"{addr}","size":{size}"#);
        let parse = |rest: &[String]| {
            let lines: Vec<(u64, u64, &str)> =
                rest.iter().enumerate().map(|(at, rest)| (at as u64, 2 * at as u64, rest.as_str())).collect();
            Stream::parse(&stream(&lines, "")).unwrap()
        };
        let kill = r#""kind":"kill""#.to_owned();
        let good = [
            event("alloc", "0x1", 65536),
            event("alloc", "0x2", 65536),
            event("free", "0x2", 65536),
            event("free", "0x1", 65536),
            kill,
        ];
        queues_freed(&parse(&good), true).unwrap();
        queues_freed(&parse(&good[2..]), false).unwrap();
        let mut bad = good.clone();
        bad[3] = event("free", "0x2", 65536);
        assert!(queues_freed(&parse(&bad), true).unwrap_err().to_string().contains("freed 0 times"));
        bad[3] = event("free", "0x1", 4096);
        assert!(queues_freed(&parse(&bad), true).unwrap_err().to_string().contains("4096"));
        let mut late = good;
        late.swap(3, 4);
        assert!(queues_freed(&parse(&late), true).unwrap_err().to_string().contains("after the kill"));
    }
}
