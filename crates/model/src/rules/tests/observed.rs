//! Random lives, as tracers see them that begin late, miss hooks and have runs skipped: nobody is accused who did nothing, and
//! nothing is acquitted that happened before the tracer's eyes. `PROPTEST_CASES` says how many.

use proptest::prelude::*;

use super::Answer;
use crate::testing::{
    evaluation::{aftermath, clean, fault, rules_of},
    observe::{Observer, observers},
    simulate::{
        Fault, Kernel,
        play::{self, DEVICES, acts, interleave},
    },
};

/// A life, and where the tracer begins: it reads the devices first.
fn life(before: &[play::Act], after: &[play::Act]) -> (Kernel, usize) {
    let mut kernel = clean(before, false);
    let begin = kernel.elements.len();
    begin_tracing(&mut kernel);
    interleave(&mut kernel, after);
    kernel.flush();
    kernel.idle(2_000_000_000);
    (kernel, begin)
}

fn begin_tracing(kernel: &mut Kernel) {
    for device in 0..usize::from(DEVICES) {
        kernel.snapshot(device, true);
    }
}

fn assert_accuses_nobody(observer: &Observer, kernel: &Kernel, begin: usize, but: Option<Fault>) {
    let stream = observer.stream(kernel, begin);
    let run = observer.evaluate(&stream);
    let expected =
        |rule| but.is_some_and(|fault| rules_of(fault).contains(&rule) || aftermath(fault).contains(&rule));
    let wrong = run.standing().filter(|finding| !expected(finding.rule));
    let wrong: Vec<_> =
        wrong.map(|finding| format!("{}: {}", finding.rule.name(), finding.message)).collect();
    assert!(
        wrong.is_empty(),
        "{but:?}, blind {:?}, skipped {:?}: {wrong:#?}",
        observer.blind,
        observer.missed(kernel, begin)
    );
    for verdict in run.rules.verdicts(&run.model) {
        let is_open = matches!(verdict.answer, Answer::Inconclusive | Answer::NotChecked);
        assert!(!is_open || !verdict.reasons.is_empty(), "no reason: {verdict:?}");
    }
}

proptest! {
    #[test]
    fn a_right_life_is_accused_of_nothing(before in acts(), after in acts(), observer in observers()) {
        let (kernel, begin) = life(&before, &after);
        assert_accuses_nobody(&observer, &kernel, begin, None);
    }

    #[test]
    fn a_right_life_is_accused_of_nothing_whichever_record_is_missing(acts in acts(), at: u16, is_counted: bool) {
        let (kernel, begin) = life(&[], &acts);
        let observer = Observer { skipped: vec![at], is_counted, ..Observer::perfect() };
        assert_accuses_nobody(&observer, &kernel, begin, None);
    }

    #[test]
    fn a_fault_that_is_seen_whole_never_holds(before in acts(), fault in fault(), after in acts(), mut observer in observers()) {
        // What is not counted, and writes nothing else, leaves no trace at all.
        observer.is_counted = true;
        let mut kernel = clean(&before, false);
        let begin = kernel.elements.len();
        begin_tracing(&mut kernel);
        kernel.inject(fault, 0);
        interleave(&mut kernel, &after);
        kernel.flush();
        kernel.idle(2_000_000_000);
        let run = observer.evaluate(&observer.stream(&kernel, begin));
        let device = kernel.address(usize::from(fault == Fault::Overlap));
        for verdict in run.rules.verdicts(&run.model) {
            // What was not asked for is named: it holds in part.
            let is_remark = |reason: &String| reason.starts_with("DMA mappings of what was removed");
            let is_whole = verdict.answer == Answer::Holds && verdict.reasons.iter().all(is_remark);
            if verdict.device == device && verdict.rule == rules_of(fault)[0] {
                prop_assert!(!is_whole, "{fault:?} blind {:?} {:?} skipped {:?} {:?}", observer.blind, observer.state, observer.missed(&kernel, begin), verdict);
            }
        }
        assert_accuses_nobody(&observer, &kernel, begin, Some(fault));
    }
}
