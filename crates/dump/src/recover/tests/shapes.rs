//! Variants of memory: with address headers, in parts, with holes, of another machine, or compressed.

use std::{io, ops::Range};

use super::*;
use crate::recover::{PhysicalMemory, ReadAt, SkipReason, join};

#[test]
fn reads_lime_image_with_its_addresses() {
    let (pages, records) = memory();
    let lime = dumps::lime(&pages);
    let carved = search(&lime, None);
    assert!(carved.skipped.is_empty());
    expect_all(&carved, &records);
    // As a raw image, no slot is in its place.
    let as_it_lies = search(&lime, Some(Format::Raw));
    assert_ne!(as_it_lies.runs.first().map(|run| run.records.len()), Some(records.len()));
    let cut = search(&lime[..lime.len() - PAGE].to_vec(), None);
    assert_eq!(cut.skipped.bytes(), PAGE as u64);
    let mut spoiled = lime;
    spoiled[16] = 0;
    spoiled[8..16].fill(0xff);
    assert!(matches!(open(&spoiled, None).err(), Some(CoreError::Malformed { format: Format::Lime, .. })));
}

fn parts(dumps: &[Vec<u8>]) -> Result<Box<dyn PhysicalMemory + '_>, CoreError> {
    let open = |(number, dump)| (format!("part{number}").into(), open(dump, None).unwrap());
    join(dumps.iter().enumerate().map(open).collect())
}

fn carve_parts(dumps: &[Vec<u8>]) -> Carved {
    let memory = parts(dumps).unwrap_or_else(|error| panic!("{error}"));
    carve(&*memory, Search::default(), |_| {})
}

#[test]
fn joins_parts_of_split_dump_and_reports_missing_ones() {
    let (pages, records) = memory();
    for compression in [Compression::Zlib, Compression::Zstd] {
        let split = dumps::split(&pages, compression, &[0..5, 5..11, 11..1000]);
        let mut any_order = split.clone();
        any_order.rotate_left(1);
        for parts in [split.clone(), any_order] {
            let carved = carve_parts(&parts);
            assert!(carved.skipped.is_empty(), "{:?}", carved.skipped);
            expect_all(&carved, &records);
        }
        let inside = |frame: u64| (5..11).contains(&frame);
        let absent = pages.iter().filter(|(frame, _)| !inside(*frame)).count() * PAGE;
        let alone = carve_parts(&split[1..2]);
        let [(SkipReason::Elsewhere, amount)] = alone.skipped.iter().collect::<Vec<_>>()[..] else {
            panic!("{:?}", alone.skipped);
        };
        assert_eq!(amount.bytes, absent as u64);
        assert!(SkipReason::Elsewhere.to_string().contains("makedumpfile --split"));
        let flat: Vec<_> = split.iter().map(|part| dumps::flattened(part)).collect();
        expect_all(&carve_parts(&flat), &records);
    }
}

#[test]
fn rejects_parts_of_different_dumps() {
    let (pages, _) = memory();
    let split = dumps::split(&pages, Compression::Zlib, &[0..5, 5..1000]);
    let fewer = dumps::split(&pages[2..], Compression::Zlib, &[0..5, 5..1000]);
    let refused = |dumps: &[Vec<u8>]| parts(dumps).err().unwrap().to_string();
    assert!(refused(&[split[0].clone(), dumps::elf(&pages)]).contains("part1 is no part"));
    assert!(refused(&[split[0].clone(), fewer[1].clone()]).contains("parts of different dumps"));
    assert!(refused(&[]).contains("no input"));
    expect_all(&carve_parts(&[dumps::elf(&pages)]), &memory().1);
}

/// Bytes at a place in a file that is otherwise a hole, so that a terabyte is not read.
struct Holes {
    size: u64,
    at: u64,
    bytes: Vec<u8>,
}

impl ReadAt for Holes {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.size.saturating_sub(offset).min(buffer.len() as u64) as usize;
        for (index, byte) in buffer[..length].iter_mut().enumerate() {
            let place = (offset + index as u64).checked_sub(self.at);
            *byte = place.and_then(|place| self.bytes.get(place as usize)).copied().unwrap_or(0);
        }
        Ok(length)
    }

    fn data(&self, offset: u64) -> Option<Range<u64>> {
        let end = self.at + self.bytes.len() as u64;
        (offset < end).then(|| offset.max(self.at)..end)
    }
}

#[test]
fn skips_holes_and_counts_them_as_searched() {
    let (pages, records) = memory();
    let image = dumps::raw(&pages);
    let size = 1 << 40;
    // Data that begins within a page, and data at the very end.
    for (at, size) in [(0, size), (1 << 39, size), (size - image.len() as u64, size)] {
        let memory = open(Holes { size, at, bytes: image.clone() }, None).unwrap();
        let carved = carve(&*memory, Search::default(), |_| {});
        expect_all(&carved, &records);
        assert_eq!((carved.searched, carved.skipped.bytes()), (size, 0));
    }
    let cut = Holes { size, at: PAGE as u64 + 100, bytes: image[PAGE + 100..].to_vec() };
    let carved = carve(&*open(cut, None).unwrap(), Search::default(), |_| {});
    assert_eq!(carved.searched, size);
    let memory = open(Holes { size, at: size, bytes: Vec::new() }, None).unwrap();
    let carved = carve(&*memory, Search::default(), |_| {});
    assert_eq!((carved.searched, carved.runs.len()), (size, 0));
}

fn refusal(dump: &Vec<u8>) -> String {
    let of_file = open(dump, None).map(|_| ()).unwrap_err().to_string();
    if let Err(error) = carve_pipe(dump.as_slice(), None, Search::default(), |_| {})
        && !matches!(error, CoreError::NeedsFile(_))
    {
        assert_eq!(error.to_string(), of_file);
    }
    of_file
}

#[test]
fn names_other_machines() {
    let (pages, _) = memory();
    for (number, name) in [(183u16, "AArch64"), (22, "s390x"), (243, "RISC-V"), (999, "number 999")] {
        let mut elf = dumps::elf(&pages);
        elf[18..20].copy_from_slice(&number.to_le_bytes());
        assert!(refusal(&elf).contains(name), "{}", refusal(&elf));
        elf[5] = 2;
        elf[18..20].copy_from_slice(&number.to_be_bytes());
        assert!(refusal(&elf).contains(name));
    }
    let machine = 12 + 4 * 65;
    let mut kdump = dumps::kdump(&pages, Compression::Zlib);
    for name in ["aarch64", "ppc64le", "s390x"] {
        kdump[machine..machine + 65].fill(0);
        kdump[machine..machine + name.len()].copy_from_slice(name.as_bytes());
        assert!(refusal(&kdump).contains(name), "{}", refusal(&kdump));
    }
    kdump[machine..machine + 65].fill(0);
    kdump[machine..machine + 6].copy_from_slice(b"x86_64");
    assert!(open(&kdump, None).is_ok());
}

#[test]
fn rejects_containers_unless_raw_is_requested() {
    assert!(refusal(&Vec::new()).contains("empty"));
    let mut gzip = vec![0x1f, 0x8b, 8];
    gzip.resize(PAGE, 0);
    let message = refusal(&gzip);
    assert!(message.contains("gzip") && message.contains("gunzip"), "{message}");
    assert!(refusal(&dumps::flattened(&gzip)).contains("gzip"));
    assert!(open(&gzip, Some(Format::Raw)).is_ok());
    assert!(carve_pipe(gzip.as_slice(), Some(Format::Raw), Search::default(), |_| {}).is_ok());
}
