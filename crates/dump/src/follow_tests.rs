//! Reading a dump while it is written delivers the same items as reading the complete file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use p2p_trace_model::pipeline::Pipeline;

use super::{
    Damage, End, Following, Opened, Reason, RunItem, RunReader, Writer, fuzz,
    samples::{MS, dump, header, slices, totals},
    sequence::numbered,
};
use crate::{Checkpoint, block::BlockHeader};

type Follower = RunReader<Box<dyn io::Read>>;

fn follow(path: &Path, is_over: impl FnMut() -> bool + 'static) -> Follower {
    let following: Box<dyn io::Read> = Box::new(Following::open(path, is_over).unwrap());
    RunReader::new(vec![Opened::follow(following).unwrap()]).unwrap()
}

fn rest(reader: &mut RunReader<impl io::Read>) -> Vec<RunItem> {
    std::iter::from_fn(|| reader.next_item().unwrap()).collect()
}

fn append(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).unwrap()
}

/// The items of a complete file.
fn complete(bytes: &[u8]) -> Vec<RunItem> {
    rest(&mut RunReader::new(vec![Opened::open(bytes).unwrap()]).unwrap())
}

/// The run in two files, as a recorder that rotates leaves it.
fn two_files() -> (Vec<u8>, Vec<u8>) {
    let header = header();
    let pipeline = Pipeline::new(&header.status, header.rules(), header.start_ns);
    let mut writer = Writer::new(Vec::new(), header).unwrap();
    let slices = slices();
    let (last, before) = slices.split_last().unwrap();
    for slice in before {
        writer.slice(slice).unwrap();
    }
    let checkpoint = Checkpoint::of(&pipeline, 1);
    let first = writer.rotate(Vec::new(), &checkpoint).unwrap();
    writer.slice(last).unwrap();
    (first, writer.finish(Reason::End, 30 * MS, Some(totals())).unwrap())
}

#[test]
fn growing_file_reads_like_complete_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.p2pt");
    let bytes = dump();
    let mut file = append(&path);
    // `is_over` runs once per attempt: each appends a piece, most of them less than a block.
    let mut pieces: Vec<_> = bytes.chunks(97).map(<[u8]>::to_vec).collect();
    pieces.reverse();
    let mut reader = follow(&path, move || {
        if let Some(piece) = pieces.pop() {
            file.write_all(&piece).unwrap();
        }
        false
    });
    assert_eq!(rest(&mut reader), complete(&bytes));
    assert_eq!(reader.damage(), []);
}

#[test]
fn follows_concurrent_writer_into_next_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.p2pt");
    let (first, second) = two_files();
    let (begun, begin) = mpsc::channel();
    let writer = thread::spawn({
        let path = path.clone();
        let (first, second) = (first.clone(), second.clone());
        move || {
            let mut file = append(&path);
            let (head, tail) = first.split_at(first.len() - 100);
            file.write_all(head).unwrap();
            begun.send(()).unwrap();
            // Like a recorder: the next file exists, and is empty, before the previous one has ended.
            let mut next = append(&numbered(&path, 1));
            tail.chunks(7).for_each(|piece| file.write_all(piece).unwrap());
            second.chunks(61).for_each(|piece| next.write_all(piece).unwrap());
        }
    });
    begin.recv().unwrap();
    let mut reader = follow(&path, || false);
    let items = rest(&mut reader);
    writer.join().unwrap();
    let opened = [first, second].map(|bytes| Opened::open(io::Cursor::new(bytes)).unwrap());
    assert_eq!(items, rest(&mut RunReader::new(opened.into()).unwrap()));
    assert!(matches!(items.last(), Some(RunItem::End(end)) if matches!(**end, End::Complete(_))));
    assert_eq!(reader.damage(), []);
}

#[test]
fn interrupted_follower_delivers_available_items_and_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.p2pt");
    let bytes = dump();
    let cut = bytes.len() - 10;
    fs::write(&path, &bytes[..cut]).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut reader = follow(&path, {
        let stop = Arc::clone(&stop);
        move || stop.load(Ordering::Relaxed)
    });
    let mut items = Vec::new();
    while items.iter().filter(|items| matches!(items, RunItem::Slice(_))).count() < slices().len() {
        items.extend(reader.next_item().unwrap());
    }
    stop.store(true, Ordering::Relaxed);
    items.extend(rest(&mut reader));
    assert_eq!(items, complete(&bytes[..cut]));
    assert_eq!(items.last(), Some(&RunItem::End(Box::new(End::CutOff))));
}

#[test]
fn truncated_block_costs_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.p2pt");
    let bytes = dump();
    let file = append(&path);
    // The last block but one did not fit at first, was truncated, and then fit.
    let block = bytes
        .windows(8)
        .enumerate()
        .filter(|(_, window)| *window == super::block::MAGIC)
        .map(|(place, _)| place)
        .nth_back(1)
        .unwrap();
    let mut steps =
        vec![&bytes[block..], &[], &bytes[..block + 40]].into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>();
    let mut reader = follow(&path, move || {
        match steps.pop() {
            Some(step) if step.is_empty() => file.set_len(block as u64).unwrap(),
            Some(step) => (&file).write_all(&step).unwrap(),
            None => {}
        }
        false
    });
    assert_eq!(rest(&mut reader), complete(&bytes));
    assert_eq!(reader.damage().len(), 1, "{:?}", reader.damage());
}

/// A dump of another run than [`dump`].
fn other_run() -> Vec<u8> {
    let mut header = header();
    header.status.run ^= 1;
    let mut writer = Writer::new(Vec::new(), header).unwrap();
    for slice in slices() {
        writer.slice(&slice).unwrap();
    }
    writer.finish(Reason::End, 30 * MS, Some(totals())).unwrap()
}

/// Follows a file to its last block, then overwrites it with `rewrite`; returns the items and complaints.
fn rewritten(new: &[u8], rewrite: impl Fn(&Path, &[u8]) + 'static) -> (Vec<RunItem>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.p2pt");
    let bytes = dump();
    let cut = bytes.len() - 10;
    fs::write(&path, &bytes[..cut]).unwrap();
    let mut attempts = 0;
    let mut reader = follow(&path, {
        let (path, new) = (path.clone(), new.to_vec());
        move || {
            attempts += 1;
            if attempts == 3 {
                rewrite(&path, &new);
            }
            attempts > 20
        }
    });
    let items = rest(&mut reader);
    assert_eq!(items[..items.len() - 1], complete(&bytes[..cut])[..items.len() - 1]);
    (items, reader.complaints())
}

#[test]
fn file_overwritten_by_another_run_ends_with_complaint() {
    let truncate = |path: &Path, new: &[u8]| fs::write(path, new).unwrap();
    let replace = |path: &Path, new: &[u8]| {
        fs::write(path.with_extension("new"), new).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    };
    let other = other_run();
    let longer = [&other[..], &[0; 4096]].concat();
    let empty = |path: &Path, _: &[u8]| fs::write(path, &other_run()[..1500]).unwrap();
    for (items, complaints) in [
        rewritten(&other, truncate),
        rewritten(&longer, truncate),
        rewritten(&other, empty),
        rewritten(&other, replace),
    ] {
        assert!(matches!(items.last(), Some(RunItem::End(end)) if matches!(**end, End::CutOff)));
        let complaints = complaints.join("; ");
        assert!(complaints.contains("another run begins at offset"), "{complaints}");
        assert!(!complaints.contains("missing"), "{complaints}");
    }
}

/// Offsets of blocks.
fn blocks(bytes: &[u8]) -> Vec<usize> {
    std::iter::successors(fuzz::find(bytes, 0), |&before| fuzz::find(bytes, before + 1)).collect()
}

#[test]
fn repeated_part_is_not_a_huge_gap() {
    let bytes = dump();
    let places = blocks(&bytes);
    assert!(places.len() > 5, "{places:?}");
    for &place in &places[1..] {
        let twice = [&bytes[..place], &bytes].concat();
        let mut reader = RunReader::new(vec![Opened::open(&twice[..]).unwrap()]).unwrap();
        rest(&mut reader);
        assert_eq!(reader.damage(), [Damage::Again { offset: place as u64, number: 0 }]);
        let complaints = reader.complaints().join("; ");
        assert!(complaints.contains("block numbers restart at 0"), "{complaints}");
    }
}

#[test]
fn number_difference_is_gap_or_step_back() {
    let mut bytes = dump();
    let offset = blocks(&bytes)[2];
    let mut damage = |number: u32| {
        let place = bytes[offset..].first_chunk_mut().unwrap();
        *place = BlockHeader { number, ..BlockHeader::from_bytes(place).unwrap() }.to_bytes();
        let mut reader = RunReader::new(vec![Opened::open(&bytes[..]).unwrap()]).unwrap();
        rest(&mut reader);
        reader.damage().first().map(ToString::to_string).unwrap_or_default()
    };
    assert!(damage(3).starts_with("1 blocks are missing"));
    assert!(damage(2 + u32::MAX / 2).starts_with("2147483647 blocks are missing"));
    assert!(damage(3 + u32::MAX / 2).starts_with("block numbers restart at 2147483650"));
    assert!(damage(1).starts_with("block numbers restart at 1"));
}

/// The same bytes, repeated forever.
#[derive(Debug)]
struct Endless(Vec<u8>, usize);
impl io::Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (&self.0[self.1..]).read(buffer)?;
        self.1 = (self.1 + count) % self.0.len();
        Ok(count)
    }
}

/// Long enough to count as endless; a reader without a limit also ends, but with another error.
const LONG: u64 = 40 << 20;

#[test]
fn rejects_endless_input_without_header() {
    let error = Opened::open(io::repeat(7).take(LONG)).unwrap_err().to_string();
    assert!(error.contains("no header in the first 16 MiB"), "{error}");
    // Blocks without a header are refused as well.
    let bytes = dump();
    let place = blocks(&bytes)[2];
    let endless = Endless(bytes[place..bytes.len() - 1].to_vec(), 0).take(LONG);
    let error = Opened::open(endless).unwrap_err().to_string();
    assert!(error.contains("no header in the first"), "{error}");
}

#[test]
fn reads_input_with_header_to_its_end() {
    let bytes = dump();
    let (header, behind) = bytes.split_at(blocks(&bytes)[1]);
    let long = [header, &vec![0; 20 << 20], behind].concat();
    assert_eq!(complete(&long), complete(&bytes));
}
