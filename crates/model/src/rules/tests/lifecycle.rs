//! Whole lives of devices, several at once: what is right is never accused, and what is wrong never acquitted.

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

/// What the tracer would have seen if it had been started there.
fn from(elements: &[Element], place: usize) -> Vec<Element> {
    let head = play::head();
    let rest = &elements[place.max(head)..];
    elements[..head].iter().chain(rest).cloned().collect()
}

/// Records that are lost: in a window, this share of 256, by a seed.
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

    /// The window is between two of 256 parts of the stream.
    fn of(self, elements: &[Element]) -> Vec<Element> {
        let (first, last) = self.places(elements);
        with_losses(elements, |place| (first..=last).contains(&place) && roll(self.seed, place) <= self.share)
    }
}

/// Nothing is found.
fn assert_no_finding(elements: &[Element]) {
    let run = evaluate(elements);
    let texts: Vec<_> = run.rules.findings().iter().map(|found| &found.message).collect();
    assert!(texts.is_empty() && run.reported.is_empty(), "{texts:?}");
}

/// The rules of the fault do not hold for the device at fault, if it was seen at all.
fn assert_not_acquitted(kernel: &Kernel, fault: Fault, elements: &[Element]) {
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
    fn what_is_right_holds(acts in acts(), nested_frees: bool) {
        let kernel = clean(&acts, nested_frees);
        let run = evaluate(&kernel.elements);
        assert_no_finding(&kernel.elements);
        for verdict in run.rules.verdicts(&run.model) {
            prop_assert_eq!(verdict.answer, Answer::Holds, "{:?}", verdict);
        }
    }

    #[test]
    fn what_is_wrong_is_found(before in acts(), fault in fault(), after in acts()) {
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
    fn a_loss_accuses_nobody(acts in acts(), losses in losses(), nested_frees: bool) {
        assert_no_finding(&losses.of(&clean(&acts, nested_frees).elements));
    }

    #[test]
    fn a_skip_accuses_nobody(acts in acts(), losses in losses(), late in 0u8..4, nested_frees: bool) {
        let elements = clean(&acts, nested_frees).elements;
        let (first, last) = losses.places(&elements);
        let is_lost = |place| (first..=last).contains(&place) && roll(losses.seed, place) <= losses.share;
        assert_no_finding(&with_skips(&elements, is_lost, usize::from(late) * 10));
    }

    #[test]
    fn a_late_start_accuses_nobody(acts in acts(), part: u8, nested_frees: bool) {
        let kernel = clean(&acts, nested_frees);
        let place = kernel.elements.len() * usize::from(part) / 256;
        assert_no_finding(&from(&kernel.elements, place));
    }

    #[test]
    fn a_late_start_with_losses_accuses_nobody(acts in acts(), part: u8, losses in losses()) {
        let kernel = clean(&acts, false);
        let place = kernel.elements.len() * usize::from(part) / 256;
        assert_no_finding(&losses.of(&from(&kernel.elements, place)));
    }

    #[test]
    fn a_loss_acquits_nobody(before in acts(), fault in fault(), after in acts(), losses in losses()) {
        let (kernel, _) = broken(&before, fault, &after);
        assert_not_acquitted(&kernel, fault, &losses.of(&kernel.elements));
    }

    #[test]
    fn a_late_start_acquits_nobody(before in acts(), fault in fault(), after in acts(), part: u8) {
        // Of a device that was not seen it is not known where its ranges lie.
        prop_assume!(fault != Fault::Overlap);
        let (kernel, place) = broken(&before, fault, &after);
        let from = from(&kernel.elements, place * usize::from(part) / 255);
        assert_not_acquitted(&kernel, fault, &from);
    }
}
