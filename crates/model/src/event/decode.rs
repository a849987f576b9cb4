//! Decodes records into events.

use p2p_trace_common::{
    Hook, Kind, Record, StackRecord,
    record::{COMM_LEN, FLAG_ARMED, FLAG_KPROBE},
    state, valid,
};

use super::{
    DeviceAddress, Event, Id, Method, Range, Refs, Span, State, Task,
    layout::{Layout, Number, Small, Word},
    words,
};

/// Bytes in a page, and so in each page that a `page_free` record counts.
pub const PAGE_SIZE: u64 = 4096;

/// The record has a kind or hook that this version does not know: it is from a later version or corrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// This version does not know the kind.
    #[error("record {id} is of kind {kind}, which this version does not know")]
    UnknownKind {
        /// The record.
        id: Id,
        /// The number.
        kind: u8,
    },
    /// This version does not know the hook.
    #[error("record {id} comes from hook {hook}, which this version does not know")]
    UnknownHook {
        /// The record.
        id: Id,
        /// The number.
        hook: u8,
    },
}

/// The id of a record.
#[must_use]
pub const fn id(record: &Record) -> Id {
    Id { run: record.run, cpu: record.cpu, seq: record.seq }
}

/// Decodes a record of the kernel side. A stack record becomes an event that holds only frames.
///
/// # Errors
///
/// Returns an error if the kind or hook is unknown.
pub fn decode(record: &Record) -> Result<Event, DecodeError> {
    let (id, kind, hook) = named(record)?;
    let mut event = blank(record, id, kind, hook);
    fill(&mut event, record);
    Ok(event)
}

/// Like [`decode`], but reuses an existing event, because there can be millions of events per second.
///
/// # Errors
///
/// As for [`decode`].
pub(crate) fn decode_into(event: &mut Event, record: &Record) -> Result<(), DecodeError> {
    let (id, kind, hook) = named(record)?;
    *event = blank(record, id, kind, hook);
    fill(event, record);
    Ok(())
}

fn named(record: &Record) -> Result<(Id, Kind, Hook), DecodeError> {
    let id = id(record);
    let kind = record.kind().ok_or(DecodeError::UnknownKind { id, kind: record.kind })?;
    let hook = Hook::from_u8(record.hook).ok_or(DecodeError::UnknownHook { id, hook: record.hook })?;
    Ok((id, kind, hook))
}

fn fill(event: &mut Event, record: &Record) {
    if event.kind == Kind::Stack {
        let stack = stack(record);
        event.parent = Some(stack.parent);
        event.stack = frames(&stack).to_vec();
        return;
    }
    common(event, record);
    by_kind(event, record);
    event.failed = failed(event, record);
}

/// Reads the record as a stack record.
#[must_use]
pub fn stack(record: &Record) -> StackRecord {
    words::to_stack(&words::from_record(record))
}

/// The frames in a stack record.
#[must_use]
pub fn frames(stack: &StackRecord) -> &[u64] {
    let length = stack.frames.iter().position(|&frame| frame == 0).unwrap_or(stack.frames.len());
    &stack.frames[..length]
}

const fn blank(record: &Record, id: Id, kind: Kind, hook: Hook) -> Event {
    let method = if record.flags & FLAG_KPROBE == 0 { Method::Fentry } else { Method::Kprobe };
    Event {
        id,
        kind,
        hook,
        method,
        armed: record.flags & FLAG_ARMED != 0,
        time_ns: record.time_ns,
        task: None,
        device: None,
        pgmap: None,
        bar: None,
        offset: None,
        addr: None,
        range: None,
        size: None,
        ret: None,
        failed: false,
        refs: None,
        reference: None,
        allocated: None,
        count: None,
        flag: None,
        sgl: None,
        user_addr: None,
        page: None,
        physical: None,
        client: None,
        caller: None,
        cgroup: None,
        state: None,
        pooled: None,
        waiting_ns: None,
        span: None,
        burst_cpu: None,
        parent: None,
        stack: Vec::new(),
    }
}

fn common(event: &mut Event, record: &Record) {
    let &Record { pid, tgid, comm, domain, bus, devfn, .. } = record;
    let comm = padded(comm);
    event.task = record.has(valid::TASK).then_some(Task { pid, tgid, comm });
    event.device = record.has(valid::DEVICE).then(|| DeviceAddress::from_devfn(domain, bus, devfn));
    event.pgmap = record.has(valid::PGMAP).then_some(record.pgmap);
}

/// Zeroes the bytes after the end of a name. Kernels such as 5.10 leave the tail of a longer, earlier name
/// there, so a task read by a helper in one record would not equal the same task read from its `task_struct`
/// in another.
fn padded(mut comm: [u8; COMM_LEN]) -> [u8; COMM_LEN] {
    if let Some(end) = comm.iter().position(|&byte| byte == 0) {
        comm[end..].fill(0);
    }
    comm
}

fn by_kind(event: &mut Event, record: &Record) {
    let layout = Layout::of(event.kind);
    for (index, meaning) in layout.words.into_iter().enumerate() {
        if !record.has(meaning.flag()) {
            continue;
        }
        let value = record.words[index];
        // The second half of a pair is in the next word.
        let next = record.words.get(index + 1).copied().unwrap_or_default();
        match meaning {
            Word::Unused | Word::End | Word::LastNs => {}
            Word::Size => event.size = Some(value),
            Word::Offset => event.offset = Some(value),
            Word::Caller => event.caller = Some(value),
            Word::Start => {
                event.range = Some(Range { start: value, end: next });
            }
            Word::Addr => event.addr = Some(value),
            Word::Physical => event.physical = Some(value),
            Word::Cgroup => event.cgroup = Some(value),
            Word::Sgl => event.sgl = Some(value),
            Word::UserAddr => event.user_addr = Some(value),
            Word::Page => event.page = Some(value),
            Word::FirstNs => {
                event.span = Some(Span { first_ns: value, last_ns: next });
            }
            Word::Client => event.client = Some(client(value)),
            Word::Allocated => event.allocated = Some(value),
            Word::Waiting => event.waiting_ns = Some(value),
            // Only in records of user space.
            Word::Asleep => {}
            Word::Refs => {
                let (count, estimate) = (value.cast_signed(), record.has(valid::REFS_ESTIMATE));
                event.refs = Some(Refs { count, estimate });
            }
        }
    }
    if record.has(layout.number.flag()) {
        match layout.number {
            Number::Unused => {}
            Number::Ret => event.ret = Some(record.number.cast_signed()),
            Number::Count => event.count = Some(record.number),
            Number::ReferenceOrCount => event.reference = Some(record.number).filter(|&low| low != 0),
            Number::State => event.state = Some(State::from_bits(record.number as u16)),
        }
    }
    if event.kind == Kind::Kill {
        event.count = record.killed_ranges();
    }
    if record.has(layout.small.flag()) {
        match layout.small {
            Small::Unused => {}
            Small::Bar => event.bar = Some(record.small),
            Small::Flag => event.flag = Some(record.small != 0),
            Small::Ret => event.ret = Some(i32::from(record.small.cast_signed())),
            Small::BurstCpu => event.burst_cpu = Some(record.small),
            Small::State => {
                event.state = Some(State::from_bits(record.small));
                event.pooled = pooled(record.small);
            }
            Small::Killed => event.pooled = pooled(record.small),
            Small::Outstanding => {
                event.flag = Some(record.small & 1 != 0);
                event.pooled = pooled(record.small);
            }
        }
    }
    if event.kind == Kind::PageFree {
        event.size = event.count.map(|pages| u64::from(pages) * PAGE_SIZE);
    }
    if let (Kind::RangeState, Some(start), Some(pages)) = (event.kind, event.physical, event.count) {
        event.physical = None;
        event.range =
            Some(Range { start, end: start.wrapping_add(u64::from(pages) * PAGE_SIZE).wrapping_sub(1) });
    }
}

/// Whether the pool allocates the pages of a range, where known.
const fn pooled(bits: u16) -> Option<bool> {
    if bits & state::BYPASSED != 0 {
        Some(false)
    } else if bits & state::POOLED != 0 {
        Some(true)
    } else {
        None
    }
}

/// The domain is in the high half, bus and devfn in the low 16 bits.
const fn client(word: u64) -> DeviceAddress {
    DeviceAddress::from_devfn((word >> 32) as u32, (word >> 8) as u8, word as u8)
}

/// Whether the call failed. A failed allocation returns no address; other functions return an error number.
fn failed(event: &Event, record: &Record) -> bool {
    match event.kind {
        Kind::Alloc => !record.has(valid::ADDR),
        Kind::SglAlloc => !record.has(valid::SGL),
        _ => event.ret.is_some_and(|ret| ret < 0),
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::event::user;

    fn record(kind: Kind, hook: Hook, valid: u32) -> Record {
        Record {
            kind: kind as u8,
            hook: hook as u8,
            valid,
            words: [1, 2, 3, 4],
            number: (-12i32).cast_unsigned(),
            small: 5,
            ..user::blank(7)
        }
    }

    #[test]
    fn decodes_only_flagged_fields() {
        for &kind in Kind::ALL.iter().filter(|kind| kind.is_event()) {
            let bare = decode(&record(kind, Hook::Alloc, 0)).unwrap();
            let failed = matches!(kind, Kind::Alloc | Kind::SglAlloc);
            assert_eq!(
                bare,
                Event { failed, ..blank(&record(kind, Hook::Alloc, 0), bare.id, kind, Hook::Alloc) }
            );
        }
    }

    #[test]
    fn decodes_whether_the_pool_allocates_pages() {
        let decoded =
            |kind, flag, small| decode(&Record { small, ..record(kind, Hook::Kill, flag) }).unwrap();
        for (kind, flag) in
            [(Kind::Kill, valid::STATE), (Kind::RangeState, valid::STATE), (Kind::Unbind, valid::FLAG)]
        {
            assert_eq!(decoded(kind, flag, 0).pooled, None);
            assert_eq!(decoded(kind, flag, state::POOLED).pooled, Some(true));
            assert_eq!(decoded(kind, flag, state::BYPASSED).pooled, Some(false));
            assert_eq!(decoded(kind, 0, state::BYPASSED).pooled, None);
        }
        let opens = |small| decoded(Kind::Unbind, valid::FLAG, small).flag;
        assert_eq!((opens(state::BYPASSED), opens(1 | state::BYPASSED)), (Some(false), Some(true)));
    }

    #[test]
    fn allocation_without_address_is_failed() {
        let failed = decode(&record(Kind::Alloc, Hook::Alloc, valid::SIZE)).unwrap();
        assert_eq!((failed.failed, failed.size, failed.addr), (true, Some(2), None));
        let allocated = decode(&record(Kind::Alloc, Hook::Alloc, valid::SIZE | valid::ADDR)).unwrap();
        assert_eq!((allocated.failed, allocated.addr), (false, Some(1)));
    }

    #[test]
    fn name_ends_at_first_zero() {
        let named = |comm: &[u8; COMM_LEN]| Record {
            comm: *comm,
            ..record(Kind::DeviceState, Hook::Snapshot, valid::TASK)
        };
        let clean = decode(&named(b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0")).unwrap();
        let stale = decode(&named(b"sh\0ybox\0\0\0\0\0\0\0\0\0")).unwrap();
        assert_eq!(clean.task, stale.task);
        let full = decode(&named(b"0123456789abcdef")).unwrap();
        assert_eq!(full.task.map(|task| task.name()).as_deref(), Some("0123456789abcdef"));
    }

    #[test]
    fn results_are_signed() {
        let add = decode(&record(Kind::AddResource, Hook::AddResource, valid::RET | valid::BAR)).unwrap();
        assert_eq!((add.ret, add.bar, add.failed), (Some(-12), Some(5), true));
        let small = (-22i16).cast_unsigned();
        let mmap = decode(&Record { small, ..record(Kind::Mmap, Hook::Mmap, valid::RET) }).unwrap();
        assert_eq!((mmap.ret, mmap.failed), (Some(-22), true));
    }

    #[test]
    fn page_free_has_span_and_size() {
        let flags = valid::PAGE | valid::SPAN | valid::COUNT;
        let burst = Record { number: 16, ..record(Kind::PageFree, Hook::PageFree, flags) };
        let event = decode(&burst).unwrap();
        let span = event.span.map(|span| (span.first_ns, span.last_ns));
        assert_eq!(span, Some((2, 3)));
        assert_eq!((event.count, event.size, event.burst_cpu), (Some(16), Some(65536), Some(5)));
        assert_eq!(event.caller, None);
    }

    #[test]
    fn reference_estimate_is_marked() {
        let kill = record(Kind::Kill, Hook::Kill, valid::RANGE | valid::REFS | valid::REFS_ESTIMATE);
        let event = decode(&kill).unwrap();
        assert_eq!(event.range, Some(Range { start: 1, end: 2 }));
        assert_eq!(event.refs.map(|refs| (refs.count, refs.estimate)), Some((4, true)));
        assert_eq!(event.allocated, None);
    }

    #[test]
    fn kill_has_reference_or_range_count() {
        let old = decode(&record(Kind::Kill, Hook::Kill, valid::COUNT)).unwrap();
        assert_eq!((old.count, old.reference), (Some((-12i32).cast_unsigned()), None));
        let flags = valid::COUNT | valid::REFERENCE;
        let small = 1 << state::CHUNK_SHIFT | state::POOLED;
        let new = decode(&Record { small, ..record(Kind::Kill, Hook::Kill, flags | valid::STATE) }).unwrap();
        assert_eq!((new.count, new.pooled), (Some(1), Some(true)));
        assert_eq!(new.reference, Some((-12i32).cast_unsigned()));
        let unknown = decode(&Record { number: 0, ..record(Kind::Kill, Hook::Kill, flags) }).unwrap();
        assert_eq!(unknown.reference, None);
    }

    #[test]
    fn removal_has_counts_only_where_read() {
        let old = decode(&record(Kind::Remove, Hook::Remove, valid::RANGE | valid::FLAG)).unwrap();
        assert_eq!((old.allocated, old.refs, old.state), (None, None, None));
        let flags = valid::RANGE | valid::ALLOCATED | valid::REFS | valid::STATE;
        let given_up = u32::from(state::DEAD | state::EXITED);
        let new = decode(&Record { number: given_up, ..record(Kind::Remove, Hook::Remove, flags) }).unwrap();
        assert_eq!((new.allocated, new.refs.map(|refs| refs.count)), (Some(3), Some(4)));
        assert_eq!(
            new.state.map(|state| (state.atomic, state.dead, state.exited)),
            Some((false, true, true))
        );
    }

    #[test]
    fn rejects_unknown_kind_and_hook() {
        let unknown = Record { kind: 200, ..record(Kind::Alloc, Hook::Alloc, 0) };
        assert!(matches!(decode(&unknown), Err(DecodeError::UnknownKind { kind: 200, .. })));
        let unknown = Record { hook: 47, ..record(Kind::Alloc, Hook::Alloc, 0) };
        assert!(matches!(decode(&unknown), Err(DecodeError::UnknownHook { hook: 47, .. })));
    }
}
