//! Single records of a checkpoint. Unknown fields are not flagged as valid.

use std::ops::Range as Span;

use p2p_trace_common::{
    Hook, Kind, Record, StackRecord,
    record::{FLAG_STACK, STACK_FRAMES, STACK_RECORDS},
    state, valid,
};
use p2p_trace_model::{
    event::{
        DeviceAddress, Task,
        decode::{self, PAGE_SIZE},
        user,
        words::{from_stack, to_record},
    },
    state::{
        Allocated, AllocatedBy, At, Device, FailedMmap, Geometry, Mapping, NO_PGMAP, PAGE_STRUCT_SIZE, Range,
        Reference, Stage, Step,
    },
};

/// A record of the device at this place of the stream. Its hook has no meaning, and the model ignores it.
const fn blank(device: &Device, at: At, kind: Kind) -> Record {
    let DeviceAddress { domain, bus, .. } = device.address();
    Record {
        kind: kind as u8,
        hook: Hook::Snapshot as u8,
        cpu: at.id.cpu,
        seq: at.id.seq,
        time_ns: at.time_ns,
        valid: valid::DEVICE,
        domain,
        bus,
        devfn: device.address().devfn(),
        ..user::blank(at.id.run)
    }
}

const fn put_task(record: &mut Record, task: Option<&Task>) {
    if let Some(task) = task {
        record.pid = task.pid;
        record.tgid = task.tgid;
        record.comm = task.comm;
        record.valid |= valid::TASK;
    }
}

const fn put_pgmap(record: &mut Record, range: Option<&Range>) {
    if let Some(range) = range
        && range.id.pgmap != NO_PGMAP
    {
        record.pgmap = range.id.pgmap;
        record.valid |= valid::PGMAP;
    }
}

const fn put(record: &mut Record, word: usize, value: Option<u64>, flag: u32) {
    if let Some(value) = value {
        record.words[word] = value;
        record.valid |= flag;
    }
}

const fn put_physical(record: &mut Record, range: &Range) {
    if let Some(physical) = range.physical {
        record.words[0] = physical.start;
        record.words[1] = physical.end;
        record.valid |= valid::RANGE;
    }
}

/// Appends the record, followed by its stack.
fn push(mut record: Record, stack: &[u64], out: &mut Vec<Record>) {
    if stack.is_empty() {
        out.push(record);
        return;
    }
    record.flags |= FLAG_STACK;
    out.push(record);
    let head = decode::stack(&record).head;
    let mut parts = stack.chunks(STACK_FRAMES).take(STACK_RECORDS).peekable();
    let mut number = 0;
    while let Some(part) = parts.next() {
        let mut frames = [0; STACK_FRAMES];
        frames[..part.len()].copy_from_slice(part);
        let mut stack = StackRecord { head, parent: record.seq, frames, part: number, guard: record.guard };
        stack.head.kind = Kind::Stack as u8;
        stack.head.flags = 0;
        out.push(to_record(&from_stack(&stack)));
        number += 1;
        let is_full = part.len() == STACK_FRAMES && (number as usize) < STACK_RECORDS;
        if parts.peek().is_none() && is_full {
            // A part that is not full is the last one.
            stack.frames = [0; STACK_FRAMES];
            stack.part = number;
            out.push(to_record(&from_stack(&stack)));
        }
    }
}

/// The record that introduces a range, if its teardown does not.
pub(super) fn birth(device: &Device, range: &Range, out: &mut Vec<Record>) {
    let Some(added) = range.steps.added else {
        let first_step = [range.steps.unmap_mappings, range.steps.memremap_release, range.steps.killed];
        if !first_step.contains(&Some(range.seen)) {
            state(device, range, range.seen.time_ns, out);
        }
        return;
    };
    let mut memremap = blank(device, added, Kind::Memremap);
    put_pgmap(&mut memremap, Some(range));
    put_physical(&mut memremap, range);
    put(&mut memremap, 3, range.base, valid::ADDR);
    out.push(memremap);
    // Without this record the next kill of the range would look like the cleanup of a refused add.
    let mut add = blank(device, added, Kind::AddResource);
    if let Some(bar) = range.bar {
        add.small = bar;
        add.valid |= valid::BAR;
    }
    add.valid |= valid::RET;
    out.push(add);
}

/// The snapshot of a range, except for the fields that only the kernel knows.
pub(super) fn state(device: &Device, range: &Range, time_ns: u64, out: &mut Vec<Record>) {
    let at = At { time_ns, ..range.seen };
    let mut record = blank(device, at, Kind::RangeState);
    let is_dead = range.dangling.is_some() && range.base.is_some() && range.dead_chunk_since().is_some();
    if !is_dead {
        put_pgmap(&mut record, Some(range));
    }
    put(&mut record, 0, range.physical.map(|physical| physical.start), valid::PHYSICAL);
    put(&mut record, 1, range.base, valid::ADDR);
    if let Some(size) = range.size() {
        record.number = u32::try_from(size / PAGE_SIZE).unwrap_or(u32::MAX);
        record.valid |= valid::COUNT;
    }
    let stage = match range.stage() {
        _ if is_dead => state::FREED,
        Stage::Live => 0,
        Stage::Killed => state::DEAD,
        Stage::Drained | Stage::Removed | Stage::Released => state::DEAD | state::EXITED,
    };
    record.small = stage | u16::from(range.chunk.unwrap_or_default()) << state::CHUNK_SHIFT;
    record.valid |= valid::STATE;
    out.push(record);
}

/// The snapshot of the device, after those of its ranges.
pub(super) fn device_state(device: &Device, chunks: u32, time_ns: u64, out: &mut Vec<Record>) {
    let id = p2p_trace_model::event::Id { run: 0, cpu: user::CPU - 1, seq: 0 };
    let mut record = blank(device, At { time_ns, id }, Kind::DeviceState);
    record.number = chunks;
    record.valid |= valid::COUNT;
    if let Some(published) = device.published() {
        record.small = u16::from(published);
        record.valid |= valid::FLAG;
    }
    out.push(record);
}

/// Whether other drivers can find the memory.
pub(super) fn publication(device: &Device, published: bool, at: At, out: &mut Vec<Record>) {
    let mut record = blank(device, at, Kind::Publish);
    record.small = u16::from(published);
    record.valid |= valid::FLAG;
    push(record, &[], out);
}

/// A step of a teardown.
pub(super) fn step(device: &Device, step: &Step, out: &mut Vec<Record>) {
    let mut record = blank(device, step.at, step.kind);
    let range = step.range.and_then(|id| device.range(id));
    put_task(&mut record, step.task.as_ref());
    put_pgmap(&mut record, range);
    if let Some(range) =
        range.filter(|_| matches!(step.kind, Kind::Kill | Kind::Drained | Kind::Remove | Kind::Unmapped))
    {
        put_physical(&mut record, range);
        if step.kind == Kind::Kill {
            record.number = 1;
            record.valid |= valid::COUNT;
            let counted = range.counted.filter(|counted| counted.at == step.at);
            put(&mut record, 2, counted.and_then(|counted| counted.bytes), valid::ALLOCATED);
            let refs = counted.and_then(|counted| counted.refs);
            put(&mut record, 3, refs.map(|refs| refs.count.cast_unsigned()), valid::REFS);
            if refs.is_some_and(|refs| refs.estimate) {
                record.valid |= valid::REFS_ESTIMATE;
            }
        }
    }
    push(record, &step.stack, out);
}

/// An outstanding allocation, or an outstanding scatter list with the allocation within it.
pub(super) fn allocated(device: &Device, reference: &Reference, out: &mut Vec<Record>) {
    let by = device.allocated_by(reference);
    let (Some(addr), size) = memory(reference) else {
        list(device, reference, &by, out);
        return;
    };
    let mut record = blank(device, reference.at, Kind::Alloc);
    put_task(&mut record, by.task.as_ref());
    put_pgmap(&mut record, device.range_of(reference));
    put(&mut record, 0, Some(addr), valid::ADDR);
    put(&mut record, 1, Some(size), valid::SIZE);
    put(&mut record, 2, by.caller, valid::CALLER);
    put(&mut record, 3, by.cgroup, valid::CGROUP);
    if reference.partial {
        record.small = 1;
        record.valid |= valid::FLAG;
    }
    push(record, by.stack, out);
    list(device, reference, &by, out);
}

fn list(device: &Device, reference: &Reference, by: &AllocatedBy<'_>, out: &mut Vec<Record>) {
    let Allocated::ScatterList { sgl, size, entries, .. } = reference.allocated else {
        return;
    };
    let mut record = blank(device, reference.at, Kind::SglAlloc);
    put_task(&mut record, by.task.as_ref());
    put(&mut record, 0, Some(sgl), valid::SGL);
    put(&mut record, 1, Some(size), valid::SIZE);
    put(&mut record, 2, by.caller, valid::CALLER);
    put(&mut record, 3, by.cgroup, valid::CGROUP);
    if let Some(entries) = entries {
        record.number = entries;
        record.valid |= valid::COUNT;
    }
    push(record, by.stack, out);
}

const fn memory(reference: &Reference) -> (Option<u64>, u64) {
    match reference.allocated {
        Allocated::Allocation { addr, size } => (Some(addr), size),
        Allocated::ScatterList { addr, size, .. } => (addr, size),
        Allocated::Mmap { .. } => (None, 0),
    }
}

/// Outstanding pages of a user mapping.
pub(super) fn mmap(
    geometry: &Geometry,
    device: &Device,
    reference: &Reference,
    pages: &Span<u64>,
    out: &mut Vec<Record>,
) {
    let Allocated::Mmap { page, user_addr, .. } = reference.allocated else {
        return;
    };
    let skipped = pages.start.saturating_sub(geometry.index(page));
    let count = pages.end.saturating_sub(pages.start);
    let by = device.allocated_by(reference);
    let mut record = blank(device, reference.at, Kind::Mmap);
    put_task(&mut record, by.task.as_ref());
    put_pgmap(&mut record, device.range_of(reference));
    let user_addr = user_addr.map(|addr| addr.saturating_add(skipped.saturating_mul(PAGE_SIZE)));
    let page = page.saturating_add(skipped.saturating_mul(PAGE_STRUCT_SIZE));
    put(&mut record, 0, user_addr, valid::USER_ADDR);
    put(&mut record, 1, Some(count.saturating_mul(PAGE_SIZE)), valid::SIZE);
    put(&mut record, 2, Some(page), valid::PAGE);
    put(&mut record, 3, by.cgroup, valid::CGROUP);
    record.number = u32::try_from(count).unwrap_or(u32::MAX);
    record.valid |= valid::COUNT | valid::RET;
    push(record, by.stack, out);
}

/// A failed user mapping. Those of its inserted pages that are outstanding are listed like any others.
pub(super) fn failed_mmap(device: &Device, range: &Range, failed: &FailedMmap, out: &mut Vec<Record>) {
    let mut record = blank(device, failed.at, Kind::Mmap);
    put_task(&mut record, failed.task.as_ref());
    put_pgmap(&mut record, Some(range));
    put(&mut record, 2, Some(failed.page), valid::PAGE);
    record.small = (failed.error as i16).cast_unsigned();
    record.valid |= valid::COUNT | valid::RET;
    push(record, &[], out);
}

/// A DMA mapping, repeated as often as it was made.
pub(super) fn mapping(device: &Device, mapping: &Mapping, out: &mut Vec<Record>) {
    let mut record = blank(device, mapping.at, Kind::Map);
    if let Some(pgmap) = mapping.pgmap {
        record.pgmap = pgmap;
        record.valid |= valid::PGMAP;
    }
    put(&mut record, 0, Some(mapping.page), valid::PAGE);
    let client = mapping.client.map(|client| {
        u64::from(client.domain) << 32 | u64::from(client.bus) << 8 | u64::from(client.devfn())
    });
    put(&mut record, 3, client, valid::CLIENT);
    if let Some(entries) = mapping.entries {
        record.number = entries;
        record.valid |= valid::COUNT;
    }
    for _ in 0..mapping.times.min(MAX_TIMES) {
        out.push(record);
    }
}

/// Upper bound for the mappings of one list.
const MAX_TIMES: u32 = 1024;
