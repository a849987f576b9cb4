//! A dump that is read while it is written is told as a whole one is.

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

/// What a whole file is told as.
fn whole(bytes: &[u8]) -> Vec<RunItem> {
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
fn what_grows_byte_by_byte_is_told_like_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.p2pt");
    let bytes = dump();
    let mut file = append(&path);
    // The follower asks once for each look: it gets a piece each time, most of them less than a block.
    let mut pieces: Vec<_> = bytes.chunks(97).map(<[u8]>::to_vec).collect();
    pieces.reverse();
    let mut reader = follow(&path, move || {
        if let Some(piece) = pieces.pop() {
            file.write_all(&piece).unwrap();
        }
        false
    });
    assert_eq!(rest(&mut reader), whole(&bytes));
    assert_eq!(reader.damage(), []);
}

#[test]
fn a_writer_in_another_thread_is_followed_into_its_next_file() {
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
            // As a recorder does it: the next file is there, and empty, before the one in front of it has ended.
            let mut next = append(&numbered(&path, 1));
            tail.chunks(7).for_each(|piece| file.write_all(piece).unwrap());
            second.chunks(61).for_each(|piece| next.write_all(piece).unwrap());
        }
    });
    begin.recv().unwrap();
    let mut reader = follow(&path, || false);
    let told = rest(&mut reader);
    writer.join().unwrap();
    let opened = [first, second].map(|bytes| Opened::open(io::Cursor::new(bytes)).unwrap());
    assert_eq!(told, rest(&mut RunReader::new(opened.into()).unwrap()));
    assert!(matches!(told.last(), Some(RunItem::End(end)) if matches!(**end, End::Complete(_))));
    assert_eq!(reader.damage(), []);
}

#[test]
fn an_interrupted_follower_tells_what_was_there_and_that_it_is_not_all() {
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
    let mut told = Vec::new();
    while told.iter().filter(|told| matches!(told, RunItem::Slice(_))).count() < slices().len() {
        told.extend(reader.next_item().unwrap());
    }
    stop.store(true, Ordering::Relaxed);
    told.extend(rest(&mut reader));
    assert_eq!(told, whole(&bytes[..cut]));
    assert_eq!(told.last(), Some(&RunItem::End(Box::new(End::CutOff))));
}

#[test]
fn a_block_that_was_taken_back_costs_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.p2pt");
    let bytes = dump();
    let file = append(&path);
    // The last block but one did not fit at first, was taken back, and fitted then.
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
    assert_eq!(rest(&mut reader), whole(&bytes));
    assert_eq!(reader.damage().len(), 1, "{:?}", reader.damage());
}

/// Another run than that of [`dump`].
fn other_run() -> Vec<u8> {
    let mut header = header();
    header.status.run ^= 1;
    let mut writer = Writer::new(Vec::new(), header).unwrap();
    for slice in slices() {
        writer.slice(&slice).unwrap();
    }
    writer.finish(Reason::End, 30 * MS, Some(totals())).unwrap()
}

/// What becomes of a file that is followed to its last block, and then written anew by this.
fn rewritten(new: &[u8], rewrite: impl Fn(&Path, &[u8]) + 'static) -> (Vec<RunItem>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.p2pt");
    let bytes = dump();
    let cut = bytes.len() - 10;
    fs::write(&path, &bytes[..cut]).unwrap();
    let mut looks = 0;
    let mut reader = follow(&path, {
        let (path, new) = (path.clone(), new.to_vec());
        move || {
            looks += 1;
            if looks == 3 {
                rewrite(&path, &new);
            }
            looks > 20
        }
    });
    let told = rest(&mut reader);
    assert_eq!(told[..told.len() - 1], whole(&bytes[..cut])[..told.len() - 1]);
    (told, reader.complaints())
}

#[test]
fn a_file_that_another_run_has_written_anew_is_over_and_said_to_be() {
    let truncate = |path: &Path, new: &[u8]| fs::write(path, new).unwrap();
    let replace = |path: &Path, new: &[u8]| {
        fs::write(path.with_extension("new"), new).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    };
    let other = other_run();
    let longer = [&other[..], &[0; 4096]].concat();
    let empty = |path: &Path, _: &[u8]| fs::write(path, &other_run()[..1500]).unwrap();
    for (told, complaints) in [
        rewritten(&other, truncate),
        rewritten(&longer, truncate),
        rewritten(&other, empty),
        rewritten(&other, replace),
    ] {
        assert!(matches!(told.last(), Some(RunItem::End(end)) if matches!(**end, End::CutOff)));
        let complaints = complaints.join("; ");
        assert!(complaints.contains("another run begins at offset"), "{complaints}");
        assert!(!complaints.contains("missing"), "{complaints}");
    }
}

/// Where blocks begin.
fn blocks(bytes: &[u8]) -> Vec<usize> {
    std::iter::successors(fuzz::find(bytes, 0), |&before| fuzz::find(bytes, before + 1)).collect()
}

#[test]
fn a_part_that_is_there_twice_is_not_four_thousand_million_missing_blocks() {
    let bytes = dump();
    let places = blocks(&bytes);
    assert!(places.len() > 5, "{places:?}");
    for &place in &places[1..] {
        let twice = [&bytes[..place], &bytes].concat();
        let mut reader = RunReader::new(vec![Opened::open(&twice[..]).unwrap()]).unwrap();
        rest(&mut reader);
        assert_eq!(reader.damage(), [Damage::Again { offset: place as u64, number: 0 }]);
        let complaints = reader.complaints().join("; ");
        assert!(complaints.contains("numbered from 0 on again"), "{complaints}");
    }
}

#[test]
fn half_of_all_numbers_are_ahead_and_half_are_behind() {
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
    assert!(damage(3 + u32::MAX / 2).starts_with("blocks are numbered from 2147483650 on again"));
    assert!(damage(1).starts_with("blocks are numbered from 1 on again"));
}

/// The same bytes again and again.
#[derive(Debug)]
struct Endless(Vec<u8>, usize);
impl io::Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (&self.0[self.1..]).read(buffer)?;
        self.1 = (self.1 + count) % self.0.len();
        Ok(count)
    }
}

/// Enough to be without end; a reader that has no limit ends, too, and says something else.
const LONG: u64 = 40 << 20;

#[test]
fn an_input_without_end_that_is_no_dump_is_refused() {
    let error = Opened::open(io::repeat(7).take(LONG)).unwrap_err().to_string();
    assert!(error.contains("no header of one is in its first 16 MiB"), "{error}");
    // Nor is one that has blocks, and no header.
    let bytes = dump();
    let place = blocks(&bytes)[2];
    let endless = Endless(bytes[place..bytes.len() - 1].to_vec(), 0).take(LONG);
    let error = Opened::open(endless).unwrap_err().to_string();
    assert!(error.contains("no header of one"), "{error}");
}

#[test]
fn what_has_a_header_is_read_to_its_end() {
    let bytes = dump();
    let (header, behind) = bytes.split_at(blocks(&bytes)[1]);
    let long = [header, &vec![0; 20 << 20], behind].concat();
    assert_eq!(whole(&long), whole(&bytes));
}
