//! The test module's provider, with two ranges on one device: every way to allocate, use and free its memory.

use anyhow::{Context as _, Result, ensure};

use super::expect::{self, hex};
use super::lab::Lab;
use super::product::{EventLine, address};
use super::stream::Stream;
use super::testmod::Allocated;
use super::{Method, Verdict};

/// Bytes of one allocation.
const SIZE: u64 = 64 * 1024;
/// Bytes of the scatter list.
const LIST_SIZE: u64 = 8 * 1024;
/// The hook of each function that maps p2p memory: one per era of kernels.
const MAPPERS: [(&str, &str); 3] = [
    ("pci_p2pdma_map_sg_attrs", "map_sg"),
    ("pci_p2pdma_map_segment", "map_segment"),
    ("__pci_p2pdma_update_state", "map_state"),
];
/// The source file in which the kernel warns of a range that overlaps another one.
const OVERLAP: &str = "mm/memremap.c";

/// Actions of the scenario, for comparison with the stream.
struct Steps {
    /// Allocated and freed by two processes.
    plain: Allocated,
    /// Allocated by a process, freed by a kworker.
    worker: Allocated,
    /// Address of the scatter list.
    list: u64,
}

/// The complete life of a provider with two ranges.
pub(super) fn test_module(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let mapper = mapper(lab)?;
    let trace = lab.trace("test-module", &method.option())?;
    // A named hook is attached without the others, so it needs a trace of its own.
    let maps = lab.trace("test-module-maps", &format!("{} --hook {mapper}", method.option()))?;
    lab.load_module("ranges=2")?;
    let card = lab.card.clone();
    let bar = lab.range_of(&card)?;
    let injection = act(lab, &card, bar)?;
    lab.unbind_card()?;
    let maps = lab.stop(maps)?;
    let stream = lab.stop(trace)?;
    lab.unload_module()?;

    expect::nothing_lost(&stream)?;
    expect::attached_by(&stream, method)?;
    expect::only_about(&stream, &card)?;
    expect::clean(&stream, &card)?;
    two_ranges_added(&stream, bar)?;
    allocated_and_freed(&stream, &injection.plain)?;
    freed_by_kworker(&stream, &injection.worker)?;
    scatter_list(&stream, injection.list, can_see_entries(lab, method)?)?;
    used(&stream, &injection.plain)?;
    two_ranges_removed(&stream, bar)?;
    expect::nothing_lost(&maps)?;
    expect::attached_by(&maps, method)?;
    mapped(&maps, mapper, &card, &lab.slow)?;
    Ok(Verdict::Passed)
}

/// The hook on this kernel's function that maps p2p memory.
fn mapper(lab: &mut Lab) -> Result<&'static str> {
    for (function, hook) in MAPPERS {
        if lab.guest.run(&format!("grep -q ' {function}$' /proc/kallsyms"))?.code == 0 {
            return Ok(hook);
        }
    }
    anyhow::bail!("this kernel has none of the known functions that map p2p memory")
}

/// Whether `sgl_alloc` reports the number of entries: the verifier of 5.10, unlike that of 6.1, keeps fexit
/// programs from reading an argument that points to an integer, which is where it is (`arg1 type INT is not a
/// struct`).
fn can_see_entries(lab: &mut Lab, method: Method) -> Result<bool> {
    let release = lab.guest.check("uname -r")?;
    Ok(method == Method::Kprobe || !release.iter().any(|release| release.starts_with("5.")))
}

/// Allocates, uses and frees memory of the card.
fn act(lab: &mut Lab, card: &str, bar: (u64, u64)) -> Result<Steps> {
    let plain = lab.allocate(card, SIZE)?;
    let handle = plain.handle;
    lab.command(&format!("touch {handle}"))?;
    let bus = lab.command(&format!("virt-to-bus {handle}"))?.number("bus")?;
    ensure!(
        (bar.0..=bar.1).contains(&bus),
        "the bus address {bus:#x} is not in the BAR {:#x}–{:#x}",
        bar.0,
        bar.1
    );
    let client = lab.slow.clone();
    lab.command(&format!("map {handle} {client}"))?;
    lab.command(&format!("free {handle}"))?;

    let list = lab.command(&format!("alloc-list {card} {LIST_SIZE}"))?.handle()?;
    let address = lab.command(&format!("show {list}"))?.number("list")?;
    lab.command(&format!("free {list}"))?;

    let worker = lab.allocate(card, SIZE)?;
    let error = lab.guest.run("rmmod p2ptest")?;
    ensure!(error.code != 0, "the module can be unloaded while memory is allocated");
    lab.command(&format!("free-later {} 10", worker.handle))?;
    lab.wait_for("[ $(cat /sys/module/p2ptest/refcnt) = 0 ]")?;

    lab.command(&format!("publish {card} 0"))?;
    lab.guest.provoke(OVERLAP);
    lab.refused(&format!("add {card} 2 {} 0", half(bar)))?;
    Ok(Steps { plain, worker, list: address })
}

/// Bytes of one of two ranges.
const fn half((start, end): (u64, u64)) -> u64 {
    (end - start).div_ceil(2)
}

/// First and last addresses of the two ranges.
pub(super) const fn halves((start, end): (u64, u64)) -> [(u64, u64); 2] {
    let middle = start + half((start, end));
    [(start, middle - 1), (middle, end)]
}

/// Expects both halves to be added, then the first one again, unsuccessfully.
fn two_ranges_added(stream: &Stream, bar: (u64, u64)) -> Result<()> {
    let added: Vec<&EventLine> = stream.of_kind("add_resource").collect();
    let reported: Vec<_> =
        added.iter().map(|event| (event.size, event.offset, event.ret == Some(0))).collect();
    let size = half(bar);
    let expected = [(0, true), (size, true), (0, false)];
    let expected = expected.map(|(offset, good)| (Some(size), Some(offset), good));
    ensure!(reported == expected, "sizes, offsets and successes of add_resource: {reported:?}");
    ensure!(added[2].ret.is_some_and(|ret| ret < 0), "the failed one has no error: {:?}", added[2].ret);
    let mut made = Vec::new();
    for event in stream.of_kind("memremap").filter(|event| event.ret == Some(0)) {
        made.push(expect::bounds(event)?);
    }
    ensure!(made == halves(bar), "the ranges are {made:x?}");
    let published: Vec<_> = stream.of_kind("publish").map(|event| event.publish).collect();
    ensure!(published == [Some(true), Some(false)], "published: {published:?}");
    Ok(())
}

/// Expects the allocation by the process that requested it, and one free by another.
fn allocated_and_freed(stream: &Stream, allocated: &Allocated) -> Result<()> {
    let alloc = allocation(stream, allocated)?;
    let free = free_of(stream, alloc)?;
    ensure!(
        free.tgid.is_some() && free.tgid != alloc.tgid,
        "allocated by {:?}, freed by {:?}",
        alloc.tgid,
        free.tgid
    );
    ensure!(free.comm.as_deref() == Some("sh"), "freed by {:?}", free.comm);
    Ok(())
}

/// Expects the free in a kworker.
fn freed_by_kworker(stream: &Stream, allocated: &Allocated) -> Result<()> {
    let free = free_of(stream, allocation(stream, allocated)?)?;
    let comm = free.comm.as_deref().unwrap_or_default();
    ensure!(comm.starts_with("kworker/"), "freed by `{comm}`");
    Ok(())
}

/// The allocation of this memory by this process.
fn allocation<'a>(stream: &'a Stream, allocated: &Allocated) -> Result<&'a EventLine> {
    let mut by_process = stream.of_kind("alloc").filter(|event| event.tgid == Some(allocated.pid));
    let event =
        by_process.next().with_context(|| format!("there is no `alloc` by process {}", allocated.pid))?;
    ensure!(by_process.next().is_none(), "process {} allocated twice", allocated.pid);
    let addr = hex(event.addr, event)?;
    ensure!(
        (addr, event.size) == (allocated.addr, Some(SIZE)),
        "`alloc` {} is of {:?} bytes at {addr:#x}, the module got {SIZE} at {:#x}",
        event.id.0,
        event.size,
        allocated.addr
    );
    ensure!(event.comm.as_deref() == Some("sh"), "allocated by {:?}", event.comm);
    let caller = event.caller.as_ref().and_then(|caller| caller.symbol.as_deref());
    let can_be_hidden = expect::hides_callers(stream)?;
    ensure!(
        caller.map_or(can_be_hidden, |caller| caller.starts_with("memory_alloc+")
            && caller.ends_with("[p2ptest]")),
        "the caller is {caller:?}"
    );
    Ok(event)
}

/// The free of this allocation: the first one of its address after it, of the same size.
fn free_of<'a>(stream: &'a Stream, alloc: &EventLine) -> Result<&'a EventLine> {
    let free = stream.of_kind("free").find(|free| free.addr == alloc.addr && free.time_ns >= alloc.time_ns);
    let free = free.with_context(|| format!("{} is never freed", alloc.id.0))?;
    ensure!(free.size == alloc.size, "{:?} bytes are freed", free.size);
    Ok(free)
}

/// Expects the scatter list, its allocation, and its free.
fn scatter_list(stream: &Stream, list: u64, with_entries: bool) -> Result<()> {
    let freed = stream.only("sgl_free")?;
    let reported = hex(freed.sgl, freed)?;
    ensure!(reported == list, "the freed list is {reported:#x}, not {list:#x}");
    let mut inner = stream.of_kind("alloc").filter(|event| event.size == Some(LIST_SIZE));
    let alloc = inner.next().context("the list's own allocation is missing")?;
    ensure!(inner.next().is_none(), "the list's own allocation occurs twice");
    let allocated = stream.only("sgl_alloc")?;
    let reported = hex(allocated.sgl, allocated)?;
    ensure!(reported == list, "the allocated list is {reported:#x}, not {list:#x}");
    ensure!(
        (allocated.size, allocated.count, allocated.failed)
            == (Some(LIST_SIZE), with_entries.then_some(1), false),
        "the list has {:?} bytes in {:?} entries",
        allocated.size,
        allocated.count
    );
    ensure!(
        alloc.tgid == allocated.tgid && alloc.time_ns <= allocated.time_ns,
        "the list's own allocation is not by the same task before the list"
    );
    Ok(())
}

/// Expects the translation of the address.
fn used(stream: &Stream, allocated: &Allocated) -> Result<()> {
    let event = stream.only("virt_to_bus")?;
    let addr = hex(event.addr, event)?;
    ensure!(addr == allocated.addr, "virt_to_bus of {addr:#x}, not {:#x}", allocated.addr);
    Ok(())
}

/// Expects exactly one mapping.
fn mapped(stream: &Stream, hook: &str, card: &str, client: &str) -> Result<()> {
    let event = stream.only("map")?;
    ensure!(event.hook.name() == hook, "recorded by {}", event.hook.name());
    ensure!(
        address(event.device).as_deref() == Some(card) && address(event.client).as_deref() == Some(client),
        "{:?} maps memory of {:?}",
        event.client,
        event.device
    );
    ensure!(event.pgmap.is_some(), "the mapping names no range");
    Ok(())
}

/// Expects the teardown of both ranges, the newer one first, and one release of the device.
fn two_ranges_removed(stream: &Stream, bar: (u64, u64)) -> Result<()> {
    let begin = stream.only("driver_remove")?.time_ns;
    let mut newest_first = halves(bar);
    newest_first.reverse();
    let mut pgmaps = Vec::new();
    for kind in ["kill", "drained", "remove", "unmapped"] {
        let events: Vec<&EventLine> = stream.of_kind(kind).filter(|event| event.time_ns > begin).collect();
        let ranges = events.iter().map(|event| expect::bounds(event)).collect::<Result<Vec<_>>>()?;
        ensure!(ranges == newest_first, "`{kind}` of {ranges:x?}");
        pgmaps.push(events.iter().map(|event| event.pgmap).collect::<Vec<_>>());
    }
    ensure!(
        pgmaps.iter().all(|of_kind| *of_kind == pgmaps[0]),
        "the steps are of different ranges: {pgmaps:?}"
    );
    let order: Vec<&str> = stream
        .observed()
        .filter(|event| event.time_ns > begin)
        .map(|event| event.kind.name())
        .filter(|kind| ["kill", "drained", "remove", "unmapped", "release"].contains(kind))
        .collect();
    let one = ["kill", "drained", "remove", "unmapped"];
    let expected: Vec<&str> = one.into_iter().chain(one).chain(["release"]).collect();
    ensure!(order == expected, "the order of the teardown is {order:?}");
    Ok(())
}
