//! Contents of a redacted run: parts that must stay, and parts that must not.

use std::{collections::BTreeSet, fs, path::Path};

use p2p_trace_common::{Hook, Kind, Record, valid};
use p2p_trace_model::{
    event::{
        layout::{Layout, Word},
        words::{from_record, to_stack},
    },
    stream::order::Item,
};

use super::Redactor;
use crate::{Entry, Opened, Reader, Reason, RunItem, RunReader, Writer, export::export, samples};

/// The committed dumps.
fn dumps() -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["tests/fixtures/dumps", "../../p2p-trace/tests/golden/1"];
    let paths = folders.iter().flat_map(|folder| fs::read_dir(root.join(folder)).unwrap());
    let paths = paths.map(|entry| entry.unwrap().path());
    let is_dump = |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "p2pt");
    let mut dumps: Vec<_> =
        paths.filter(is_dump).map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect();
    assert!(dumps.len() >= 8);
    dumps.push(("everything".to_owned(), everything()));
    dumps
}

/// A dump with every kind of entry, each with a distinct value.
fn everything() -> Vec<u8> {
    let mut header = samples::header();
    header.host = Some("build-7.example".into());
    header.status.hooks[0].error = Some("perf_event_open: /opt/secret refused".into());
    let mut writer = Writer::new(Vec::new(), header).unwrap();
    let kinds = Kind::ALL.iter().filter(|&&kind| !matches!(kind, Kind::Loss | Kind::Attach | Kind::End));
    for (position, &kind) in (0..).zip(kinds) {
        let at = |kind: u64| 0xffff_8881_4000_0000 + position * 0x10_0000 + kind * 0x1_0000;
        let record = Record {
            kind: kind as u8,
            valid: u32::MAX,
            pid: 4000 + position as u32,
            tgid: 4000 + position as u32,
            comm: *b"secretive\0left\0\0",
            pgmap: at(9),
            words: [at(0), at(1), at(2), at(3)],
            number: at(4) as u32,
            ..samples::record(position, Kind::Kill, Hook::Kill)
        };
        writer.slice(&samples::slice(vec![Item::Record(record)], record.time_ns)).unwrap();
    }
    writer.finish(Reason::End, 30 * samples::MS, Some(samples::totals())).unwrap()
}

/// Numbers and texts that could identify a machine or a user.
#[derive(Debug, Default)]
struct Distinctive {
    numbers: BTreeSet<u64>,
    halves: BTreeSet<u32>,
    texts: BTreeSet<String>,
}

/// Smaller numbers are found by chance.
const LARGE: u64 = 1 << 20;

impl Distinctive {
    fn number(&mut self, number: u64) {
        // Numbers as round as the end of 4 GiB identify no machine.
        if number > LARGE && number != u64::MAX && number.trailing_zeros() < 28 {
            self.numbers.insert(number);
        }
    }

    fn text(&mut self, text: &str) {
        if text.len() > 3 {
            self.texts.insert(text.to_owned());
        }
    }

    fn record(&mut self, record: &Record) {
        self.number(record.run);
        let Some(kind) = record.kind() else { return };
        if kind == Kind::Stack {
            to_stack(&from_record(record)).frames.into_iter().for_each(|frame| self.number(frame));
            return;
        }
        if record.has(valid::TASK) {
            let name = record.comm.split(|&byte| byte == 0).next().unwrap();
            self.text(&String::from_utf8_lossy(name));
        }
        if record.has(valid::PGMAP) {
            self.number(record.pgmap);
        }
        if record.has(valid::REFERENCE) && kind == Kind::Kill && record.number > 1 << 16 {
            self.halves.insert(record.number);
        }
        for (&value, meaning) in record.words.iter().zip(Layout::of(kind).words) {
            let is_private = matches!(
                meaning,
                Word::Caller
                    | Word::Addr
                    | Word::Sgl
                    | Word::Page
                    | Word::Start
                    | Word::End
                    | Word::Physical
                    | Word::UserAddr
                    | Word::Cgroup
            );
            if is_private && record.has(meaning.flag()) {
                self.number(value);
            }
        }
    }

    fn of(bytes: &[u8]) -> Self {
        let mut found = Self::default();
        each(bytes, |entry| match entry {
            Entry::Header(header) => {
                found.text(header.host.as_deref().unwrap_or_default());
                found.text(&header.status.boot_id);
                found.text(&format!("{:016x}", header.status.run));
                header
                    .status
                    .hooks
                    .iter()
                    .filter_map(|hook| hook.error.as_deref())
                    .for_each(|error| found.text(error));
            }
            Entry::Symbols(symbols) => symbols.names.iter().for_each(|(at, _)| found.number(at.0)),
            Entry::Records(records) => {
                let items = records.slices.iter().flat_map(|slice| &slice.items);
                for item in items {
                    if let Item::Record(record) = item {
                        found.record(record);
                    }
                }
            }
            Entry::Checkpoint(checkpoint) => {
                checkpoint.records.iter().for_each(|record| found.record(record));
                let uncertainties = checkpoint.head.rules.found.iter().flat_map(|found| &found.uncertainties);
                uncertainties.for_each(|uncertainty| found.text(uncertainty));
            }
            _ => {}
        });
        found
    }
}

fn each(bytes: &[u8], mut see: impl FnMut(&Entry)) {
    let mut reader = Reader::new(bytes);
    while let Some(entry) = reader.next_entry().unwrap() {
        see(&entry);
    }
}

/// Every 64 and 32 bits of every record, and everything else as it is written.
fn content(bytes: &[u8]) -> (BTreeSet<u64>, BTreeSet<u32>, String) {
    let (mut wide, mut narrow, mut text) = (BTreeSet::new(), BTreeSet::new(), String::new());
    let mut see = |record: &Record| {
        let words = from_record(record);
        wide.extend(words);
        narrow.extend(words.iter().flat_map(|&word| [word as u32, (word >> 32) as u32]));
        text.push_str(&String::from_utf8_lossy(&record.comm));
        text.push('\n');
    };
    let mut written = String::new();
    each(bytes, |entry| match entry {
        Entry::Records(records) => {
            for item in records.slices.iter().flat_map(|slice| &slice.items) {
                if let Item::Record(record) = item {
                    see(record);
                }
            }
        }
        Entry::Checkpoint(checkpoint) => {
            checkpoint.records.iter().for_each(&mut see);
            written.push_str(&serde_json::to_string(&checkpoint.head).unwrap());
        }
        Entry::Header(header) => written.push_str(&serde_json::to_string(header).unwrap()),
        Entry::Status(change) => written.push_str(&serde_json::to_string(change).unwrap()),
        Entry::Symbols(symbols) => written.push_str(&serde_json::to_string(symbols).unwrap()),
        Entry::Diagnostics(messages) => written.push_str(&serde_json::to_string(messages).unwrap()),
        Entry::Footer(footer) => written.push_str(&serde_json::to_string(footer).unwrap()),
        Entry::Unknown(_) | Entry::Damage(_) => {}
    });
    text.push_str(&written);
    (wide, narrow, text)
}

fn reader(bytes: &[u8]) -> RunReader<&[u8]> {
    RunReader::new(vec![Opened::open(bytes).unwrap()]).unwrap()
}

fn redacted(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    export(&mut reader(bytes).redacted(Redactor::random()), &mut out).unwrap();
    out
}

/// Distinctive values of the original that are found in `after`, decoded or as bytes.
fn left(before: &[u8], after: &[u8]) -> Vec<String> {
    let Distinctive { numbers, halves, texts } = Distinctive::of(before);
    let (wide, narrow, text) = content(after);
    let has = |bytes: &[u8]| after.windows(bytes.len()).any(|window| window == bytes);
    let mut left = Vec::new();
    left.extend(wide.intersection(&numbers).map(|number| format!("{number:#x}")));
    left.extend(narrow.intersection(&halves).map(|half| format!("{half:#x}, half of an address")));
    left.extend(
        numbers
            .iter()
            .filter(|number| text.contains(&format!("{number:#x}\"")))
            .map(|at| format!("{at:#x} as text")),
    );
    left.extend(
        numbers.iter().filter(|number| has(&number.to_le_bytes())).map(|at| format!("{at:#x} in bytes")),
    );
    left.extend(texts.iter().filter(|secret| text.contains(*secret) || has(secret.as_bytes())).cloned());
    left
}

#[test]
fn removes_everything_distinctive() {
    let mut seen = (0, 0, 0);
    for (name, before) in dumps() {
        let found = Distinctive::of(&before);
        seen = (seen.0 + found.numbers.len(), seen.1 + found.halves.len(), seen.2 + found.texts.len());
        let after = redacted(&before);
        assert_eq!(left(&before, &after), Vec::<String>::new(), "{name}");
        let mut plain = Vec::new();
        export(&mut reader(&before), &mut plain).unwrap();
        assert!(!left(&before, &plain).is_empty(), "{name}: nothing distinctive to search for");
    }
    assert!(seen.0 > 100 && seen.1 > 0 && seen.2 > 20, "too few values: {seen:?}");
}

#[test]
fn equal_values_stay_equal_and_different_ones_different() {
    let redactor = Redactor::random();
    let of = |pid, comm: [u8; 16], cgroup| {
        let record = Record {
            kind: Kind::Alloc as u8,
            valid: u32::MAX,
            pid,
            tgid: pid,
            comm,
            words: [0xffff_8881_4000_0000, 1 << 16, 0xffff_ffff_8100_0010, cgroup],
            ..samples::record(0, Kind::Kill, Hook::Kill)
        };
        redactor.record(record)
    };
    let (sh, nginx) = (*b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0", *b"nginx\0\0\0\0\0\0\0\0\0\0\0");
    let one = of(97, sh, 4711);
    assert_eq!(one, of(97, sh, 4711));
    assert_eq!(one.pid, one.tgid, "the first thread of its process");
    let other = of(98, nginx, 4712);
    assert!(one.pid != other.pid && one.comm != other.comm && one.words[3] != other.words[3]);
    assert_eq!((one.words[0], one.words[1]), (other.words[0], 1 << 16));
    assert_eq!(redactor.clone().record(one), redactor.record(one), "in the next file");
}

#[test]
fn removes_unflagged_and_unknown_fields() {
    let redactor = Redactor::random();
    let at = 0xffff_8881_4000_0000;
    let alloc = Record {
        kind: Kind::Alloc as u8,
        valid: valid::ADDR | valid::SIZE,
        words: [at, 1 << 16, at, at],
        pgmap: at,
        pid: 97,
        ..samples::record(0, Kind::Kill, Hook::Kill)
    };
    let redacted = redactor.record(alloc);
    assert_eq!(redacted.words, [redactor.address(at), 1 << 16, 0, 0]);
    assert_eq!((redacted.pgmap, redacted.pid), (0, 0));
    let later = redactor.record(Record { kind: 200, ..alloc });
    assert_eq!((later.kind, later.words, later.pgmap, later.valid), (200, [0; 4], 0, 0));
    assert_eq!((later.seq, later.time_ns), (alloc.seq, alloc.time_ns));
}

#[test]
fn redacted_export_keeps_structure() {
    for (name, before) in dumps() {
        let mut after = Vec::new();
        export(&mut reader(&before), &mut after).unwrap();
        let read = |bytes: &[u8]| {
            let mut reader = reader(bytes);
            let (mut items, mut rest) = (Vec::new(), Vec::new());
            while let Some(item) = reader.next_item().unwrap() {
                match item {
                    RunItem::Slice(slice) => items.extend(slice.items),
                    RunItem::Restore(checkpoint) => rest.push(format!("{:?}", checkpoint.records)),
                    RunItem::Status(change) => rest.push(format!("{change:?}")),
                    RunItem::Diagnostics(messages) => rest.push(format!("{messages:?}")),
                    RunItem::Uncertainty(_) => rest.push("uncertainty".to_owned()),
                    RunItem::End(_) => {}
                }
            }
            (items, rest, reader.names().all().into_iter().collect::<BTreeSet<_>>())
        };
        let (items, rest, names) = read(&before);
        let (now, rest_now, names_now) = read(&after);
        assert_eq!((now, rest_now), (items, rest), "{name}");
        // Names that no record needs are omitted.
        assert!(names_now.is_subset(&names), "{name}");
    }
}
