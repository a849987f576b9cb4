//! The rules handle any stream.

use proptest::prelude::*;

use crate::testing::evaluation::evaluate;

use crate::testing::simulate::garbage::element;

proptest! {
    #[test]
    fn evaluates_any_stream(elements in proptest::collection::vec(element(), 0..300)) {
        let mut run = evaluate(&elements);
        let rest = run.rules.rest(&run.model);
        for finding in rest.iter().chain(run.rules.findings()) {
            prop_assert!(!finding.message.is_empty());
            prop_assert!(!finding.evidence.is_empty());
            prop_assert!(finding.evidence.len() <= super::super::finding::MAX_EVIDENCE);
            prop_assert!(finding.holders.len() <= crate::holders::MAX_HOLDERS);
        }
        for verdict in run.rules.verdicts(&run.model) {
            prop_assert_eq!(verdict.answer == super::Answer::Violated, verdict.findings > 0);
        }
    }
}
