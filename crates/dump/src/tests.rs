//! A dump is read back as it was written, whatever happens to it in between.

use std::{convert::Infallible, io};

use p2p_trace_common::{Hook, Kind};
use p2p_trace_model::{
    event::Symbolize as _,
    pipeline::Pipeline,
    rules,
    stream::{Diagnostic, Level, order::Item},
};

use super::{
    records::MAX_ITEMS,
    samples::{MS, dump, header, record, slice, slices, totals},
    *,
};

fn reader(bytes: &[u8]) -> RunReader<&[u8]> {
    RunReader::new(vec![Opened::open(bytes).unwrap()]).unwrap()
}

fn read(bytes: &[u8]) -> (Vec<RunItem>, Vec<Damage>) {
    let mut reader = reader(bytes);
    let mut items = Vec::new();
    while let Some(next) = reader.next_item().unwrap() {
        items.push(next);
    }
    (items, reader.damage().to_vec())
}

/// The ends of the blocks of a kind.
fn ends_of(bytes: &[u8], kind: block::Kind) -> Vec<usize> {
    let (mut at, mut ends) = (0, Vec::new());
    while let Some(header) = bytes[at..].first_chunk().and_then(block::BlockHeader::from_bytes) {
        at += block::HEADER_SIZE + header.stored as usize;
        if header.kind == kind as u8 {
            ends.push(at);
        }
    }
    assert_eq!(at, bytes.len());
    ends
}

/// The rules' answers for these items.
fn verdicts(items: &[RunItem]) -> Vec<(rules::RuleId, rules::Answer)> {
    let header = header();
    let mut pipeline = Pipeline::new(&header.status, header.rules(), header.start_ns);
    for item in items {
        match item {
            RunItem::Slice(slice) => {
                let done: Result<(), Infallible> = pipeline.advance(slice, |_| Ok(()));
                done.unwrap();
            }
            RunItem::Uncertainty(why) => pipeline.mark_uncertain(why.clone()),
            RunItem::Restore(_) | RunItem::Status(_) | RunItem::Diagnostics(_) | RunItem::End(_) => {}
        }
    }
    let closing = pipeline.close(&totals());
    let verdict = |verdict: &rules::Verdict| (verdict.rule, verdict.answer);
    closing.verdicts.iter().map(verdict).collect()
}

#[test]
fn reads_back_written_items() {
    let bytes = dump();
    let (items, damage) = read(&bytes);
    let mut expected: Vec<_> = slices().into_iter().map(RunItem::Slice).collect();
    let counts = Counts { hot: 0, rare: 2, user: 5, statuses: 0 };
    expected.push(RunItem::End(Box::new(End::Complete(Footer {
        reason: Reason::End,
        duration_ns: 30 * MS,
        totals: Some(totals()),
        counts,
    }))));
    assert_eq!(items, expected);
    assert_eq!(damage, []);
    let mut reader = reader(&bytes);
    assert_eq!(reader.header(), &header());
    reader.next_item().unwrap();
    assert_eq!(reader.names().symbolize(0xffff_ffff_8100_0010).as_deref(), Some("known+0x10"));
}

#[test]
fn keeps_diagnostics_without_effect_on_other_items() {
    let messages = |text: &str| vec![Diagnostic::new(7, Level::Debug, text)];
    let write = |texts: &[&str]| {
        let mut writer = Writer::new(Vec::new(), header()).unwrap();
        for (slice, text) in slices().iter().zip(texts.iter().map(Some).chain(std::iter::repeat(None))) {
            writer.slice(slice).unwrap();
            if let Some(text) = text {
                writer.diagnostics(messages(text)).unwrap();
            }
        }
        writer.finish(Reason::End, 30 * MS, Some(totals())).unwrap()
    };
    let (silent, _) = read(&write(&[]));
    let (items, damage) = read(&write(&["free: \x1b[2J", "kill: \"x\""]));
    assert_eq!(damage, []);
    let kept: Vec<_> =
        items.iter().filter(|items| matches!(items, RunItem::Diagnostics(_))).cloned().collect();
    assert_eq!(kept, ["free: \x1b[2J", "kill: \"x\""].map(|text| RunItem::Diagnostics(messages(text))));
    let rest: Vec<_> = items.into_iter().filter(|items| !matches!(items, RunItem::Diagnostics(_))).collect();
    assert_eq!(rest, silent);
}

#[test]
fn skips_block_of_unknown_kind_with_complaint() {
    let mut writer = Writer::new(Vec::new(), header()).unwrap();
    writer.diagnostics(vec![Diagnostic::new(7, Level::Warn, "x")]).unwrap();
    let mut bytes = writer.finish(Reason::End, 30 * MS, None).unwrap();
    let at = bytes.windows(11).rposition(|window| window == b"{\"messages\"").unwrap() - block::HEADER_SIZE;
    let header = bytes[at..].first_chunk().and_then(block::BlockHeader::from_bytes).unwrap();
    let later = block::BlockHeader { kind: 99, ..header }.to_bytes();
    bytes[at..at + block::HEADER_SIZE].copy_from_slice(&later);
    let mut reader = reader(&bytes);
    let items = reader.next_item().unwrap();
    assert!(matches!(items, Some(RunItem::End(_))), "{items:?}");
    assert_eq!(reader.complaints(), ["blocks of kind 99 were skipped: this version does not support them"]);
}

#[test]
fn truncation_keeps_intact_blocks_and_causes_no_wrong_answer() {
    let bytes = dump();
    let (complete, _) = read(&bytes);
    let full = verdicts(&complete);
    assert!(full.iter().any(|&(_, answer)| answer == rules::Answer::Violated));
    // One block per slice.
    let ends = ends_of(&bytes, block::Kind::Records);
    assert_eq!(ends.len(), slices().len());
    for length in 0..bytes.len() {
        let Ok(opened) = Opened::open(&bytes[..length]) else {
            continue;
        };
        let mut reader = RunReader::new(vec![opened]).unwrap();
        let mut items = Vec::new();
        while let Some(next) = reader.next_item().unwrap() {
            items.push(next);
        }
        let intact = ends.iter().filter(|&&end| end <= length).count();
        let slices_read: Vec<_> = items
            .iter()
            .filter(|items| matches!(items, RunItem::Slice(slice) if !slice.items.is_empty()))
            .collect();
        assert_eq!(slices_read, complete.iter().take(intact).collect::<Vec<_>>(), "cut at {length}");
        let last = items.last().unwrap();
        assert_eq!(last, &RunItem::End(Box::new(End::CutOff)), "cut at {length}");
        for ((rule, answer), (_, real)) in verdicts(&items).into_iter().zip(&full) {
            assert_ne!(answer, rules::Answer::Holds, "{rule:?} cut at {length}");
            assert!(answer != rules::Answer::Violated || *real == answer, "{rule:?} cut at {length}");
        }
    }
}

#[test]
fn flipped_bit_costs_at_most_its_block_and_causes_no_wrong_answer() {
    let bytes = dump();
    let (complete, _) = read(&bytes);
    let full = verdicts(&complete);
    let slices_of = |items: &[RunItem]| {
        items.iter().filter(|items| matches!(items, RunItem::Slice(slice) if !slice.items.is_empty())).count()
    };
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let (items, damage) = read(&bytes);
        assert!(!damage.is_empty(), "bit {bit} is not detected");
        assert!(slices_of(&items) >= 2, "bit {bit} costs {items:?}");
        if items == complete {
            continue;
        }
        for ((rule, answer), (_, real)) in verdicts(&items).into_iter().zip(&full) {
            let same = answer == *real || answer == rules::Answer::NotChecked;
            assert!(
                same || answer == rules::Answer::Inconclusive,
                "{rule:?} bit {bit}: {answer:?}, not {real:?}"
            );
            let lacks = slices_of(&items) < slices().len();
            assert!(
                !lacks || answer != rules::Answer::Holds,
                "{rule:?} bit {bit}: holds without a block of records"
            );
        }
    }
}

#[test]
fn large_slice_is_split_into_equivalent_parts() {
    let items: Vec<_> = (0..3 * MAX_ITEMS as u64 / 2)
        .map(|position| Item::Record(record(position, Kind::Kill, Hook::Kill)))
        .collect();
    let large = slice(items.clone(), u64::MAX);
    let mut writer = Writer::new(Vec::new(), header()).unwrap();
    writer.slice(&slice(Vec::new(), 1)).unwrap();
    writer.slice(&slice(Vec::new(), 2)).unwrap();
    writer.slice(&large).unwrap();
    writer.slice(&slice(Vec::new(), u64::MAX)).unwrap();
    let bytes = writer.finish(Reason::End, 0, None).unwrap();
    let (read_items, _) = read(&bytes);
    let slices: Vec<_> = read_items
        .iter()
        .filter_map(|items| match items {
            RunItem::Slice(slice) => Some(slice),
            _ => None,
        })
        .collect();
    assert_eq!(slices.len(), 3);
    assert_eq!(slices[0], &slice(Vec::new(), 2));
    let parts: Vec<_> = slices.iter().flat_map(|slice| slice.items.iter().copied()).collect();
    assert_eq!(parts, items);
    assert_eq!(slices[1].watermark_ns, slices[1].items.last().unwrap().time_ns());
    assert_eq!(slices[2].watermark_ns, u64::MAX);
}

#[test]
fn rejects_input_that_is_not_a_dump() {
    for bytes in [&b""[..], b"hello", &[0x89; 100]] {
        assert!(matches!(Opened::open(bytes), Err(OpenError::NoDump)));
    }
}

#[test]
fn rejects_unsupported_versions_by_name() {
    let refusal = |version| {
        let mut other = dump();
        other[8] = version;
        let crc = crc32c::crc32c(&other[..28]).to_le_bytes();
        other[28..32].copy_from_slice(&crc);
        Opened::open(&other[..]).unwrap_err().to_string()
    };
    assert_eq!(
        refusal(block::FORMAT + 1),
        "format version 2 is newer than this p2p-trace, which reads versions up to 1: use a newer p2p-trace"
    );
    assert_eq!(
        refusal(block::OLDEST_FORMAT - 1),
        "format version 0 predates the first release: this p2p-trace reads versions 1 to 1; use the p2p-trace that wrote the \
         dump"
    );
}

/// A disk with room for this many bytes.
struct Full(usize);

impl io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.0);
        self.0 -= count;
        if count == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(count) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn full_disk_is_an_error() {
    for room in 0..dump().len() {
        let Ok(mut writer) = Writer::new(Full(room), header()) else {
            continue;
        };
        let named = writer.symbol(0xffff_ffff_8100_0010, &"known+0x10".into());
        let written: io::Result<()> = slices().iter().try_for_each(|slice| {
            writer.slice(slice)?;
            writer.flush()
        });
        assert!(
            named.is_err()
                || written.is_err()
                || writer.finish(Reason::End, 30 * MS, Some(totals())).is_err()
        );
    }
}
