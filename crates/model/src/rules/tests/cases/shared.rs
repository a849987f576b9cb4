//! Two ranges that share one reference: up to Linux 5.17 a driver could set `pgmap->ref`.

use super::*;
use crate::testing::{evaluation::evaluate, simulate::Order};

/// Sets this reference in the kills from `first` on.
fn refer(kernel: &mut Kernel, first: usize, reference: u32) {
    for place in places(kernel, Kind::Kill).into_iter().skip(first) {
        event(kernel, place).reference = Some(reference);
    }
}

/// Kill and removal run for one range after the other; the shared reference drains once, after both.
#[test]
fn second_kill_of_a_shared_reference() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16, 8]);
    kernel.snapshot(0, true);
    kernel.tear_down(0, 11, Order::Right);
    let drained = places(&kernel, Kind::Drained);
    kernel.elements.remove(drained[0]);
    let own = evaluate(&kernel.elements);
    assert_eq!(own.answer(RuleId::DoubleKill, kernel.address(0)), Answer::Holds);
    refer(&mut kernel, 0, 0x1234_5678);
    let run = evaluate(&kernel.elements);
    let finding = run.only(RuleId::DoubleKill);
    insta::assert_snapshot!(finding.message);
    assert_eq!(finding.evidence.len(), 2, "both kills");
    // A range that is not known to have existed at the same time may have been created later.
    let added = places(&kernel, Kind::Memremap);
    begin_at(&mut kernel, added[1] + 1);
    kernel
        .elements
        .retain(|element| !matches!(element, Element::Event(event) if event.kind == Kind::RangeState));
    let run = evaluate(&kernel.elements);
    assert_eq!(run.answer(RuleId::DoubleKill, kernel.address(0)), Answer::Inconclusive);
}

/// A driver that is bound again initializes its reference again, at the same address.
#[test]
fn rebind_reuses_the_reference() {
    let mut kernel = play::watched();
    for _ in 0..2 {
        kernel.bind(0, 5, &[16]);
        kernel.snapshot(0, true);
        kernel.unbind(0, 11);
    }
    refer(&mut kernel, 0, 0x1234_5678);
    let run = evaluate(&kernel.elements);
    assert!(run.violated().is_empty());
    assert_eq!(run.answer(RuleId::DoubleKill, kernel.address(0)), Answer::Holds);
}

/// For references within their ranges' own `dev_pagemap`, equal low halves of the addresses do not mean a shared reference.
#[test]
fn ranges_with_own_references_share_none() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16, 8]);
    kernel.snapshot(0, true);
    kernel.tear_down(0, 11, Order::Right);
    for (number, place) in places(&kernel, Kind::Kill).into_iter().enumerate() {
        let old = event(&mut kernel, place).pgmap.unwrap();
        let pgmap = 0xffff_8880_1000_0000 + ((number as u64) << 32);
        for element in &mut kernel.elements {
            if let Element::Event(event) = element
                && event.pgmap == Some(old)
            {
                event.pgmap = Some(pgmap);
                event.reference = (event.kind == Kind::Kill).then_some(0x1000_0008);
            }
        }
    }
    assert!(evaluate(&kernel.elements).violated().is_empty());
}
