//! From memory to a readable dump: with counters and an image of the run's beginning, without them, and
//! behind a recorded dump.

use std::mem::offset_of;

use p2p_trace_common::{
    counters::{COUNTERS_SIZE, Counters},
    crash_image::{PAGE_MARK, PAGE_SIZE, PageHead, Tag, mark},
    slot::guard,
};
use p2p_trace_model::{
    event::user,
    pipeline::Slice,
    rules,
    stream::{
        Batch,
        order::{Item, Order},
    },
    testing::status as samples,
};

use super::*;
use crate::{
    End, Header, Opened, Origin, Reason as Ended, RunItem, RunReader, Writer,
    recover::{Beginning, Facts, VmcoreInfo, WriteError, append, write},
};

fn put(bytes: &mut [u8], at: usize, part: &[u8]) {
    bytes[at..at + part.len()].copy_from_slice(part);
}

/// The counters of a CPU that has begun this many records in each ring.
pub(super) fn counters(cpu: u32, heads: [u64; 2]) -> Vec<u8> {
    shared_counters(cpu, heads, 0)
}

/// As above with this number of rings, which CPUs share.
fn shared_counters(cpu: u32, heads: [u64; 2], rings: u32) -> Vec<u8> {
    let mut bytes = vec![0; COUNTERS_SIZE];
    let tag = Tag::new(RUN, cpu, rings);
    for (index, word) in [tag.zero, tag.mark, tag.run, tag.cpu, tag.check, tag.rings].iter().enumerate() {
        put(&mut bytes, index * 8, &word.to_le_bytes());
    }
    for (ring, head) in heads.iter().enumerate() {
        put(&mut bytes, offset_of!(Counters, heads) + ring * 8, &head.to_le_bytes());
    }
    bytes
}

/// The only page of an image.
pub(super) fn page(generation: u64, payload: &[u8]) -> Vec<u8> {
    let mut page = vec![0; PAGE_SIZE];
    put(&mut page, offset_of!(PageHead, generation), &generation.to_le_bytes());
    put(&mut page, offset_of!(PageHead, mark), &mark(PAGE_MARK).to_le_bytes());
    put(&mut page, offset_of!(PageHead, run), &RUN.to_le_bytes());
    put(&mut page, offset_of!(PageHead, pages), &1u32.to_le_bytes());
    put(&mut page, offset_of!(PageHead, length), &(payload.len() as u32).to_le_bytes());
    put(&mut page, size_of::<PageHead>(), payload);
    let crc = crc32c::crc32c(&page[..size_of::<PageHead>() + payload.len()]);
    put(&mut page, offset_of!(PageHead, crc), &crc.to_le_bytes());
    page
}

pub(super) fn header() -> Header {
    Header::new(samples::status(), samples::CLOCK, 500, rules::Options::default())
}

/// The image that a session keeps in the kernel's memory.
fn image() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), header()).unwrap();
    writer.symbol(0xffff, &"nvme_alloc_queue+0x1a3".into()).unwrap();
    writer.flush().unwrap();
    std::mem::take(writer.get_mut())
}

fn kernels(count: u64) -> Vec<Record> {
    let each =
        |cpu| (0..count).map(move |at| record(RUN, cpu, Ring::Rare, at, 1000 + at * 10 + u64::from(cpu)));
    each(0).chain(each(1)).collect()
}

pub(super) fn slots(records: &[Record]) -> Vec<u8> {
    let slots = records.iter().map(|record| {
        let position = if record.cpu == user::CPU { record.seq } else { Ring::of_sequence(record.seq).1 };
        slot(committed(position), record)
    });
    slots.collect::<Vec<_>>().concat()
}

pub(super) fn facts() -> Facts {
    Facts { format: Format::Raw, flattened: false, vmcoreinfo: VmcoreInfo::default() }
}

/// The content of the dump as a reader sees it.
fn read(dump: &[u8]) -> (Header, Vec<Record>, u64, End) {
    let mut reader = RunReader::new(vec![Opened::open(dump).unwrap()]).unwrap();
    let (mut records, mut lost, mut end) = (Vec::new(), 0, None);
    while let Some(item) = reader.next_item().unwrap() {
        match item {
            RunItem::Slice(slice) => {
                for item in slice.items {
                    match item {
                        Item::Record(record) => records.push(record),
                        Item::Loss(loss) => lost += loss.count(),
                    }
                }
            }
            RunItem::End(found) => end = Some(*found),
            _ => {}
        }
    }
    (reader.header().clone(), records, lost, end.unwrap())
}

#[test]
fn core_alone_makes_complete_dump() {
    let records = kernels(3);
    let tick = user::Writer::new(RUN).tick(1015);
    let in_memory = Record { guard: guard(0), ..tick };
    let mut memory = [counters(0, [0, 3]), counters(1, [0, 4])].concat();
    memory.resize(PAGE_SIZE, 0);
    memory.extend(page(1, b"an image that is not a dump"));
    memory.extend(page(2, &image()));
    memory.extend(slots(&records));
    memory.extend(slots(&[in_memory]));
    let carved = search(&memory, None);
    let run = only(&carved);
    let beginning = Beginning::of(run, &facts());
    assert!(beginning.is_in_crash_image);
    assert_eq!(beginning.names, [(0xffff, "nvme_alloc_queue+0x1a3".into())]);
    let mut dump = Vec::new();
    let written = write(run, &beginning, &mut dump).unwrap();
    assert_eq!((written.recovered, written.lost, written.is_counted), (7, 1, true));
    let (header, read, lost, end) = read(&dump);
    assert_eq!((header.origin, header.status.kernel), (Origin::Recovered, samples::status().kernel));
    let mut expected = [records, vec![tick]].concat();
    expected.sort_by_key(|record| record.time_ns);
    assert_eq!(read, expected);
    assert_eq!(lost, 1, "CPU 1 had begun one more");
    assert!(matches!(end, End::Complete(_)));
}

/// CPUs 0 and 2 write into one ring, 1 and 3 into the other.
#[test]
fn counts_losses_of_shared_ring_once() {
    let of_ring =
        |cpu: u32, position| record(RUN, cpu, Ring::Rare, position, 1000 + position * 10 + u64::from(cpu));
    let mut records = vec![of_ring(0, 0), of_ring(2, 1), of_ring(0, 3), of_ring(1, 0), of_ring(3, 1)];
    let mut memory = [shared_counters(0, [0, 4], 2), shared_counters(1, [0, 2], 2)].concat();
    memory.resize(PAGE_SIZE, 0);
    memory.extend(slots(&records));
    let carved = search(&memory, None);
    let run = only(&carved);
    let losses: Vec<_> =
        run.losses(&Heads::new()).iter().map(|loss| (loss.cpu, loss.first, loss.last)).collect();
    assert_eq!(losses, [(Some(0), 2, 2)]);
    let mut beginning = Beginning::of(run, &facts());
    assert_eq!(beginning.header.status.rings.count, 2);
    beginning.header.status.cpus = 4;
    let mut dump = Vec::new();
    let written = write(run, &beginning, &mut dump).unwrap();
    assert_eq!((written.recovered, written.lost, written.is_counted), (5, 1, true));
    let (_, read, lost, end) = read(&dump);
    records.sort_by_key(|record| record.time_ns);
    assert_eq!((read, lost), (records.clone(), 1));
    assert!(
        matches!(end, End::Complete(end) if end.totals.as_ref().is_some_and(|totals| totals.shared == 2))
    );

    // Recorded records are assigned to the ring, whichever CPU wrote them.
    let mut status = samples::status();
    (status.run, status.cpus, status.rings.count) = (RUN, 4, 2);
    let header = Header::new(status, samples::CLOCK, 500, rules::Options::default());
    let mut writer = Writer::new(Vec::new(), header).unwrap();
    let before: Vec<_> = records.iter().filter(|record| record.time_ns < 1010).copied().collect();
    let batch = Batch { records: before.clone(), watermark_ns: 1010, ..Batch::default() };
    writer.slice(&Slice::of(&mut Order::new(), &batch)).unwrap();
    let recorded = writer.finish(Ended::Broken, 0, None).unwrap();
    let mut reader = RunReader::new(vec![Opened::open(recorded.as_slice()).unwrap()]).unwrap();
    let written = append(run, &mut reader, Vec::new()).unwrap();
    assert_eq!((written.recorded, written.recovered, written.lost), (before.len() as u64, 3, 1));
}

#[test]
fn infers_hooks_without_image_and_leaves_end_open_without_counters() {
    let carved = search(&slots(&kernels(2)), None);
    let run = only(&carved);
    let beginning = Beginning::of(run, &facts());
    assert!(!beginning.is_in_crash_image);
    let hooks: Vec<_> = beginning.header.status.hooks.iter().map(|status| status.hook.name()).collect();
    assert_eq!(hooks, ["alloc"]);
    let mut dump = Vec::new();
    assert!(!write(run, &beginning, &mut dump).unwrap().is_counted);
    assert!(matches!(read(&dump).3, End::CutOff));
}

#[test]
fn appends_tail_to_recorded_dump() {
    let records = kernels(6);
    let (before, _): (Vec<_>, Vec<_>) = records.iter().partition(|record| record.time_ns < 1025);
    let mut writer = Writer::new(Vec::new(), header()).unwrap();
    let batch = Batch { records: before.clone(), watermark_ns: 1025, ..Batch::default() };
    writer.slice(&Slice::of(&mut Order::new(), &batch)).unwrap();
    let recorded = writer.finish(Ended::Broken, 0, None).unwrap();
    // Of the recorded records, the memory has only the latest.
    let kept = records.iter().filter(|record| record.time_ns >= 1015).copied().collect::<Vec<_>>();
    let carved = search(&slots(&kept), None);
    let reader = || RunReader::new(vec![Opened::open(recorded.as_slice()).unwrap()]).unwrap();
    let mut dump = Vec::new();
    let written = append(only(&carved), &mut reader(), &mut dump).unwrap();
    assert_eq!(written.recorded, before.len() as u64);
    assert_eq!((written.recovered, written.lost), ((records.len() - before.len()) as u64, 0));
    let (_, read, lost, _) = read(&dump);
    let mut expected = records;
    expected.sort_by_key(|record| record.time_ns);
    assert_eq!((read, lost), (expected, 0));

    let other = search(&slots(&[record(7, 0, Ring::Hot, 0, 1)]), None);
    let refused = append(only(&other), &mut reader(), Vec::new());
    assert!(matches!(refused, Err(WriteError::OtherRun { recorded: RUN })));
}
