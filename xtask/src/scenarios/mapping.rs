//! User space maps p2p memory, and blocks an unbind with it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::lab::Lab;
use super::{Method, Verdict};
use super::{clock, expect};

/// Bytes of one mapping.
const MAPPING: u64 = 64 * 1024;
/// Bytes of one page.
const PAGE: u64 = 4096;
/// How often to map.
const LOOPS: u64 = 3;

/// Memory is mapped and unmapped a few times by a process that stays on one CPU.
pub(super) fn map_and_unmap(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_driver()?;
    let trace = lab.trace("map-and-unmap", &method.option())?;
    let command = format!("p2pmap {} --size {MAPPING} --loops {LOOPS} --cpus 0", lab.memory);
    let done = lab.guest.check(&command)?.pop().unwrap_or_default();
    let stream = lab.stop(trace)?;
    lab.unload_driver()?;

    expect::nothing_lost(&stream)?;
    expect::attached_by(&stream, method)?;
    expect::only_about(&stream, &lab.memory)?;
    expect::clean(&stream, &lab.memory)?;
    let pid = number(&done, "pid")?;
    ensure!(number(&done, "bytes")? == MAPPING * LOOPS, "p2pmap printed {done}");
    let maps: Vec<_> = stream.of_kind("mmap").collect();
    let frees: Vec<_> = stream.of_kind("page_free").collect();
    ensure!(maps.len() as u64 == LOOPS, "{} mappings instead of {LOOPS}", maps.len());
    // The reader flushes old bursts, which can fall into the middle of one.
    let bursts = LOOPS..=2 * LOOPS;
    ensure!(bursts.contains(&(frees.len() as u64)), "{} bursts of page frees, not {bursts:?}", frees.len());
    let freed: u64 = frees.iter().map(|free| free.count.map_or(1, u64::from)).sum();
    ensure!(freed == LOOPS * MAPPING / PAGE, "{freed} pages were freed");
    for map in &maps {
        ensure!(map.size == Some(MAPPING), "a mapping has {:?} bytes", map.size);
        ensure!(map.ret.is_none_or(|ret| ret == 0), "a mapping failed: {:?}", map.ret);
    }
    for free in &frees {
        ensure!(
            free.count.is_some_and(|count| u64::from(count) <= MAPPING / PAGE),
            "a burst has {:?} pages",
            free.count
        );
    }
    for event in maps.iter().chain(&frees) {
        let (tgid, comm) = (event.tgid.map(u64::from), event.comm.as_deref());
        ensure!(tgid == Some(pid) && comm == Some("p2pmap"), "{} is by {comm:?} ({tgid:?})", event.id.0);
    }
    Ok(Verdict::Passed)
}

/// An `O_DIRECT` read into mapped memory is under way when the device is unbound.
pub(super) fn blocked_unbind(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_driver()?;
    let range = lab.range()?;
    let trace = lab.trace("blocked-unbind", &format!("{} --stall-after 1s", method.option()))?;
    let read = lab.start_read(MAPPING)?;
    let command = format!("echo $$; {}", lab.unbind_command());
    let unbound = lab.guest.check(&command)?;
    let read = lab.guest.wait(read)?.success()?;
    let stream = lab.stop(trace)?;
    lab.unload_driver()?;

    expect::nothing_lost(&stream)?;
    expect::attached_by(&stream, method)?;
    expect::only_about(&stream, &lab.memory)?;
    expect::queues_freed(&stream, false)?;
    expect::teardown(&stream, range)?;
    expect::verdicts(&stream, &lab.memory, &["stalled-drain", "stalled-unbind"], &["size-mismatch"])?;
    expect::in_order(&stream, &["mmap", "unmap_mappings", "kill"])?;
    expect::armed_while_blocked(&stream)?;

    let (mmap, kill, drained) = (stream.only("mmap")?, stream.only("kill")?, stream.only("drained")?);
    let line =
        read.iter().find(|line| line.starts_with("read ")).context("p2pdio did not print its result")?;
    let pid = number(line, "pid")?;
    ensure!(mmap.tgid.map(u64::from) == Some(pid), "the memory was mapped by {:?}, not {pid}", mmap.tgid);
    let unbinder = unbound.first().and_then(|line| line.parse::<u32>().ok());
    ensure!(kill.pid == unbinder, "the kill is by {:?}, not by {unbinder:?}", kill.pid);

    let blocked = Duration::from_nanos(drained.time_ns - kill.time_ns);
    let io = Duration::from_millis(number(line, "milliseconds")?);
    ensure!(blocked > Duration::from_secs(1), "the unbind was blocked for {blocked:?} only");
    clock::at_once(
        &format!("by a read of {io:?}, the unbind is blocked for {blocked:?}:"),
        blocked.saturating_sub(io),
    )?;
    let frees: Vec<_> = stream.of_kind("page_free").collect();
    let pages: u64 = frees.iter().map(|free| free.count.map_or(1, u64::from)).sum();
    ensure!(pages * PAGE == MAPPING, "{pages} pages were freed, {MAPPING} bytes were mapped");
    let place = |id| stream.events.iter().position(|event| event.id == id);
    let last = frees.iter().filter_map(|free| free.last_ns).max().context("no page free has a time")?;
    ensure!(frees.iter().all(|free| place(free.id) < place(drained.id)), "pages are freed after the drain");
    ensure!(last <= drained.time_ns, "the last page is freed after the drain");
    let after = Duration::from_nanos(drained.time_ns - last);
    clock::at_once("the drain after the last page is", after)?;
    Ok(Verdict::Passed)
}

/// The number after `key=` in a line of the guest's programs.
pub(super) fn number(line: &str, key: &str) -> Result<u64> {
    line.split(' ')
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
        .with_context(|| format!("`{line}` has no {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers() {
        assert_eq!(number("read pid=12 bytes=65536", "bytes").unwrap(), 65536);
        assert!(number("read pid=12", "id").unwrap_err().to_string().contains("has no id"));
    }
}
