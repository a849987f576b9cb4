//! What is written is what is read, whatever happens to it in between.

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

fn told(bytes: &[u8]) -> (Vec<RunItem>, Vec<Damage>) {
    let mut reader = reader(bytes);
    let mut told = Vec::new();
    while let Some(next) = reader.next_item().unwrap() {
        told.push(next);
    }
    (told, reader.damage().to_vec())
}

/// Where the blocks of a kind end.
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

/// What the rules come to for what was told.
fn verdicts(told: &[RunItem]) -> Vec<(rules::RuleId, rules::Answer)> {
    let header = header();
    let mut pipeline = Pipeline::new(&header.status, header.rules(), header.start_ns);
    for told in told {
        match told {
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
fn what_was_written_is_told() {
    let bytes = dump();
    let (told, damage) = told(&bytes);
    let mut expected: Vec<_> = slices().into_iter().map(RunItem::Slice).collect();
    let counts = Counts { hot: 0, rare: 2, user: 5, statuses: 0 };
    expected.push(RunItem::End(Box::new(End::Complete(Footer {
        reason: Reason::End,
        duration_ns: 30 * MS,
        totals: Some(totals()),
        counts,
    }))));
    assert_eq!(told, expected);
    assert_eq!(damage, []);
    let mut reader = reader(&bytes);
    assert_eq!(reader.header(), &header());
    reader.next_item().unwrap();
    assert_eq!(reader.names().symbolize(0xffff_ffff_8100_0010).as_deref(), Some("known+0x10"));
}

#[test]
fn what_the_kernel_side_said_is_kept_and_is_in_no_rule_s_way() {
    let said = |text: &str| vec![Diagnostic::new(7, Level::Debug, text)];
    let write = |texts: &[&str]| {
        let mut writer = Writer::new(Vec::new(), header()).unwrap();
        for (slice, text) in slices().iter().zip(texts.iter().map(Some).chain(std::iter::repeat(None))) {
            writer.slice(slice).unwrap();
            if let Some(text) = text {
                writer.diagnostics(said(text)).unwrap();
            }
        }
        writer.finish(Reason::End, 30 * MS, Some(totals())).unwrap()
    };
    let (silent, _) = told(&write(&[]));
    let (told, damage) = told(&write(&["free: \x1b[2J", "kill: \"x\""]));
    assert_eq!(damage, []);
    let kept: Vec<_> = told.iter().filter(|told| matches!(told, RunItem::Diagnostics(_))).cloned().collect();
    assert_eq!(kept, ["free: \x1b[2J", "kill: \"x\""].map(|text| RunItem::Diagnostics(said(text))));
    let rest: Vec<_> = told.into_iter().filter(|told| !matches!(told, RunItem::Diagnostics(_))).collect();
    assert_eq!(rest, silent);
}

#[test]
fn a_block_of_a_later_kind_is_skipped_and_said_to_be() {
    let mut writer = Writer::new(Vec::new(), header()).unwrap();
    writer.diagnostics(vec![Diagnostic::new(7, Level::Warn, "x")]).unwrap();
    let mut bytes = writer.finish(Reason::End, 30 * MS, None).unwrap();
    let at = bytes.windows(7).rposition(|window| window == b"{\"said\"").unwrap() - block::HEADER_SIZE;
    let header = bytes[at..].first_chunk().and_then(block::BlockHeader::from_bytes).unwrap();
    let later = block::BlockHeader { kind: 99, ..header }.to_bytes();
    bytes[at..at + block::HEADER_SIZE].copy_from_slice(&later);
    let mut reader = reader(&bytes);
    let told = reader.next_item().unwrap();
    assert!(matches!(told, Some(RunItem::End(_))), "{told:?}");
    assert_eq!(reader.complaints(), ["blocks of kind 99, which this version does not know, were skipped"]);
}

#[test]
fn whatever_is_cut_off_no_verdict_is_wrong_and_nothing_intact_is_lost() {
    let bytes = dump();
    let (whole, _) = told(&bytes);
    let full = verdicts(&whole);
    assert!(full.iter().any(|&(_, answer)| answer == rules::Answer::Violated));
    // A block for each slice.
    let ends = ends_of(&bytes, block::Kind::Records);
    assert_eq!(ends.len(), slices().len());
    for length in 0..bytes.len() {
        let Ok(opened) = Opened::open(&bytes[..length]) else {
            continue;
        };
        let mut reader = RunReader::new(vec![opened]).unwrap();
        let mut told = Vec::new();
        while let Some(next) = reader.next_item().unwrap() {
            told.push(next);
        }
        let intact = ends.iter().filter(|&&end| end <= length).count();
        let slices_told: Vec<_> = told
            .iter()
            .filter(|told| matches!(told, RunItem::Slice(slice) if !slice.items.is_empty()))
            .collect();
        assert_eq!(slices_told, whole.iter().take(intact).collect::<Vec<_>>(), "cut at {length}");
        let last = told.last().unwrap();
        assert_eq!(last, &RunItem::End(Box::new(End::CutOff)), "cut at {length}");
        for ((rule, answer), (_, real)) in verdicts(&told).into_iter().zip(&full) {
            assert_ne!(answer, rules::Answer::Holds, "{rule:?} cut at {length}");
            assert!(answer != rules::Answer::Violated || *real == answer, "{rule:?} cut at {length}");
        }
    }
}

#[test]
fn no_flipped_bit_turns_a_verdict_or_costs_more_than_its_block() {
    let bytes = dump();
    let (whole, _) = told(&bytes);
    let full = verdicts(&whole);
    let slices_of = |told: &[RunItem]| {
        told.iter().filter(|told| matches!(told, RunItem::Slice(slice) if !slice.items.is_empty())).count()
    };
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let (told, damage) = told(&bytes);
        assert!(!damage.is_empty(), "bit {bit} goes unnoticed");
        assert!(slices_of(&told) >= 2, "bit {bit} costs {told:?}");
        if told == whole {
            continue;
        }
        for ((rule, answer), (_, real)) in verdicts(&told).into_iter().zip(&full) {
            let same = answer == *real || answer == rules::Answer::NotChecked;
            assert!(
                same || answer == rules::Answer::Inconclusive,
                "{rule:?} bit {bit}: {answer:?}, not {real:?}"
            );
            let lacks = slices_of(&told) < slices().len();
            assert!(
                !lacks || answer != rules::Answer::Holds,
                "{rule:?} bit {bit}: sure without a block of records"
            );
        }
    }
}

#[test]
fn a_large_slice_is_told_in_parts_that_come_to_the_same() {
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
    let (told, _) = told(&bytes);
    let slices: Vec<_> = told
        .iter()
        .filter_map(|told| match told {
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
fn what_is_no_dump_says_so() {
    for bytes in [&b""[..], b"hello", &[0x89; 100]] {
        assert!(matches!(Opened::open(bytes), Err(OpenError::NoDump)));
    }
}

#[test]
fn a_version_that_is_not_read_is_named() {
    let refusal = |version| {
        let mut other = dump();
        other[8] = version;
        let crc = crc32c::crc32c(&other[..28]).to_le_bytes();
        other[28..32].copy_from_slice(&crc);
        Opened::open(&other[..]).unwrap_err().to_string()
    };
    assert_eq!(
        refusal(block::FORMAT + 1),
        "it is of format version 2; this p2p-trace reads versions up to 1: use a newer one"
    );
    assert_eq!(
        refusal(block::OLDEST_FORMAT - 1),
        "it is of format version 0, which was in use before any release, and changed: this p2p-trace reads versions from 1 up to \
         1; use the p2p-trace that wrote it"
    );
}

/// A disk that is full after so many bytes.
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
fn a_full_disk_is_an_error_and_no_panic() {
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
