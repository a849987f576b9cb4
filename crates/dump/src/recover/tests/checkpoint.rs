//! The state before the oldest record in the rings: taken from an image, once, and never from a damaged one.

use p2p_trace_common::{Kind, slot::guard, valid};
use p2p_trace_model::{
    event::DeviceAddress,
    pipeline::{Pipeline, Slice},
    stream::{Batch, order::Order},
};

use super::{
    end_to_end::{counters, facts, header, page, slots},
    *,
};
use crate::{
    Checkpoint, Opened, RunItem, RunReader, Writer,
    recover::{Beginning, write},
};

const DEVICE: DeviceAddress = DeviceAddress::from_devfn(0, 5, 0);
const HOLDER: u32 = 42;
/// Records of the hot ring: one allocation of the holder, then pairs of an allocation and a free by another
/// task.
const COUNT: u64 = 101;

fn hot(position: u64) -> Record {
    let pid = if position == 0 { HOLDER } else { 7 };
    let is_free = position != 0 && position.is_multiple_of(2);
    Record {
        kind: if is_free { Kind::Free } else { Kind::Alloc } as u8,
        hook: if is_free { p2p_trace_common::Hook::Free } else { p2p_trace_common::Hook::Alloc } as u8,
        valid: valid::DEVICE | valid::TASK | valid::ADDR | valid::SIZE,
        bus: 5,
        pid,
        tgid: pid,
        words: [if position == 0 { 0x10_0000 } else { 0x80_0000 }, 0x1_0000, 0, 0],
        guard: guard(position),
        ..record(RUN, 0, Ring::Hot, position, 1000 + position * 10)
    }
}

fn records(positions: std::ops::Range<u64>) -> Vec<Record> {
    positions.map(hot).collect()
}

/// The pipeline of a tracer that has consumed `count` records.
fn pipeline(count: u64) -> Pipeline {
    let mut pipeline = Pipeline::new(&header().status, header().rules(), 500);
    let batch = Batch { records: records(0..count), watermark_ns: 1000 + count * 10, ..Batch::default() };
    let slice = Slice::of(&mut Order::new(), &batch);
    pipeline.advance(&slice, |_| Ok::<_, ()>(())).unwrap();
    pipeline
}

/// The tracer's image.
fn image(count: u64, references: usize) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), header()).unwrap();
    let checkpoint = Checkpoint::capped(&pipeline(count), RUN, references);
    writer.checkpoint(&checkpoint).unwrap();
    writer.flush().unwrap();
    std::mem::take(writer.get_mut())
}

/// Memory with these images, the oldest first, and the ring from a position on.
fn memory_with(images: &[Vec<u8>], first: u64) -> Vec<u8> {
    let mut memory = [counters(0, [COUNT, 0]), counters(1, [0, 0])].concat();
    memory.resize(PAGE, 0);
    for (generation, image) in (1..).zip(images) {
        memory.extend(page(generation, image));
    }
    memory.extend(slots(&records(first..COUNT)));
    memory
}

/// What a reader finds in the recovered dump.
struct Read {
    /// Positions.
    positions: Vec<u64>,
    lost: u64,
    /// Holders and addresses.
    held: Vec<(u32, u64)>,
    contradictions: Vec<String>,
    begins: Option<u64>,
}

fn read(memory: &Vec<u8>) -> Read {
    let carved = search(memory, None);
    let run = only(&carved);
    let beginning = Beginning::of(run, &facts());
    let mut dump = Vec::new();
    let written = write(run, &beginning, &mut dump).unwrap();
    let mut reader = RunReader::new(vec![Opened::open(dump.as_slice()).unwrap()]).unwrap();
    let header = reader.header().clone();
    let mut pipeline = Pipeline::new(&header.status, header.rules(), header.start_ns);
    let (mut positions, mut contradictions) = (Vec::new(), Vec::new());
    while let Some(next) = reader.next_item().unwrap() {
        match next {
            RunItem::Restore(checkpoint) => checkpoint.restore(&mut pipeline),
            RunItem::Slice(slice) => {
                positions.extend(slice.items.iter().filter_map(|item| match item {
                    p2p_trace_model::stream::order::Item::Record(record) => {
                        Some(Ring::of_sequence(record.seq).1)
                    }
                    p2p_trace_model::stream::order::Item::Loss(_) => None,
                }));
                pipeline.advance(&slice, |_| Ok::<_, ()>(())).unwrap();
            }
            RunItem::End(end) => {
                let crate::End::Complete(footer) = *end else { panic!("{end:?}") };
                let found = pipeline.close(&footer.totals.unwrap()).outcome.contradictions;
                // The counters of the test count no hits.
                contradictions.extend(found.into_iter().filter(|text| text.contains("ring of CPU")));
            }
            RunItem::Uncertainty(why) => panic!("{why}"),
            RunItem::Status(_) | RunItem::Diagnostics(_) => {}
        }
    }
    let device = pipeline.model().device(DEVICE).unwrap();
    let held = device
        .references()
        .map(|(_, reference)| {
            let by = device.allocated_by(reference).task.map_or(0, |task| task.tgid);
            (by, reference.addr().unwrap_or(0))
        })
        .collect();
    Read { positions, lost: written.lost, held, contradictions, begins: written.begins_ns }
}

#[test]
fn knows_holder_of_old_allocation_and_repeats_no_record() {
    // The ring reaches back beyond the checkpoint, exactly to it, and not far enough.
    for (first, first_read, lost) in [(70, 81, 0), (81, 81, 0), (90, 90, 9)] {
        let memory = memory_with(&[image(81, 4096)], first);
        let Read { positions, lost: missing, held, contradictions, begins } = read(&memory);
        assert_eq!(positions, (first_read..COUNT).collect::<Vec<_>>(), "from {first}");
        assert_eq!(missing, lost, "from {first}");
        assert!(held.contains(&(HOLDER, 0x10_0000)), "{held:?}");
        assert_eq!(contradictions, Vec::<String>::new());
        assert_eq!(begins, Some(1810));
    }
}

#[test]
fn complete_rings_need_no_checkpoint() {
    let read = read(&memory_with(&[image(81, 4096)], 0));
    assert_eq!((read.positions.len() as u64, read.lost, read.begins), (COUNT, 0, None));
    assert!(read.held.contains(&(HOLDER, 0x10_0000)), "{:?}", read.held);
}

#[test]
fn chooses_oldest_checkpoint_without_losses_after_it() {
    let images = [image(41, 4096), image(61, 4096), image(81, 4096)];
    for (first, begins_at) in [(10, 41), (41, 41), (42, 61), (75, 81), (95, 81)] {
        let begins = read(&memory_with(&images, first)).begins;
        assert_eq!(begins, Some(1000 + begins_at * 10), "from {first}");
    }
}

#[test]
fn skips_damaged_image() {
    let intact = memory_with(&[image(61, 4096), image(81, 4096)], 90);
    assert_eq!(read(&intact).begins, Some(1810));
    // Bytes in the payload of the younger image, which is in the third page.
    for at in [64, 200, 900] {
        let mut damaged = intact.clone();
        damaged[2 * PAGE + at] ^= 1;
        let Read { lost, held, .. } = read(&damaged);
        assert_eq!(lost, 90 - 61, "byte {at}");
        assert!(held.contains(&(HOLDER, 0x10_0000)), "{held:?}");
    }
}

#[test]
fn omitted_references_are_lost_and_largest_come_first() {
    // After an odd position the other task also holds an allocation: after 82 records both hold 64 KiB each.
    let partial = Checkpoint::capped(&pipeline(82), RUN, 0);
    assert_eq!(partial.head.omitted, 2);
    assert_eq!(partial.head.rules.lost_hot.count, 2);
    let allocs = |checkpoint: &Checkpoint| {
        let is_alloc = |record: &&Record| record.kind() == Some(Kind::Alloc);
        checkpoint.records.iter().filter(is_alloc).count()
    };
    assert_eq!(allocs(&partial), 0);
    let one = Checkpoint::capped(&pipeline(82), RUN, 1);
    assert_eq!((allocs(&one), one.head.omitted), (1, 1));
    let both = Checkpoint::capped(&pipeline(82), RUN, 2);
    assert_eq!((allocs(&both), both.head.omitted), (2, 0));
}
