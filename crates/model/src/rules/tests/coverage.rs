//! Missing hooks and losses make rules inconclusive or unchecked, with reasons.

use p2p_trace_common::{Hook, Kind, Ring, armed::MAX_ARMED};

use super::{Answer, Options, RuleId, Verdict};
use crate::rules::use_after_removal::UNTRACED_LATER;
use crate::testing::evaluation::{Run, evaluate, hooks_except};
use crate::{
    accounting::{HookState, HookStatus},
    event::{Companions, Loss, Method, Reason, user},
    stream::assemble::Element,
    testing::simulate::{ARMED, Kernel, Order, play},
};

/// A complete life without a fault.
fn life() -> Kernel {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.snapshot(0, true);
    let token = kernel.alloc(0, 10, 4).unwrap();
    kernel.free(token, 10, 4);
    kernel.unbind(0, 11);
    kernel
}

fn verdicts(kernel: &Kernel, hooks: &[HookStatus]) -> Vec<Verdict> {
    let mut run = Run::new(Options::default(), hooks);
    run.feed(&kernel.elements);
    run.rules.verdicts(&run.model)
}

fn of(verdicts: &[Verdict], rule: RuleId) -> (Answer, String) {
    let found = verdicts.iter().find(|verdict| verdict.rule == rule).unwrap();
    (found.answer, found.reasons.join("; "))
}

#[test]
fn absent_hook_leaves_its_rules_unchecked() {
    let kernel = life();
    let hooks = hooks_except(&[(Hook::Kill, HookState::Absent)]);
    let found = verdicts(&kernel, &hooks);
    for verdict in &found {
        // A removal is written only after a kill that was seen.
        let by_kill = |hook: &Hook| *hook == Hook::Kill || Companions::noting(*hook) == Some(Hook::Kill);
        let needs = verdict.rule.spec().needs.iter().any(|group| group.iter().all(by_kill));
        let expected = if needs { Answer::NotChecked } else { Answer::Holds };
        assert_eq!(verdict.answer, expected, "{verdict:?}");
    }
    let (_, reason) = of(&found, RuleId::DoubleKill);
    insta::assert_snapshot!(reason, @"this kernel lacks the function of hook kill");
    // One hook of a group is enough.
    let hooks = hooks_except(&[(Hook::Unbind, HookState::Absent)]);
    assert_eq!(of(&verdicts(&kernel, &hooks), RuleId::StalledUnbind).0, Answer::Holds);
}

/// The pool does not count such pages, and the driver decides whether it waits for them.
#[test]
fn pages_allocated_by_the_driver_make_rules_inconclusive() {
    let mut kernel = life();
    let rests_on_it = [RuleId::RemovedBeforeDrained, RuleId::UseAfterRemoval, RuleId::PoolDestroyedInUse];
    let answers = |kernel: &Kernel| {
        let found = verdicts(kernel, &hooks_except(&[]));
        rests_on_it.map(|rule| of(&found, rule))
    };
    assert!(answers(&kernel).iter().all(|(answer, _)| *answer == Answer::Holds));
    for element in &mut kernel.elements {
        if let Element::Event(event) = element
            && event.kind == Kind::Kill
        {
            event.pooled = Some(false);
        }
    }
    for (answer, reason) in answers(&kernel) {
        assert_eq!(answer, Answer::Inconclusive);
        assert!(reason.contains("allocates its pages itself"), "{reason}");
    }
}

#[test]
fn disabled_hook_leaves_its_rules_unchecked() {
    let kernel = life();
    let mut hooks = hooks_except(&[]);
    hooks.retain(|status| !matches!(status.hook, Hook::MapSg | Hook::VirtToBus));
    let found = verdicts(&kernel, &hooks);
    let (answer, reason) = of(&found, RuleId::MapImbalance);
    assert_eq!(answer, Answer::NotChecked);
    insta::assert_snapshot!(reason, @"hook map_sg not enabled");
    // A missing optional hook is named; the rule holds for the rest.
    let (answer, reason) = of(&found, RuleId::UseAfterRemoval);
    assert_eq!(answer, Answer::Holds);
    insta::assert_snapshot!(reason, @"not enabled: virt_to_bus; DMA mappings of memory that was removed while none was outstanding were not traced");
}

#[test]
fn failed_hook_leaves_its_rules_inconclusive() {
    let kernel = life();
    for hook in [Hook::Drained, Hook::MapSg] {
        let hooks = hooks_except(&[(hook, HookState::Failed)]);
        for verdict in verdicts(&kernel, &hooks) {
            let spec = verdict.rule.spec();
            // On kernels that have this function, a removed page is mapped through it first.
            let is_use = hook == Hook::MapSg && verdict.rule == RuleId::UseAfterRemoval;
            let depends = spec.needs.concat().contains(&hook) || spec.parts.contains(&hook) || is_use;
            let expected = if depends { Answer::Inconclusive } else { Answer::Holds };
            assert_eq!(verdict.answer, expected, "{verdict:?}");
            let reason = format!("hook {} could not be attached", hook.name());
            assert_eq!(verdict.reasons.contains(&reason), depends);
        }
    }
}

#[test]
fn hook_that_failed_once_counts_as_failed_for_the_run() {
    let mut run = Run::new(Options::default(), &hooks_except(&[(Hook::Drained, HookState::Failed)]));
    run.rules.set_hooks(&hooks_except(&[]));
    let kernel = life();
    run.feed(&kernel.elements);
    assert_eq!(run.answer(RuleId::DrainedAfterRemoval, kernel.address(0)), Answer::Inconclusive);
}

#[test]
fn armed_hooks_cannot_check_map_imbalance() {
    let armed = [(Hook::MapSg, HookState::Armed), (Hook::UnmapSg, HookState::Armed)];
    let mut kernel = life();
    let (answer, reason) = of(&verdicts(&kernel, &hooks_except(&armed)), RuleId::MapImbalance);
    assert_eq!(answer, Answer::NotChecked);
    insta::assert_snapshot!(reason, @"hook map_sg not enabled; hook unmap_sg not enabled");
    // A status that is taken while the hook is armed shows it as attached.
    let change = user::Change { hook: Hook::MapSg, attached: true, method: Method::Fentry, armed: true };
    kernel.user(|writer, time_ns| writer.attach(time_ns, &change));
    assert_eq!(of(&verdicts(&kernel, &hooks_except(&[])), RuleId::MapImbalance).0, Answer::NotChecked);
}

/// A loss of records of this ring, before all events.
fn loss(ring: Ring) -> Element {
    Element::Loss(Loss {
        cpu: Some(0),
        ring,
        first: 0,
        last: 2,
        from_ns: 1,
        to_ns: 2,
        reason: Reason::Overwritten,
        hook: None,
    })
}

#[test]
fn loss_leaves_the_rules_of_its_ring_inconclusive() {
    for ring in Ring::ALL {
        let mut kernel = life();
        kernel.elements.insert(0, loss(ring));
        let found = verdicts(&kernel, &hooks_except(&[]));
        for verdict in &found {
            let depends = verdict.rule.spec().rings.contains(&ring);
            let expected = if depends { Answer::Inconclusive } else { Answer::Holds };
            assert_eq!(verdict.answer, expected, "{ring:?}: {verdict:?}");
        }
    }
    let mut kernel = life();
    kernel.elements.insert(0, loss(Ring::Rare));
    let (_, reason) = of(&verdicts(&kernel, &hooks_except(&[])), RuleId::DoubleKill);
    insta::assert_snapshot!(reason, @"3 rare records were lost");
}

#[test]
fn skipped_runs_are_a_loss() {
    let mut kernel = life();
    let (from_ns, to_ns) = (kernel.now_ns, kernel.now_ns + 1);
    kernel.elements.push(Element::Loss(Loss::skipped(Ring::Hot, 2, from_ns, to_ns)));
    let found = verdicts(&kernel, &hooks_except(&[]));
    for verdict in &found {
        let depends = verdict.rule.spec().rings.contains(&Ring::Hot);
        // After the teardown, a use of the removed range may have been missed.
        let depends = depends || verdict.rule == RuleId::UseAfterRemoval;
        let expected = if depends { Answer::Inconclusive } else { Answer::Holds };
        assert_eq!(verdict.answer, expected, "{verdict:?}");
    }
    let (_, reason) = of(&found, RuleId::DoubleFree);
    insta::assert_snapshot!(reason, @"2 hot records were lost");
}

#[test]
fn confirms_suspect_only_after_losses_are_known() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.snapshot(0, true);
    let token = kernel.alloc(0, 10, 4).unwrap();
    let addr = kernel.outstanding(0).find(|&(found, _)| found == token).unwrap().1.pages[0];
    kernel.free(token, 10, 4);
    kernel.free_event(0, 11, addr, 4 * 4096);
    let address = kernel.address(0);
    let mut run = Run::new(Options::default(), &hooks_except(&[]));
    run.feed(&kernel.elements);
    assert!(run.violated().is_empty());
    assert_eq!(run.answer(RuleId::DoubleFree, address), Answer::Inconclusive);
    // An allocation in between was skipped.
    let (from_ns, to_ns) = (kernel.now_ns - 1, kernel.now_ns + 1);
    run.feed(&[Element::Loss(Loss::skipped(Ring::Hot, 1, from_ns, to_ns))]);
    run.end();
    assert!(run.violated().is_empty());
    assert_eq!(run.answer(RuleId::DoubleFree, address), Answer::Inconclusive);

    let mut run = Run::new(Options::default(), &hooks_except(&[]));
    run.feed(&kernel.elements);
    kernel.elements.clear();
    kernel.now_ns += 2_000_000_000;
    kernel.user(user::Writer::tick);
    run.feed(&kernel.elements);
    assert_eq!(run.answer(RuleId::DoubleFree, address), Answer::Violated);
}

#[test]
fn finding_stands_despite_losses() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.tear_down(0, 11, Order::KilledTwice);
    kernel.elements.push(loss(Ring::Rare));
    let verdict = evaluate(&kernel.elements).verdict(RuleId::DoubleKill, kernel.address(0));
    assert_eq!((verdict.answer, verdict.reasons), (Answer::Violated, Vec::new()));
}

#[test]
fn late_arming_makes_use_after_removal_inconclusive() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16]);
    kernel.snapshot(0, true);
    kernel.alloc(0, 10, 4);
    // The range drains although its memory is outstanding, and the armed hooks are attached late.
    kernel.begin(0, 11, Order::DestroyedInUse);
    kernel.advance_to(0, Kind::Remove);
    let is_armed =
        |element: &Element| matches!(element, Element::User(record) if record.kind() == Some(Kind::Attach));
    let head = play::head();
    let mut place = 0;
    kernel.elements.retain(|element| {
        place += 1;
        place <= head || !is_armed(element)
    });
    let device = kernel.address(0);
    let unarmed = kernel.clone();
    while kernel.advance(0) {}
    let (answer, reason) = of(&verdicts(&kernel, &hooks_except(&[])), RuleId::UseAfterRemoval);
    assert_eq!(answer, Answer::Inconclusive);
    insta::assert_snapshot!(reason, @"DMA mappings were not traced yet when struct pages were removed");
    let mut kernel = unarmed;
    kernel.advance(0);
    kernel.idle(40_000_000);
    kernel.attach(ARMED, true);
    kernel.idle(40_000_000);
    while kernel.advance(0) {}
    let verdict = evaluate(&kernel.elements).verdict(RuleId::UseAfterRemoval, device);
    assert_eq!(verdict.answer, Answer::Inconclusive);
    insta::assert_snapshot!(verdict.reasons.join("; "));
}

#[test]
fn range_beyond_the_armed_hooks_makes_use_after_removal_inconclusive() {
    let mut kernel = play::watched();
    kernel.bind(0, 5, &[16; MAX_ARMED + 1]);
    kernel.snapshot(0, true);
    for _ in 0..=MAX_ARMED {
        kernel.alloc(0, 10, 16).unwrap();
    }
    // The ranges drain although all are in use.
    kernel.begin(0, 11, Order::DestroyedInUse);
    kernel.advance_to(0, Kind::Release);
    let device = kernel.address(0);
    let all_traced = evaluate(&kernel.elements).verdict(RuleId::UseAfterRemoval, device);
    assert_eq!((all_traced.answer, all_traced.reasons), (Answer::Holds, vec![UNTRACED_LATER.to_owned()]));
    let removals = kernel.elements.iter_mut().filter_map(|element| match element {
        Element::Event(event) if event.kind == Kind::Remove => Some(event),
        _ => None,
    });
    let last = removals.last().unwrap();
    last.flag = Some(false);
    let verdict = evaluate(&kernel.elements).verdict(RuleId::UseAfterRemoval, device);
    assert_eq!(verdict.answer, Answer::Inconclusive);
    insta::assert_snapshot!(verdict.reasons.join("; "));
}
