//! Each fault is found by its rules, and by no others.

use std::collections::BTreeSet;

use super::{Answer, RuleId, shown};
use crate::testing::evaluation::{evaluate, rules_of};
use crate::{
    stream::assemble::Element,
    testing::simulate::{Fault, play},
};

/// One snapshot per fault, with the text that a reader sees.
#[test]
fn reports_each_fault() {
    for fault in Fault::ALL {
        let mut kernel = play::watched();
        kernel.inject(fault, 0);
        let run = evaluate(&kernel.elements);
        let texts: Vec<_> =
            run.rules.findings().iter().map(|finding| shown(finding, &kernel.elements)).collect();
        insta::assert_snapshot!(format!("{fault:?}"), texts.join("\n"));
    }
}

#[test]
fn each_fault_violates_only_its_rules() {
    for fault in Fault::ALL {
        let mut kernel = play::watched();
        kernel.inject(fault, 0);
        let run = evaluate(&kernel.elements);
        let expected: BTreeSet<_> = rules_of(fault).iter().copied().collect();
        assert_eq!(run.violated(), expected, "{fault:?}");
        for verdict in run.rules.verdicts(&run.model) {
            // Memory of overlapping ranges cannot be attributed to one device.
            let at_fault = verdict.device == kernel.address(0) || fault == Fault::Overlap;
            if expected.contains(&verdict.rule) {
                assert!(at_fault && verdict.answer == Answer::Violated || verdict.findings == 0);
            } else {
                assert_eq!(verdict.answer, Answer::Holds, "{fault:?}: {verdict:?}");
            }
        }
    }
}

#[test]
fn each_rule_has_a_fault() {
    let reached: BTreeSet<_> = Fault::ALL.into_iter().flat_map(rules_of).copied().collect();
    assert_eq!(reached, RuleId::all().collect());
}

#[test]
fn evidence_and_range_belong_to_the_faulty_device() {
    for fault in Fault::ALL {
        let mut kernel = play::watched();
        // Another device does the same correctly, at the same offsets.
        kernel.bind(1, 6, &[16, 8]);
        kernel.snapshot(1, true);
        let place = kernel.inject(fault, 0);
        let run = evaluate(&kernel.elements);
        let since = kernel.elements[..place].iter().rev().find_map(time_of).unwrap();
        for finding in run.rules.findings() {
            let overlaps = fault == Fault::Overlap;
            assert!(overlaps || finding.device == kernel.address(0), "{fault:?}");
            assert!(finding.start_ns > since, "{fault:?}");
            assert!(!finding.evidence.is_empty(), "{fault:?}");
            let range = finding.range.is_some() && finding.pgmap.is_some();
            let of_device = matches!(
                finding.rule,
                RuleId::PoolDestroyedInUse
                    | RuleId::UnmatchedFree
                    | RuleId::DoubleFree
                    | RuleId::SizeMismatch
                    | RuleId::StalledUnbind
                    | RuleId::MapImbalance
            );
            assert!(range || of_device, "{fault:?}: {finding:?}");
        }
    }
}

fn time_of(element: &Element) -> Option<u64> {
    match element {
        Element::Event(event) => Some(event.time_ns),
        _ => None,
    }
}

/// Hooks are attached one after the other: the add of a range, or the end of a pool, may be seen, but not an allocation that
/// follows.
#[test]
fn allocation_while_attaching_is_unknown() {
    for rebound in [false, true] {
        let mut kernel = play::watched();
        kernel.bind(0, 6, &[16]);
        if rebound {
            kernel.unbind(0, 6);
            kernel.bind(0, 6, &[16]);
        }
        let before = kernel.elements.len();
        let token = kernel.alloc(0, 7, 1).unwrap();
        assert_eq!(kernel.elements.len(), before + 1, "the allocation makes one record");
        kernel.free(token, 7, 1);
        let unseen = kernel.elements.remove(before);
        let attached_ns = time_of(&unseen).unwrap();
        let lone = evaluate(&kernel.elements);
        assert_eq!(lone.violated(), [RuleId::UnmatchedFree].into(), "all hooks were attached");
        for element in &mut kernel.elements[..play::head()] {
            let Element::User(record) = element else { panic!("{element:?}") };
            record.time_ns = attached_ns;
        }
        let run = evaluate(&kernel.elements);
        assert_eq!(run.violated(), BTreeSet::new());
        for rule in [RuleId::UnmatchedFree, RuleId::DoubleFree, RuleId::SizeMismatch] {
            assert_eq!(run.answer(rule, kernel.address(0)), Answer::Inconclusive, "{rule:?}");
        }
    }
}
