//! Skipped runs affect only the rules of their row in the table of skips, until later facts settle them.

use p2p_trace_common::{Hook, Kind};

use super::{Answer, Options, RuleId};
use crate::{
    event::{Affected, Loss, SkipRow},
    stream::assemble::Element,
    testing::{
        evaluation::{Run, hooks_except},
        simulate::{Kernel, Order, play},
    },
};

/// Adds skipped runs of a hook since this time.
fn skip(kernel: &mut Kernel, hook: Hook, since_ns: u64) {
    let loss = Loss::of_hook(hook, 3, since_ns, kernel.now_ns);
    kernel.elements.push(Element::Loss(loss));
}

/// A device whose memory is in use.
fn in_use() -> Kernel {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.snapshot(0, true);
    kernel
}

/// The rules that are inconclusive for a device, with their reasons.
fn inconclusive(kernel: &Kernel, device: usize) -> Vec<(RuleId, Vec<String>)> {
    let mut run = Run::new(Options::default(), &hooks_except(&[]));
    run.feed(&kernel.elements);
    let address = kernel.address(device);
    let verdicts = run.rules.verdicts(&run.model).into_iter();
    let open = verdicts.filter(|verdict| verdict.device == address && verdict.answer == Answer::Inconclusive);
    open.map(|verdict| (verdict.rule, verdict.reasons)).collect()
}

fn rules(kernel: &Kernel, device: usize) -> Vec<RuleId> {
    inconclusive(kernel, device).into_iter().map(|(rule, _)| rule).collect()
}

#[test]
fn skip_affects_only_the_rules_of_its_row() {
    for &hook in Hook::ALL {
        let mut kernel = in_use();
        let since_ns = kernel.now_ns;
        kernel.mmap(0, 10, 2);
        skip(&mut kernel, hook, since_ns);
        let expected: Vec<_> = match SkipRow::of(hook).affected {
            // No range was removed.
            Affected::Used | Affected::Nothing => Vec::new(),
            _ => RuleId::hidden_by(hook).collect(),
        };
        assert_eq!(rules(&kernel, 0), expected, "{}", hook.name());
        for (_, reasons) in inconclusive(&kernel, 0) {
            assert_eq!(reasons, [format!("3 runs of {} were skipped", hook.name())]);
        }
    }
}

#[test]
fn hook_affects_the_expected_rules() {
    for hook in [Hook::Unbind, Hook::DevresRelease, Hook::DriverRemoved] {
        assert_eq!(RuleId::hidden_by(hook).collect::<Vec<_>>(), [RuleId::StalledUnbind]);
    }
    for &hook in Hook::ALL {
        let row = SkipRow::of(hook);
        let affected: Vec<_> = RuleId::hidden_by(hook).collect();
        assert_eq!(affected.is_empty(), row.affected == Affected::Nothing, "{}", hook.name());
        if row.affected == Affected::Used {
            let rule =
                if hook == Hook::AllocEnter { RuleId::AllocOnDeadChunk } else { RuleId::UseAfterRemoval };
            assert_eq!(affected, [rule], "{}", hook.name());
        }
    }
}

#[test]
fn snapshot_settles_skips() {
    for &hook in Hook::ALL {
        let mut kernel = in_use();
        let since_ns = kernel.now_ns;
        kernel.mmap(0, 10, 2);
        skip(&mut kernel, hook, since_ns);
        kernel.snapshot(0, true);
        let is_read_anew = SkipRow::of(hook).affected.is_read_anew();
        let is_settled = is_read_anew || SkipRow::of(hook).affected != Affected::Mapped;
        assert_eq!(rules(&kernel, 0).is_empty(), is_settled, "{}", hook.name());
        if is_read_anew {
            let mut run = Run::new(Options::default(), &hooks_except(&[]));
            run.feed(&kernel.elements);
            for rule in RuleId::hidden_by(hook) {
                let verdict = run.verdict(rule, kernel.address(0));
                let name = hook.name();
                let note = format!("3 runs of {name} were skipped; a later snapshot settled this");
                assert_eq!((verdict.answer, verdict.reasons), (Answer::Holds, vec![note]));
            }
        }
    }
}

#[test]
fn skipped_use_matters_only_for_removed_ranges() {
    for hook in [Hook::DmaMapSg, Hook::BlkDmaMap, Hook::MapState, Hook::VirtToBus] {
        let mut kernel = in_use();
        kernel.bind(1, 5, &[16]);
        kernel.snapshot(1, true);
        kernel.alloc(0, 10, 4).unwrap();
        kernel.begin(0, 11, Order::Right);
        let since_ns = kernel.now_ns;
        kernel.advance_to(0, Kind::Kill);
        let mut before = kernel.clone();
        skip(&mut before, hook, since_ns);
        assert_eq!(rules(&before, 0), [], "{}", hook.name());
        let (token, _) = kernel.outstanding(0).next().unwrap();
        kernel.free(token, 10, 4);
        kernel.advance_to(0, Kind::Remove);
        kernel.advance(0);
        skip(&mut kernel, hook, since_ns);
        assert_eq!(rules(&kernel, 0), [RuleId::UseAfterRemoval], "{}", hook.name());
        assert_eq!(rules(&kernel, 1), [], "the other device has no removed range");
        while kernel.advance(0) {}
        assert_eq!(
            rules(&kernel, 0),
            [RuleId::UseAfterRemoval],
            "the teardown has ended and does not settle it"
        );
        kernel.bind(0, 5, &[16]);
        kernel.unbind(0, 11);
        assert_eq!(rules(&kernel, 0), [], "the next teardown settles it");
    }
}

#[test]
fn skipped_insert_page_matters_only_during_an_mmap() {
    let mut kernel = in_use();
    kernel.mmap(0, 10, 2);
    let since_ns = kernel.now_ns + 1;
    kernel.idle(3_000_000_000);
    skip(&mut kernel, Hook::InsertPage, since_ns);
    assert_eq!(rules(&kernel, 0), []);
    // A mapping during the skip is recorded after it.
    kernel.mmap(0, 10, 2);
    let mut run = Run::new(Options::default(), &hooks_except(&[]));
    run.feed(&kernel.elements);
    assert!(run.model.device(kernel.address(0)).unwrap().uncertain().hot.is_some());
}

#[test]
fn complete_teardown_settles_skips() {
    for hook in [Hook::Kill, Hook::Remove, Hook::Released, Hook::Unbind, Hook::DevresReleased] {
        let mut kernel = in_use();
        let since_ns = kernel.now_ns;
        kernel.unbind(0, 11);
        skip(&mut kernel, hook, since_ns);
        assert_eq!(rules(&kernel, 0), [], "{}", hook.name());
    }
    let mut kernel = in_use();
    let since_ns = kernel.now_ns;
    kernel.begin(0, 11, Order::Right);
    kernel.advance_to(0, Kind::Drained);
    kernel.advance(0);
    kernel.elements.retain(|element| !is_of(element, Kind::Drained));
    skip(&mut kernel, Hook::Drained, since_ns);
    while kernel.advance(0) {}
    let found = rules(&kernel, 0);
    for rule in RuleId::hidden_by(Hook::Drained) {
        assert!(found.contains(&rule), "{}: the drain was not seen", rule.name());
    }
}

fn is_of(element: &Element, kind: Kind) -> bool {
    matches!(element, Element::Event(event) if event.kind == kind)
}

#[test]
fn skip_of_an_unknown_hook_affects_its_ring() {
    let mut kernel = in_use();
    let loss = Loss::skipped(p2p_trace_common::Ring::Rare, 1, kernel.now_ns, kernel.now_ns);
    kernel.elements.push(Element::Loss(loss));
    kernel.snapshot(0, true);
    assert_eq!(rules(&kernel, 0).len(), RuleId::all().count(), "as in an older version");
}

#[test]
fn finds_stall_despite_skipped_devres_release() {
    let mut kernel = in_use();
    kernel.alloc(0, 10, 4).unwrap();
    kernel.begin(0, 11, Order::Right);
    kernel.advance_to(0, Kind::Kill);
    kernel.advance(0);
    let since_ns = kernel.now_ns;
    kernel.idle(1_000_000_000);
    skip(&mut kernel, Hook::DevresRelease, since_ns);
    kernel.snapshot(0, true);
    kernel.idle(6_000_000_000);
    let mut run = Run::new(Options::default(), &hooks_except(&[]));
    run.feed(&kernel.elements);
    assert_eq!(run.answer(RuleId::StalledUnbind, kernel.address(0)), Answer::Violated);
}
