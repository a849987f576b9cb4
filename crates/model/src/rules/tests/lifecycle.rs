//! Complete lives of several devices at once: a correct life causes no finding, and a rule with a fault never holds.

use proptest::prelude::*;

use super::Answer;
use crate::testing::evaluation::{aftermath, broken, clean, evaluate, fault, rules_of};
use crate::{
    stream::assemble::Element,
    testing::simulate::{
        Fault, Kernel,
        play::{self, acts, roll, with_losses, with_skips},
    },
};

/// The stream that the tracer would have seen if it had been started at this place.
fn from(elements: &[Element], place: usize) -> Vec<Element> {
    let head = play::head();
    let rest = &elements[place.max(head)..];
    elements[..head].iter().chain(rest).cloned().collect()
}

/// Lost records: a share (of 256) of the records in a window, chosen by a seed.
#[derive(Clone, Copy, Debug)]
struct Losses {
    seed: u32,
    share: u8,
    window: (u8, u8),
}

fn losses() -> impl Strategy<Value = Losses> {
    (any::<u32>(), 1..=u8::MAX, any::<(u8, u8)>()).prop_map(|(seed, share, window)| Losses {
        seed,
        share,
        window,
    })
}

impl Losses {
    fn places(self, elements: &[Element]) -> (usize, usize) {
        let at = |part: u8| elements.len() * usize::from(part) / 256;
        (at(self.window.0.min(self.window.1)), at(self.window.0.max(self.window.1)))
    }

    /// The stream without the lost records. The bounds of the window are in units of 1/256 of the stream.
    fn of(self, elements: &[Element]) -> Vec<Element> {
        let (first, last) = self.places(elements);
        with_losses(elements, |place| (first..=last).contains(&place) && roll(self.seed, place) <= self.share)
    }
}

/// Asserts that nothing is found.
fn assert_no_finding(elements: &[Element]) {
    let run = evaluate(elements);
    let texts: Vec<_> = run.rules.findings().iter().map(|found| &found.message).collect();
    assert!(texts.is_empty() && run.reported.is_empty(), "{texts:?}");
}

/// Asserts that the rules of the fault do not hold for the device at fault, if it was seen at all.
fn assert_not_holding(kernel: &Kernel, fault: Fault, elements: &[Element]) {
    let run = evaluate(elements);
    let device = kernel.address(usize::from(fault == Fault::Overlap));
    for verdict in run.rules.verdicts(&run.model) {
        if verdict.device == device && rules_of(fault).contains(&verdict.rule) {
            assert_ne!(verdict.answer, Answer::Holds, "{verdict:?}");
        }
    }
}

proptest! {
    #[test]
    fn correct_life_holds(acts in acts(), nested_frees: bool) {
        let kernel = clean(&acts, nested_frees);
        let run = evaluate(&kernel.elements);
        assert_no_finding(&kernel.elements);
        for verdict in run.rules.verdicts(&run.model) {
            prop_assert_eq!(verdict.answer, Answer::Holds, "{:?}", verdict);
        }
    }

    #[test]
    fn finds_every_fault(before in acts(), fault in fault(), after in acts()) {
        let (kernel, _) = broken(&before, fault, &after);
        let run = evaluate(&kernel.elements);
        let found = run.violated();
        let own = rules_of(fault);
        for rule in own {
            prop_assert!(found.contains(rule), "{} is missing", rule.name());
        }
        for rule in found {
            prop_assert!(own.contains(&rule) || aftermath(fault).contains(&rule), "{}", rule.name());
        }
    }

    #[test]
    fn loss_causes_no_finding(acts in acts(), losses in losses(), nested_frees: bool) {
        assert_no_finding(&losses.of(&clean(&acts, nested_frees).elements));
    }

    #[test]
    fn skip_causes_no_finding(acts in acts(), losses in losses(), late in 0u8..4, nested_frees: bool) {
        let elements = clean(&acts, nested_frees).elements;
        let (first, last) = losses.places(&elements);
        let is_lost = |place| (first..=last).contains(&place) && roll(losses.seed, place) <= losses.share;
        assert_no_finding(&with_skips(&elements, is_lost, usize::from(late) * 10));
    }

    #[test]
    fn late_start_causes_no_finding(acts in acts(), part: u8, nested_frees: bool) {
        let kernel = clean(&acts, nested_frees);
        let place = kernel.elements.len() * usize::from(part) / 256;
        assert_no_finding(&from(&kernel.elements, place));
    }

    #[test]
    fn late_start_with_losses_causes_no_finding(acts in acts(), part: u8, losses in losses()) {
        let kernel = clean(&acts, false);
        let place = kernel.elements.len() * usize::from(part) / 256;
        assert_no_finding(&losses.of(&from(&kernel.elements, place)));
    }

    #[test]
    fn faulty_rule_never_holds_after_loss(before in acts(), fault in fault(), after in acts(), losses in losses()) {
        let (kernel, _) = broken(&before, fault, &after);
        assert_not_holding(&kernel, fault, &losses.of(&kernel.elements));
    }

    #[test]
    fn faulty_rule_never_holds_after_late_start(before in acts(), fault in fault(), after in acts(), part: u8) {
        // The ranges of a device that was not seen are not known.
        prop_assume!(fault != Fault::Overlap);
        let (kernel, place) = broken(&before, fault, &after);
        let from = from(&kernel.elements, place * usize::from(part) / 255);
        assert_not_holding(&kernel, fault, &from);
    }
}
