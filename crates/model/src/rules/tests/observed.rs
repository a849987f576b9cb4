//! Random lives, seen by tracers that begin late, miss hooks and have runs skipped: a correct life causes no finding, and a rule
//! does not hold if its fault was seen. `PROPTEST_CASES` sets the number of lives.

use proptest::prelude::*;

use super::{
    super::use_after_removal::{UNTRACED, UNTRACED_LATER},
    Answer,
};
use crate::testing::{
    evaluation::{aftermath, clean, fault, rules_of},
    observe::{Observer, observers},
    simulate::{
        Fault, Kernel,
        play::{self, DEVICES, acts, interleave},
    },
};

/// A life, and the place at which tracing begins: the tracer first takes snapshots of the devices.
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

fn assert_no_wrong_finding(observer: &Observer, kernel: &Kernel, begin: usize, but: Option<Fault>) {
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
    fn partial_view_causes_no_finding(before in acts(), after in acts(), observer in observers()) {
        let (kernel, begin) = life(&before, &after);
        assert_no_wrong_finding(&observer, &kernel, begin, None);
    }

    #[test]
    fn missing_record_causes_no_finding(acts in acts(), at: u16, is_counted: bool) {
        let (kernel, begin) = life(&[], &acts);
        let observer = Observer { skipped: vec![at], is_counted, ..Observer::perfect() };
        assert_no_wrong_finding(&observer, &kernel, begin, None);
    }

    #[test]
    fn completely_seen_fault_never_holds(before in acts(), fault in fault(), after in acts(), mut observer in observers()) {
        // Uncounted skips leave no trace at all.
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
            // A rule without all of its hooks says so: its coverage is partial.
            let is_remark = |reason: &String| [UNTRACED, UNTRACED_LATER].contains(&reason.as_str());
            let holds = verdict.answer == Answer::Holds && verdict.reasons.iter().all(is_remark);
            if verdict.device == device && verdict.rule == rules_of(fault)[0] {
                prop_assert!(!holds, "{fault:?} blind {:?} {:?} skipped {:?} {:?}", observer.blind, observer.state, observer.missed(&kernel, begin), verdict);
            }
        }
        assert_no_wrong_finding(&observer, &kernel, begin, Some(fault));
    }
}
