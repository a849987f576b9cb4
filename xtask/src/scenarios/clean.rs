//! Runs without an error: no rule may find anything.

use anyhow::{Result, ensure};

use super::expect;
use super::lab::Lab;
use super::{Method, Verdict};
use crate::guest::kmodule;

/// How often the provider is bound and unbound.
const ROUNDS: u32 = 50;
/// How often each process maps.
const LOOPS: u32 = 20;
/// Bytes of one allocation.
const SIZE: u64 = 64 * 1024;

/// A provider with two ranges is loaded, bound and unbound many times, while several processes allocate and
/// free.
pub(super) fn rebinds(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let trace = lab.trace("clean-rebinds", &method.option())?;
    lab.load_module("ranges=2")?;
    let card = lab.card.clone();
    let driver = format!("/sys/bus/pci/drivers/{}", kmodule::NAME);
    lab.guest.check(&format!(
        "n=0; while [ $n -lt {ROUNDS} ]; do n=$((n+1)); echo {card} > {driver}/unbind && echo {card} > {driver}/bind || exit 1; done"
    ))?;
    // Three processes at once, then scatter lists.
    lab.guest
        .check(&format!("for n in 1 2 3; do (echo load {card} {SIZE} 300 > /dev/p2ptest) & done; wait"))?;
    for _ in 0..5 {
        let list = lab.command(&format!("alloc-list {card} {SIZE}"))?.handle()?;
        lab.command(&format!("free {list}"))?;
    }
    lab.unload_module()?;
    lab.load_module("ranges=1")?;
    lab.unload_module()?;
    let stream = lab.stop(trace)?;

    expect::nothing_lost(&stream)?;
    let releases = stream.of_kind("released").count();
    ensure!(releases == ROUNDS as usize + 2, "{releases} pools were released, not {}", ROUNDS + 2);
    expect::clean(&stream, &card)?;
    Ok(Verdict::Passed)
}

/// The trace begins while the memory is in use, and ends after the unbind.
pub(super) fn late_start(lab: &mut Lab, method: Method) -> Result<Verdict> {
    lab.load_module("ranges=2")?;
    let card = lab.card.clone();
    let before = lab.allocate(&card, SIZE)?.handle;
    let list = lab.command(&format!("alloc-list {card} {SIZE}"))?.handle()?;
    let load = lab.guest.spawn(&format!(
        "while [ ! -e /run/enough ]; do echo load {card} {SIZE} 5 > /dev/p2ptest; sleep 0.1; done"
    ))?;
    let trace = lab.trace("clean-late-start", &method.option())?;
    lab.guest.check("touch /run/enough")?;
    lab.guest.wait(load)?.success()?;
    lab.guest.check("rm /run/enough")?;
    for handle in [before, list] {
        lab.command(&format!("free {handle}"))?;
    }
    lab.unbind_card()?;
    let stream = lab.stop(trace)?;
    lab.unload_module()?;

    expect::nothing_lost(&stream)?;
    // Too little is known of earlier allocations, above all of the list, to check how they are freed.
    expect::verdicts(&stream, &card, &[], &["unmatched-free", "double-free", "size-mismatch"])?;
    Ok(Verdict::Passed)
}

/// Several processes map at once, and one requests more than there is.
pub(super) fn mapping_storm(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let trace = lab.trace("clean-mapping-storm", &method.option())?;
    lab.load_driver()?;
    let device = lab.memory.clone();
    lab.guest.check(&format!("p2pmap {device} --size {SIZE} --loops {LOOPS} --processes 3"))?;
    let refused = lab.guest.run(&format!("p2pmap {device} --size {}", 1u64 << 30))?;
    ensure!(refused.code != 0, "p2pmap mapped more memory than there is");
    lab.unbind()?;
    let stream = lab.stop(trace)?;
    lab.unload_driver()?;

    expect::nothing_lost(&stream)?;
    expect::clean(&stream, &device)?;
    Ok(Verdict::Passed)
}

/// Memory of two devices is allocated, freed and unbound at the same time.
pub(super) fn two_devices(lab: &mut Lab, method: Method) -> Result<Verdict> {
    let trace = lab.trace("clean-two-devices", &method.option())?;
    lab.load_driver()?;
    lab.load_module("ranges=2")?;
    let devices = [lab.memory.clone(), lab.card.clone()];
    let mut allocated = Vec::new();
    for device in &devices {
        allocated.push(lab.allocate(device, SIZE)?.handle);
    }
    for handle in allocated {
        lab.command(&format!("free {handle}"))?;
    }
    let drive = lab.unbind_command();
    let card = format!("echo {} > /sys/bus/pci/drivers/{}/unbind", lab.card, kmodule::NAME);
    lab.guest.check(&format!("({card}) & {drive}; wait"))?;
    let stream = lab.stop(trace)?;
    lab.unload_module()?;
    lab.unload_driver()?;

    expect::nothing_lost(&stream)?;
    for device in &devices {
        expect::clean(&stream, device)?;
    }
    Ok(Verdict::Passed)
}
