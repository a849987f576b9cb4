//! Dumps in every supported format: complete, truncated and damaged.

mod checkpoint;
mod dumps;
mod end_to_end;
mod hostile;
mod shapes;

use std::num::NonZero;

use p2p_trace_common::{
    Record, Ring,
    slot::{SLOT_SIZE, busy, committed},
};
use p2p_trace_model::event::{Loss, Reason};

use dumps::{Compression, PAGE, VMCOREINFO};

use super::{
    Carved, CoreError, Format, Recovered, Search, carve_pipe, open,
    ring::Heads,
    slot::tests::{record, slot},
};
use crate::recover::carve;

const RUN: u64 = 0x0123_4567_89ab_cdef;

/// Pages with records: two CPUs, both rings, scattered like a vmalloc area, with some pages of zeros and of
/// noise.
fn memory() -> (Vec<(u64, Vec<u8>)>, Vec<Record>) {
    let mut slots: Vec<[u8; SLOT_SIZE]> = Vec::new();
    let mut records = Vec::new();
    for cpu in 0..2 {
        for (ring, positions) in [(Ring::Hot, 100..164), (Ring::Rare, 0..64)] {
            for position in positions {
                let record = record(RUN, cpu, ring, position, 1000 + position * 10 + u64::from(cpu));
                slots.push(slot(committed(position), &record));
                records.push(record);
            }
        }
    }
    let mut pages: Vec<_> = slots.chunks(PAGE / SLOT_SIZE).map(<[_]>::concat).collect();
    let mut noise = 0x9e37_79b9_7f4a_7c15u64;
    pages.insert(1, vec![0; PAGE]);
    pages.insert(
        3,
        std::iter::repeat_with(|| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise as u8
        })
        .take(PAGE)
        .collect(),
    );
    pages.push(vec![0; PAGE]);
    // Backwards, and with holes.
    let pages = pages.into_iter().rev().enumerate();
    (pages.map(|(index, page)| (index as u64 * 3 + 1, page)).collect(), records)
}

fn search(bytes: &Vec<u8>, format: Option<Format>) -> Carved {
    let memory = open(bytes, format).unwrap();
    carve(&*memory, Search::default(), |_| {})
}

fn only(carved: &Carved) -> &Recovered {
    let [run] = carved.runs.as_slice() else {
        panic!("{} runs", carved.runs.len());
    };
    run
}

#[track_caller]
fn expect_all(carved: &Carved, records: &[Record]) {
    let run = only(carved);
    assert_eq!(run.run, RUN);
    assert_eq!(run.records, records);
    assert_eq!((run.repeated, run.conflicts, run.torn.len()), (0, 0, 0));
    let overwritten = |cpu, last_ns| Loss {
        cpu: Some(cpu),
        ring: Ring::Hot,
        first: 0,
        last: 99,
        from_ns: 0,
        to_ns: last_ns,
        reason: Reason::Overwritten,
        hook: None,
    };
    assert_eq!(run.losses(&Heads::new()), [overwritten(0, 2000), overwritten(1, 2001)]);
}

#[test]
fn finds_every_record_in_every_format() {
    let (pages, records) = memory();
    let elf = dumps::elf(&pages);
    expect_all(&search(&elf, None), &records);
    expect_all(&search(&dumps::flattened(&elf), None), &records);
    expect_all(&search(&dumps::raw(&pages), None), &records);
    for compression in Compression::ALL {
        let kdump = dumps::kdump(&pages, compression);
        let carved = search(&kdump, None);
        assert!(carved.skipped.is_empty(), "{compression:?}: {:?}", carved.skipped);
        expect_all(&carved, &records);
        expect_all(&search(&dumps::flattened(&kdump), None), &records);
    }
}

#[test]
fn reads_vmcoreinfo() {
    let (pages, _) = memory();
    let kdump = dumps::kdump(&pages, Compression::Zlib);
    for (dump, format, flattened) in [
        (dumps::elf(&pages), Format::Elf, false),
        (dumps::flattened(&kdump), Format::Kdump, true),
        (kdump, Format::Kdump, false),
    ] {
        let memory = open(&dump, None).unwrap();
        let facts = memory.facts();
        assert_eq!((facts.format, facts.flattened), (format, flattened));
        assert_eq!(facts.vmcoreinfo.release.as_deref(), Some("7.3.4"));
        assert_eq!(facts.vmcoreinfo.kaslr_offset, Some(0x1e00_0000));
    }
    assert!(std::str::from_utf8(VMCOREINFO).is_ok());
}

#[test]
fn pipe_gives_same_result_or_is_refused() {
    let (pages, records) = memory();
    let elf = dumps::elf(&pages);
    let (facts, carved) = carve_pipe(elf.as_slice(), None, Search::default(), |_| {}).unwrap();
    assert_eq!(facts.vmcoreinfo.release.as_deref(), Some("7.3.4"));
    expect_all(&carved, &records);
    let (facts, carved) = carve_pipe(dumps::raw(&pages).as_slice(), None, Search::default(), |_| {}).unwrap();
    assert_eq!(facts.format, Format::Raw);
    expect_all(&carved, &records);
    let kdump = dumps::kdump(&pages, Compression::Zlib);
    for dump in [dumps::flattened(&kdump), kdump] {
        let refused = carve_pipe(dump.as_slice(), None, Search::default(), |_| {});
        assert!(matches!(refused, Err(CoreError::NeedsFile(_))));
    }
}

#[test]
fn one_worker_finds_the_same_as_many() {
    let (pages, records) = memory();
    let kdump = dumps::kdump(&pages, Compression::Zlib);
    let memory = open(&kdump, None).unwrap();
    for workers in [1, 2, 7] {
        let search = Search { workers: NonZero::new(workers), ..Search::default() };
        expect_all(&carve(&*memory, search, |_| {}), &records);
    }
}

#[test]
fn separates_runs_and_sorts_youngest_first() {
    let slots = [
        slot(committed(0), &record(1, 0, Ring::Rare, 0, 10)),
        slot(committed(0), &record(2, 0, Ring::Rare, 0, 30)),
        slot(committed(0), &record(3, 0, Ring::Rare, 0, 20)),
    ];
    let image = slots.concat();
    let runs: Vec<_> = search(&image, None).runs.iter().map(|run| run.run).collect();
    assert_eq!(runs, [2, 3, 1]);
    let one = Search { run: Some(3), ..Search::default() };
    let carved = carve(&*open(&image, None).unwrap(), one, |_| {});
    assert_eq!(only(&carved).run, 3);
}

#[test]
fn run_with_counters_precedes_bare_records() {
    let mut memory = end_to_end::counters(0, [0, 1]);
    memory.extend(slot(committed(0), &record(RUN, 0, Ring::Rare, 0, 10)));
    memory.extend(slot(committed(0), &record(8, 0, Ring::Rare, 0, u64::MAX)));
    let runs: Vec<_> = search(&memory, None).runs.iter().map(|run| run.run).collect();
    assert_eq!(runs, [RUN, 8]);
}

#[test]
fn counts_repeated_record_once_and_reports_conflict() {
    let first = record(RUN, 0, Ring::Rare, 0, 10);
    let other = Record { pgmap: 1, ..first };
    let slots = [first, first, first, other].map(|record| slot(committed(0), &record));
    let carved = search(&slots.concat(), None);
    let run = only(&carved);
    assert_eq!((run.records.len(), run.repeated, run.conflicts), (1, 2, 1));
}

#[test]
fn copy_does_not_replace_record_in_ring() {
    let first = record(RUN, 0, Ring::Rare, 0, 10);
    let spoiled = Record { pgmap: 1, ..first };
    let mut memory = vec![0; 2 * PAGE];
    memory[SLOT_SIZE..2 * SLOT_SIZE].copy_from_slice(&slot(committed(0), &spoiled));
    memory[PAGE..PAGE + SLOT_SIZE].copy_from_slice(&slot(committed(0), &first));
    let carved = search(&memory, None);
    assert_eq!(only(&carved).records, [first]);
    // Without another record, the copy is all that is known.
    memory.truncate(PAGE);
    let carved = search(&memory, None);
    assert_eq!(only(&carved).records, [spoiled]);
}

#[test]
fn gap_and_unfinished_record_are_separate_losses() {
    let at = |position| record(RUN, 0, Ring::Rare, position, 100 + position);
    let mut slots: Vec<_> = [0, 1, 4, 5].map(|position| slot(committed(position), &at(position))).to_vec();
    slots.push(slot(busy(6), &at(6)));
    let carved = search(&slots.concat(), None);
    let run = only(&carved);
    let losses: Vec<_> = run
        .losses(&Heads::new())
        .iter()
        .map(|loss| (loss.first, loss.last, loss.reason, loss.from_ns))
        .collect();
    assert_eq!(losses, [(2, 3, Reason::Absent, 101), (6, 6, Reason::Abandoned, 105)]);
    assert_eq!(run.torn.len(), 1);
}

#[test]
fn keeps_no_more_records_than_the_limit() {
    let (pages, records) = memory();
    let image = dumps::raw(&pages);
    let few = Search { limit: 10, ..Search::default() };
    let carved = carve(&*open(&image, None).unwrap(), few, |_| {});
    assert_eq!(only(&carved).records.len(), 10);
    assert_eq!(carved.beyond_limit, records.len() as u64 - 10);
}
