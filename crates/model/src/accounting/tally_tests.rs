//! Tests of the tally.

use p2p_trace_common::{Hook, Kind, Record, Ring, hook::HOOK_SLOTS, slot::Sharing, valid};

use super::Tally;
use crate::{
    accounting::{Position, Shortfalls, Totals},
    event::{Loss, Reason, user},
};

fn record(kind: Kind, hook: Hook, ring: Ring, position: u64, number: u32) -> Record {
    let seq = ring.sequence(position);
    Record { kind: kind as u8, hook: hook as u8, valid: valid::COUNT, seq, number, ..user::blank(1) }
}

fn totals(hits: &[(Hook, u64)], hot: u64, rare: u64) -> Totals {
    let mut counted = vec![0; HOOK_SLOTS];
    for &(hook, count) in hits {
        counted[hook as usize] = count;
    }
    let position = |ring, head| Position { cpu: 0, ring, head };
    Totals {
        hits: counted,
        missed: vec![None; HOOK_SLOTS],
        dropped: 0,
        shortfalls: Shortfalls::default(),
        positions: vec![position(Ring::Hot, hot), position(Ring::Rare, rare)],
        shared: 0,
    }
}

fn tally() -> Tally {
    let mut tally = Tally::default();
    tally.record(&record(Kind::PageFree, Hook::PageFree, Ring::Hot, 0, 16));
    tally.record(&record(Kind::Map, Hook::MapSg, Ring::Hot, 1, 4));
    tally.record(&record(Kind::Kill, Hook::Kill, Ring::Rare, 0, 1));
    tally
}

#[test]
fn bursts_count_pages_and_other_records_count_once() {
    let hits = [(Hook::PageFree, 16), (Hook::MapSg, 1), (Hook::Kill, 1), (Hook::InsertPage, 99)];
    let outcome = tally().close(&totals(&hits, 2, 1));
    assert_eq!(outcome.contradictions, Vec::<String>::new());
    assert_eq!((outcome.events, outcome.lost), (3, 0));
    assert!(outcome.hooks.iter().all(|hook| hook.lost == 0 && hook.hits == hook.delivered));
}

#[test]
fn lost_records_are_missing_hits_of_their_hook() {
    let mut tally = tally();
    let (first, last) = (2, 4);
    let reason = Reason::Overwritten;
    tally.loss(&Loss {
        cpu: Some(0),
        ring: Ring::Hot,
        first,
        last,
        from_ns: 0,
        to_ns: 0,
        reason,
        hook: None,
    });
    let hits = [(Hook::PageFree, 16), (Hook::MapSg, 4), (Hook::Kill, 1)];
    let outcome = tally.close(&totals(&hits, 5, 1));
    assert_eq!(outcome.contradictions, Vec::<String>::new());
    let map = outcome.hooks.iter().find(|tally| tally.hook == Hook::MapSg).unwrap();
    assert_eq!((map.hits, map.delivered, map.lost, outcome.lost), (4, 1, 3, 3));
}

#[test]
fn records_missing_from_a_dump_are_no_contradiction() {
    let mut tally = tally();
    let mut writer = user::Writer::new(1);
    for (reason, count) in [(Reason::Damaged, 3), (Reason::Unrecorded, 2), (Reason::Skipped, 100)] {
        let loss = Loss { reason, ..Loss::skipped(Ring::Hot, count, 0, 0) };
        tally.record(&writer.loss(&loss));
    }
    let hits = [(Hook::PageFree, 16), (Hook::MapSg, 6), (Hook::Kill, 1)];
    let outcome = tally.close(&totals(&hits, 7, 1));
    assert_eq!((outcome.events, outcome.lost, outcome.skipped), (3, 105, 100));
    assert_eq!(outcome.contradictions, Vec::<String>::new());
}

#[test]
fn skipped_runs_are_losses_but_not_hits() {
    let mut tally = tally();
    let skipped = Loss::skipped(Ring::Rare, 2, 0, 0);
    tally.record(&user::Writer::new(1).late_loss(9, &skipped));
    assert_eq!(tally.lost(), 2, "as reported in the stream");
    let hits = [(Hook::PageFree, 16), (Hook::MapSg, 1), (Hook::Kill, 1)];
    let outcome = tally.close(&totals(&hits, 2, 1));
    assert_eq!((outcome.lost, outcome.skipped), (2, 2));
    assert!(outcome.hooks.iter().all(|hook| hook.lost == 0));
    assert_eq!(outcome.contradictions, Vec::<String>::new());
    // Skipped runs, which hit nothing, do not explain missing hits.
    let more = [(Hook::PageFree, 17), (Hook::MapSg, 1), (Hook::Kill, 1)];
    assert_eq!(tally.close(&totals(&more, 2, 1)).contradictions.len(), 1);
}

#[test]
fn counts_cpus_that_share_a_ring_together() {
    let mut tally = Tally::default();
    let of_cpu = |cpu, position| Record { cpu, ..record(Kind::Map, Hook::MapSg, Ring::Hot, position, 1) };
    for (cpu, position) in [(0, 0), (2, 1), (0, 3), (1, 0), (3, 1)] {
        tally.record(&of_cpu(cpu, position));
    }
    let (first, last, reason) = (2, 2, Reason::Overwritten);
    tally.loss(&Loss {
        cpu: Some(0),
        ring: Ring::Hot,
        first,
        last,
        from_ns: 0,
        to_ns: 0,
        reason,
        hook: None,
    });
    let position = |cpu, head| Position { cpu, ring: Ring::Hot, head };
    let mut totals = totals(&[(Hook::MapSg, 6)], 0, 0);
    totals.positions = vec![position(0, 4), position(1, 2)];
    assert_eq!(tally.close(&totals).contradictions.len(), 2, "one per CPU");
    totals.shared = 2;
    assert_eq!(tally.close(&totals).contradictions, Vec::<String>::new());
    let heads = tally.positions(Sharing::new(2, 4));
    assert_eq!([0, 1].map(|cpu| heads[&(cpu, Ring::Hot)]), [4, 2]);
}

#[test]
fn reports_contradictions() {
    let sound = [(Hook::PageFree, 16), (Hook::MapSg, 1), (Hook::Kill, 1)];
    let position = tally().close(&totals(&sound, 3, 1)).contradictions;
    assert_eq!(position, ["hot ring of CPU 0: 2 delivered and 0 lost, but 3 begun"]);
    let fewer = [(Hook::PageFree, 15), (Hook::MapSg, 1), (Hook::Kill, 1)];
    let hits = tally().close(&totals(&fewer, 2, 1)).contradictions;
    assert_eq!(hits, ["hook page_free: 16 delivered, but only 15 hits counted"]);
    let more = [(Hook::PageFree, 17), (Hook::MapSg, 1), (Hook::Kill, 1)];
    let lost = tally().close(&totals(&more, 2, 1)).contradictions;
    assert_eq!(lost, ["1 hits did not arrive, but no record is known to be lost"]);
}
