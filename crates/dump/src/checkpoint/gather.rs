//! Turns a model into the records that restore it: the records that still matter, in the order of their
//! times, with their own ids, tasks and times; then one snapshot that stands for all allocated memory.

use std::collections::HashSet;

use p2p_trace_common::{Hook, Record, Ring};
use p2p_trace_model::{
    event::{
        Loss, Reason,
        decode::PAGE_SIZE,
        user::{self, Change, Run, SnapshotEnd},
    },
    rules::Lost,
    state::{
        Allocated, Baseline, Device, Ended, Model, RangeId, Reference, Stage, Step, Teardown, Uncertainties,
        whole_pages,
    },
};

use super::{cap::Cap, write};

/// The records of a checkpoint of `model`, in the run with this number and with these losses.
pub(super) fn gather(model: &Model, run: u64, lost: [Lost; 2], mut cap: Cap) -> Vec<Record> {
    let mut timeline = Vec::new();
    let mut late = Vec::new();
    let mut writer = user::Writer::new(run);
    let mut earliest_ns = model.now_ns();
    hooks(model, &mut writer, &mut timeline);
    for device in model.devices() {
        ranges(device, &mut timeline);
        if let Some((published, at)) = device.publication() {
            write::publication(device, published, at, &mut timeline);
        }
        for teardown in device.teardowns().filter(|teardown| is_kept(device, teardown)) {
            for step in &teardown.steps {
                write::step(device, step, &mut timeline);
            }
        }
        let first_ns = references(model, device, &mut cap, &mut timeline, &mut late);
        earliest_ns = earliest_ns.min(first_ns.unwrap_or(u64::MAX));
        exited(device, &mut writer, &mut timeline);
        if let Some(mappings) = device.mappings(model.hooks()) {
            for mapping in mappings.live() {
                write::mapping(device, mapping, &mut timeline);
            }
        }
    }
    sleeps(model, &mut writer, &mut timeline);
    // Stable: records that belong together were written together, and have the same time.
    timeline.sort_by_key(|record| record.time_ns);
    let now_ns = model.now_ns();
    for (ring, lost) in Ring::ALL.into_iter().zip(lost) {
        uncertainty(ring, lost.count, lost.until_ns, lost.until_ns, &mut writer, &mut timeline);
    }
    for device in model.devices() {
        snapshot(model, device, now_ns, cap, &mut writer, &mut timeline);
    }
    timeline.append(&mut late);
    // Timed before every reference in the checkpoint: the holders of those are known.
    let omitted_ns = earliest_ns.saturating_sub(1);
    uncertainty(Ring::Hot, cap.omitted(), omitted_ns, omitted_ns, &mut writer, &mut timeline);
    uncertainties(model, &mut writer, &mut timeline);
    timeline.push(writer.tick(now_ns));
    timeline
}

/// Times at which the machine was suspended, as ticks.
fn sleeps(model: &Model, writer: &mut user::Writer, out: &mut Vec<Record>) {
    let Some((known_ns, asleep_ns)) = model.asleep() else {
        return;
    };
    let slept_ns: u64 = model.sleeps().map(|sleep| sleep.asleep_ns).sum();
    let mut total_ns = asleep_ns.saturating_sub(slept_ns);
    for sleep in model.sleeps() {
        out.push(writer.tick_asleep(sleep.from_ns, Some(total_ns)));
        total_ns = total_ns.saturating_add(sleep.asleep_ns);
        out.push(writer.tick_asleep(sleep.to_ns, Some(total_ns)));
    }
    out.push(writer.tick_asleep(known_ns, Some(asleep_ns)));
}

/// The armed hooks. The status covers the others.
fn hooks(model: &Model, writer: &mut user::Writer, out: &mut Vec<Record>) {
    for &hook in Hook::ALL {
        let Some(state) = model.hooks().state(hook).filter(|state| state.armed && state.attached) else {
            continue;
        };
        let change = Change { hook, attached: true, method: state.method, armed: true };
        out.push(writer.attach(state.since_ns, &change));
    }
}

/// True if the steps of the teardown describe it completely.
fn is_kept(device: &Device, teardown: &Teardown) -> bool {
    let is_over = |step: &Step| {
        let range = step.range.map(|id| device.range(id));
        range.is_none_or(|range| range.is_some_and(|range| range.ended_unseen.is_none()))
    };
    match teardown.ended {
        None => true,
        Some((Ended::Unseen, _)) => false,
        Some((Ended::Released | Ended::Unbound, _)) => teardown.steps.iter().all(is_over),
    }
}

/// True if a teardown in the checkpoint covers the range.
fn is_torn_down(device: &Device, id: RangeId) -> bool {
    let mut teardowns = device.teardowns().filter(|teardown| is_kept(device, teardown));
    teardowns.any(|teardown| teardown.steps_of(id).next().is_some())
}

fn ranges(device: &Device, out: &mut Vec<Record>) {
    for range in device.ranges() {
        let is_over = range.stage() == Stage::Released || range.refused;
        if is_over && !is_torn_down(device, range.id) || range.ended_unseen.is_some() {
            continue;
        }
        write::birth(device, range, out);
        for failed in range.failed_mmaps.iter() {
            write::failed_mmap(device, range, failed, out);
        }
    }
}

/// Adds the admitted references and returns the time of the earliest one.
fn references(
    model: &Model,
    device: &Device,
    cap: &mut Cap,
    out: &mut Vec<Record>,
    late: &mut Vec<Record>,
) -> Option<u64> {
    let mut earliest_ns: Option<u64> = None;
    let mut note = |reference: &Reference| {
        let time_ns = reference.at.time_ns;
        earliest_ns = Some(earliest_ns.map_or(time_ns, |earliest| earliest.min(time_ns)));
    };
    for (_, reference) in device.references() {
        if !cap.admits(reference) {
            continue;
        }
        note(reference);
        match reference.allocated {
            Allocated::Allocation { .. } | Allocated::ScatterList { addr: Some(_), .. } => {
                write::allocated(device, reference, out);
            }
            // Its place is unknown, so that the snapshot would mistake its memory for another allocation.
            Allocated::ScatterList { addr: None, .. } => write::allocated(device, reference, late),
            Allocated::Mmap { .. } => {}
        }
    }
    for (pages, reference) in device.mmap_pages() {
        if !cap.admits_pages(&pages) {
            continue;
        }
        note(reference);
        let is_placed = model.geometry().span(&pages).is_some();
        let out = if is_placed { &mut *out } else { &mut *late };
        write::mmap(model.geometry(), device, reference, &pages, out);
    }
    earliest_ns
}

/// The holders that have exited.
fn exited(device: &Device, writer: &mut user::Writer, out: &mut Vec<Record>) {
    let mut seen = HashSet::new();
    for (_, reference) in device.references() {
        let by = device.allocated_by(reference);
        let Some((task, since_ns)) = by.task.zip(by.exited_since_ns) else {
            continue;
        };
        if seen.insert((task.tgid, since_ns)) {
            out.push(writer.exited_before(since_ns, &task, by.replaced_ns));
        }
    }
}

/// A snapshot that finds exactly the known memory allocated.
fn snapshot(
    model: &Model,
    device: &Device,
    now_ns: u64,
    cap: Cap,
    writer: &mut user::Writer,
    out: &mut Vec<Record>,
) {
    if device.baseline() == Baseline::Unknown {
        return;
    }
    let address = device.address();
    let mut chunks = 0;
    for range in device.ranges().filter(|range| range.stage() < Stage::Released) {
        write::state(device, range, now_ns, out);
        chunks += 1;
    }
    write::device_state(device, chunks, now_ns, out);
    let mut runs = allocated(model, device);
    let mut complete = true;
    if cap.omitted() > 0 {
        runs = joined(runs);
        complete = runs.len() <= cap.runs();
        runs.truncate(cap.runs());
    }
    for &(addr, size, pgmap) in &runs {
        let run = Run { device: address, pgmap, addr, size };
        out.push(writer.run(now_ns, &run));
    }
    let snapshot_end =
        SnapshotEnd { device: address, from_ns: now_ns, to_ns: now_ns, runs: runs.len() as u32, complete };
    out.push(writer.snapshot_end(&snapshot_end));
}

/// Address, size and range of a piece of allocated memory.
type Piece = (u64, u64, Option<u64>);

/// The allocated pieces of a device.
fn allocated(model: &Model, device: &Device) -> Vec<Piece> {
    let before = device.preexisting().map(|known| (known.addr, known.size, known.pgmap));
    let of_references = device.references().filter_map(|(_, reference)| {
        let addr = reference.addr()?;
        let size = whole_pages(size(reference));
        Some((addr - addr % PAGE_SIZE, size, pgmap(device, reference)))
    });
    let of_mmaps = device.mmap_pages().filter_map(|(pages, reference)| {
        let span = model.geometry().span(&pages)?;
        Some((span.start, span.end - span.start, pgmap(device, reference)))
    });
    before.chain(of_references).chain(of_mmaps).collect()
}

/// Merges adjacent pieces.
fn joined(mut pieces: Vec<Piece>) -> Vec<Piece> {
    pieces.sort_unstable();
    pieces.dedup_by(|next, kept| {
        let touches = kept.0.checked_add(kept.1) == Some(next.0) && kept.2 == next.2;
        if touches {
            kept.1 += next.1;
        }
        touches
    });
    pieces
}

const fn size(reference: &Reference) -> u64 {
    match reference.allocated {
        Allocated::Allocation { size, .. } | Allocated::ScatterList { size, .. } if size > 0 => size,
        _ => 1,
    }
}

fn pgmap(device: &Device, reference: &Reference) -> Option<u64> {
    device.range_of(reference).map(|range| range.id.pgmap)
}

/// Keeps uncertain references uncertain.
fn uncertainties(model: &Model, writer: &mut user::Writer, out: &mut Vec<Record>) {
    let all: Vec<Uncertainties> = model.devices().map(Device::uncertain).collect();
    for (ring, open) in [
        (Ring::Hot, all.iter().filter_map(|uncertainties| uncertainties.hot).collect::<Vec<_>>()),
        (Ring::Rare, all.iter().filter_map(|uncertainties| uncertainties.rare).collect()),
    ] {
        let count = open.iter().map(|uncertainty| uncertainty.lost).max().unwrap_or(0);
        let from_ns = open.iter().map(|uncertainty| uncertainty.since_ns).min().unwrap_or(0);
        let to_ns = open.iter().map(|uncertainty| uncertainty.until_ns).max().unwrap_or(0);
        uncertainty(ring, count, from_ns, to_ns, writer, out);
    }
}

fn uncertainty(
    ring: Ring,
    count: u64,
    from_ns: u64,
    to_ns: u64,
    writer: &mut user::Writer,
    out: &mut Vec<Record>,
) {
    if count > 0 {
        let loss = Loss { reason: Reason::Damaged, ..Loss::skipped(ring, count, from_ns, to_ns) };
        out.push(writer.loss(&loss));
    }
}
