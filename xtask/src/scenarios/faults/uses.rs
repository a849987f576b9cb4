//! Uses of memory after the removal of its pages, in the order of 2018: the kernel does not notice some,
//! others are fatal.

use anyhow::{Result, ensure};

use crate::scenarios::expect;
use crate::scenarios::lab::Lab;
use crate::scenarios::product::EventLine;
use crate::scenarios::stream::Stream;
use crate::scenarios::{Method, Verdict};

/// The kernel's messages about a bad access, and about the end of a task that died of one in the middle of a
/// request to a disk (`do_exit` warns of a plug that was not flushed).
const BAD_ACCESS: [&str; 3] = ["unable to handle page fault", "Oops:", "at kernel/exit.c:"];

/// Memory is touched immediately, translated to a bus address a little later, mapped for DMA later still, and
/// finally read into from a disk, each in its own process, and never freed: the unbind never ends.
pub(in crate::scenarios) fn late_uses(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_driver()?;
    let disk = lab.slow_disk()?;
    lab.load_module("race=1")?;
    let card = lab.card.clone();
    let trace = lab.trace("late-uses", &format!("{} --device {card}", method.option()))?;
    provoke_bad_access(lab);
    let touched = lab.use_after_removal(0, "touch HANDLE")?;
    let asked = lab.use_after_removal(10, "virt-to-bus HANDLE")?;
    let mapped = lab.map_after_removal(100)?;
    let read = lab.use_after_removal(500, &format!("read HANDLE /dev/{disk}"))?;
    let unbinding = lab.start_unbind_card()?;
    lab.expect_killed(touched.user)?;
    lab.finish(asked.user)?;
    lab.expect_killed(mapped.user)?;
    lab.expect_killed(read.user)?;
    lab.wait_sleeping(unbinding.pid, "release_late")?;
    let stream = lab.stop(trace)?;

    expect::nothing_lost(&stream)?;
    expect::only_about(&stream, &card)?;
    removed_in_use(&stream)?;
    // The release still waits: whether it would destroy memory in use is open.
    let violated = ["removed-before-drained", "use-after-removal"];
    expect::verdicts(&stream, &card, &violated, &["pool-destroyed-in-use"])?;
    let bus = stream.only("virt_to_bus")?;
    ensure!(
        (bus.tgid, expect::hex(bus.addr, bus)?) == (Some(asked.user.pid), asked.allocated.addr),
        "{bus:?} is not of {asked:x?}"
    );
    ensure!(bus.time_ns > stream.only("remove")?.time_ns, "the bus address was asked for before the removal");
    Ok(Verdict::Passed)
}

/// A mapping after the removal on a machine that panics on an oops, as production machines do: the stream on
/// another machine ends where this one dies.
pub(in crate::scenarios) fn mapped_to_death(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("race=1")?;
    let card = lab.card.clone();
    lab.guest.check("echo 1 > /proc/sys/kernel/panic_on_oops")?;
    let trace = lab.trace_to_host("mapped-to-death", &method.option())?;
    provoke_bad_access(lab);
    lab.guest.provoke("Kernel panic");
    let allocated = lab.allocate_mapped()?;
    let unbinding = lab.start_unbind_card()?;
    lab.wait_sleeping(unbinding.pid, "release_late")?;
    lab.wait_sent(&trace, "kind", "release")?;
    lab.wait_sent(&trace, "rule", "removed-before-drained")?;
    // Long enough for the pid of the process to reach the host.
    let user =
        lab.start_command(&format!("after-removal {0} 500 {1}", allocated.handle, lab.map(&allocated)))?;
    let death = lab.guest.wait_death()?;
    let stream = lab.cut_off(&trace)?;

    let expected = format!("PID: {} Comm: sh", user.pid);
    ensure!(
        death.iter().any(|line| line.contains(&expected)),
        "the kernel died of something else: {}",
        death.join(" | ")
    );
    expect::only_about(&stream, &card)?;
    removed_in_use(&stream)?;
    let found: Vec<_> = stream.findings.iter().map(|finding| finding.rule.name()).collect();
    ensure!(
        found.contains(&"removed-before-drained")
            && found.iter().all(|rule| ["removed-before-drained", "use-after-removal"].contains(rule)),
        "the findings before the death are {found:?}"
    );
    Ok(Verdict::Passed)
}

/// From now on, the test expects a bad access.
pub(super) fn provoke_bad_access(lab: &mut Lab) {
    for words in BAD_ACCESS {
        lab.guest.provoke(words);
    }
}

/// Expects the range to be removed without a drain, and the release to be waiting.
fn removed_in_use(stream: &Stream) -> Result<()> {
    expect::in_order(stream, &["kill", "remove", "unmapped", "release"])?;
    let done = ["drained", "released", "free"];
    let wrong: Vec<&EventLine> =
        stream.events.iter().filter(|event| done.contains(&event.kind.name())).collect();
    ensure!(wrong.is_empty(), "events that require freed memory: {wrong:?}");
    Ok(())
}
