//! Wrong frees and puts of a driver, up to the kernel's own `BUG`.

use anyhow::{Result, ensure};
use p2p_trace_model::units::duration;

use super::injection::{Freed, SIZE};
use crate::scenarios::arming::{last_armed, late_uses};
use crate::scenarios::expect;
use crate::scenarios::lab::Lab;
use crate::scenarios::product::{Answer, EventLine};
use crate::scenarios::stream::Stream;
use crate::scenarios::{Method, Verdict};

/// The location of the kernel's `BUG`: `gen_pool_free_owner` and `gen_pool_destroy`.
const POOL: &str = "kernel BUG at lib/genalloc.c";
/// The kernel's second message about a `BUG`.
const OOPS: &str = "Oops: invalid opcode";
/// Distance from an allocation at which no memory is allocated.
const BEYOND: u64 = 16 << 20;
/// Distance before the direct map of all p2p memory.
const OUTSIDE: u64 = 1 << 40;

/// Frees memory twice, frees more than was allocated, and frees memory that was never allocated, inside and
/// outside of the pool. Each ends its task.
pub(in crate::scenarios) fn wrong_frees(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("")?;
    let card = lab.card.clone();
    let trace = lab.trace("wrong-frees", &method.option())?;
    provoke_bug(lab);
    let twice = lab.free_twice()?;
    let larger = lab.free_with_size(2 * SIZE)?;
    let unallocated = larger.addr + BEYOND;
    let inside = lab.free_unallocated(unallocated, SIZE)?;
    let outside = lab.free_unallocated(larger.addr - OUTSIDE, SIZE)?;
    let stream = lab.stop(trace)?;

    expect::nothing_lost(&stream)?;
    expect::only_about(&stream, &card)?;
    for freed in [twice[0], twice[1], larger, inside, outside] {
        is_recorded(&stream, freed)?;
    }
    expect::verdicts(&stream, &card, &["unmatched-free", "double-free", "size-mismatch"], &[])?;
    Ok(Verdict::Passed)
}

/// Frees less than was allocated: the kernel notices when it destroys the pool with the rest in it.
pub(in crate::scenarios) fn partial_free(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("")?;
    let trace = lab.trace("partial-free", &method.option())?;
    let smaller = lab.free_with_size(SIZE / 2)?;
    provoke_bug(lab);
    let unbinding = lab.start_unbind_card()?;
    let unbinder = lab.expect_killed(unbinding)?;
    let stream = lab.stop(trace)?;

    is_recorded(&stream, smaller)?;
    let card = lab.card.clone();
    expect::verdicts(&stream, &card, &["size-mismatch", "pool-destroyed-in-use"], &[])?;
    destroyed_in_use(&stream, unbinder, SIZE / 2)
}

/// Drops a reference that no allocation holds: the range is drained and removed while its memory is in use,
/// and the pool is destroyed with that memory in it.
pub(in crate::scenarios) fn put_without_get(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("")?;
    let card = lab.card.clone();
    let trace = lab.trace("put-without-get", &method.option())?;
    let allocated = lab.allocate(&card, SIZE)?;
    lab.command(&format!("put {}", allocated.handle))?;
    provoke_bug(lab);
    let unbinding = lab.start_unbind_card()?;
    let unbinder = lab.expect_killed(unbinding)?;
    lab.wait_armed(&trace)?;
    let stream = lab.stop(trace)?;

    ensure!(stream.of_kind("free").next().is_none(), "something was freed");
    expect::only_violated(&stream, &card, &["removed-before-drained", "pool-destroyed-in-use"])?;
    gap_is_reported(&stream, &card)?;
    destroyed_in_use(&stream, unbinder, SIZE)
}

/// Expects the rule on late uses to be open where the removal came before mappings were watched, and its
/// reason to report how long they were not.
fn gap_is_reported(stream: &Stream, card: &str) -> Result<()> {
    let (kill, remove) = (stream.only("kill")?, stream.only("remove")?);
    let last_ns = last_armed(stream)?;
    if last_ns <= remove.time_ns {
        // Linux 5.10 drops a reference for each page before.
        return late_uses(stream, card, Answer::Holds).map(drop);
    }
    let since = |step: &EventLine| duration(last_ns - step.time_ns);
    let gap = format!(
        "DMA mappings were traced only from {} after the kill, {} after the removal",
        since(kill),
        since(remove)
    );
    let reasons = late_uses(stream, card, Answer::Inconclusive)?;
    ensure!(reasons.contains(&gap), "the reasons lack `{gap}`: {}", reasons.join("; "));
    Ok(())
}

/// From now on, the test expects a `BUG` of the pool.
fn provoke_bug(lab: &mut Lab) {
    lab.guest.provoke(POOL);
    lab.guest.provoke(OOPS);
}

/// Expects exactly one record of this free.
fn is_recorded(stream: &Stream, freed: Freed) -> Result<()> {
    let mut by_process = stream.of_kind("free").filter(|event| event.tgid == Some(freed.pid));
    let event = by_process.next();
    let seen = event.map(|event| (expect::hex(event.addr, event).ok(), event.size));
    ensure!(
        seen == Some((Some(freed.addr), Some(freed.size))) && by_process.next().is_none(),
        "{freed:x?} was recorded as {seen:x?}"
    );
    Ok(())
}

/// Expects a correct teardown up to the release, which does not return, with this many allocated bytes.
fn destroyed_in_use(stream: &Stream, unbinder: u32, bytes: u64) -> Result<Verdict> {
    expect::in_order(stream, &["kill", "drained", "remove", "unmapped", "release"])?;
    let kill = stream.only("kill")?;
    ensure!(
        kill.allocated == Some(bytes),
        "{:?} bytes are allocated at the kill, not {bytes}",
        kill.allocated
    );
    let release = stream.only("release")?;
    ensure!(release.tgid == Some(unbinder), "the release is by {:?}, not {unbinder}", release.tgid);
    ensure!(
        stream.of_kind("released").next().is_none(),
        "the release returned, though the kernel ended its task"
    );
    Ok(Verdict::Passed)
}
