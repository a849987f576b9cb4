//! Truncated or damaged dumps cause an error or yield a part of their records, never a record that was not
//! written, and never a panic.

use std::collections::HashSet;

use super::*;

/// A random number generator with the same numbers in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }
}

/// Searches the dump if it can be opened, and checks that only known records are found.
fn try_search(bytes: &Vec<u8>, known: &HashSet<[u8; SLOT_SIZE]>) -> usize {
    let search = Search { workers: NonZero::new(1), ..Search::default() };
    let of_file = open(bytes, None).map(|memory| carve(&*memory, search, |_| {}));
    let of_pipe = carve_pipe(bytes.as_slice(), None, search, |_| {}).map(|(_, carved)| carved);
    let mut found = 0;
    for carved in [of_file, of_pipe].into_iter().flatten() {
        for run in &carved.runs {
            for record in &run.records {
                let (_, position) = Ring::of_sequence(record.seq);
                let bytes = slot(committed(position), record);
                // Redundant fields must be unchanged; others may differ.
                found += usize::from(known.contains(&bytes));
            }
        }
    }
    found
}

type Dumps = Vec<(&'static str, Vec<u8>)>;

fn all() -> (Dumps, HashSet<[u8; SLOT_SIZE]>) {
    let (pages, records) = memory();
    let known =
        records.iter().map(|record| slot(committed(Ring::of_sequence(record.seq).1), record)).collect();
    let mut dumps = vec![("elf", dumps::elf(&pages)), ("raw", dumps::raw(&pages))];
    for (name, compression) in ["none", "zlib", "lzo", "snappy", "zstd"].into_iter().zip(Compression::ALL) {
        dumps.push((name, dumps::kdump(&pages, compression)));
    }
    dumps.push(("flattened", dumps::flattened(&dumps::kdump(&pages, Compression::Zlib))));
    (dumps, known)
}

#[test]
fn truncated_dump_yields_records_before_the_cut() {
    let (dumps, known) = all();
    for (name, dump) in dumps {
        let complete = try_search(&dump, &known);
        assert!(complete >= known.len(), "{name}");
        let step = dump.len() / 97 + 1;
        let mut best = 0;
        for end in (0..dump.len()).step_by(step) {
            let found = try_search(&dump[..end].to_vec(), &known);
            assert!(found <= complete, "{name} cut at {end}");
            best = best.max(found);
        }
        assert!(best > 0, "{name}: no truncation yields any record");
    }
}

#[test]
fn reports_dump_truncated_within_memory() {
    let (pages, _) = memory();
    for dump in [dumps::elf(&pages), dumps::kdump(&pages, Compression::Zlib)] {
        let cut = dump[..dump.len() - PAGE / 8].to_vec();
        let carved = search(&cut, None);
        let skipped: Vec<_> = carved.skipped.iter().map(|(why, _)| why).collect();
        assert_eq!(skipped, [crate::recover::SkipReason::Truncated]);
        assert!(!only(&carved).records.is_empty());
    }
}

#[test]
fn damaged_dumps_cause_errors_or_yield_known_records() {
    let (dumps, known) = all();
    let mut dice = Dice(0x1234_5678_9abc_def1);
    for (name, dump) in dumps {
        let complete = try_search(&dump, &known);
        for _ in 0..150 {
            let mut damaged = dump.clone();
            for _ in 0..=dice.roll(6) {
                // Half of the changes hit the headers.
                let reach = if dice.roll(2) == 0 { dump.len() } else { dump.len().min(4 * PAGE + 600) };
                let at = dice.roll(reach);
                match dice.roll(4) {
                    0 => damaged[at] ^= 1 << dice.roll(8),
                    1 => damaged[at] = 0xff,
                    2 => {
                        let end = (at + 8).min(damaged.len());
                        damaged[at..end].fill(if dice.roll(2) == 0 { 0xff } else { 0x7f });
                    }
                    _ => {
                        let end = (at + 64).min(damaged.len());
                        let from = dice.roll(dump.len() - 64);
                        damaged[at..end].copy_from_slice(&dump[from..from + end - at]);
                    }
                }
            }
            assert!(try_search(&damaged, &known) <= complete, "{name}");
        }
    }
}

#[test]
fn false_sizes_allocate_no_memory() {
    let (pages, _) = memory();
    let mut kdump = dumps::kdump(&pages, Compression::Zlib);
    // The maximum number of pages, with a matching bitmap.
    kdump[PAGE + 96..PAGE + 104].copy_from_slice(&(1u64 << 40).to_le_bytes());
    kdump[436..440].copy_from_slice(&u32::MAX.to_le_bytes());
    let carved = open(&kdump, None).map(|memory| carve(&*memory, Search::default(), |_| {}));
    assert!(carved.is_err() || carved.is_ok_and(|carved| !carved.skipped.is_empty()));

    let mut elf = dumps::elf(&pages);
    // Every segment is larger than the file.
    let count = pages.len();
    for index in 1..=count {
        let at = 64 + 56 * index;
        elf[at + 8..at + 16].copy_from_slice(&0u64.to_le_bytes());
        elf[at + 32..at + 40].copy_from_slice(&u64::MAX.to_le_bytes());
    }
    let carved = carve(&*open(&elf, None).unwrap(), Search::default(), |_| {});
    assert!(carved.searched <= elf.len() as u64);
    assert!(!carved.skipped.is_empty());
}

#[test]
fn rejects_dumps_of_other_machines() {
    let (pages, _) = memory();
    let elf = dumps::elf(&pages);
    for (at, byte, word) in
        [(4, 1, "64-bit"), (18, 183, "x86-64"), (16, 2, "program"), (54, 32, "program headers")]
    {
        let mut other = elf.clone();
        other[at] = byte;
        let error = open(&other, None).err().unwrap().to_string();
        assert!(error.contains(word), "{error}");
    }
    // As a raw image it can be searched anyway, if its pages happen to be aligned.
    assert!(open(elf[..70].to_vec(), Some(Format::Raw)).is_ok());
}

/// The seeds of the fuzz target. `P2P_TRACE_BLESS=1 cargo test` regenerates them.
#[test]
fn fuzz_corpus_has_every_format() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cores");
    let (dumps, known) = all();
    // Those with uncompressed pages are larger, and similar to the ELF file.
    let is_small = |(name, _): &(&str, Vec<u8>)| !matches!(*name, "raw" | "none");
    for (name, dump) in dumps.into_iter().filter(is_small) {
        let path = folder.join(name);
        if std::env::var_os("P2P_TRACE_BLESS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &dump).unwrap();
        }
        let kept = std::fs::read(&path).unwrap();
        assert!(try_search(&kept, &known) >= known.len(), "{name}");
        crate::recover::fuzz::search(&kept);
    }
}
