//! A missing hook causes no finding, because its records might explain an apparent violation.

use std::collections::BTreeSet;

use p2p_trace_common::{Hook, Kind};
use proptest::prelude::*;

use super::Options;
use crate::{
    accounting::{HookState, HookStatus},
    event::user,
    stream::assemble::Element,
    testing::{
        evaluation::{Run, hooks_except},
        simulate::{Kernel, play},
    },
};

/// The records that the kernel side writes without these hooks. The removal and the end of `memunmap_pages` know their range only
/// from the note that the kill makes.
fn without(elements: &[Element], blind: &BTreeSet<Hook>) -> Vec<Element> {
    let no_note = blind.contains(&Hook::Kill);
    let is_written = |element: &&Element| match element {
        Element::Event(event) => {
            let needs_note = matches!(event.kind, Kind::Remove | Kind::Unmapped);
            !(blind.contains(&event.hook) || no_note && needs_note)
        }
        Element::User(record) => user::change(record).is_none_or(|change| !blind.contains(&change.hook)),
        Element::Loss(_) | Element::Unknown(_) => true,
    };
    elements.iter().filter(is_written).cloned().collect()
}

/// The findings in a life without these hooks.
fn findings(kernel: &Kernel, blind: &BTreeSet<Hook>, state: Option<HookState>) -> Vec<String> {
    let mut hooks: Vec<HookStatus> = hooks_except(&[]);
    match state {
        Some(state) => {
            hooks = hooks_except(&blind.iter().map(|&hook| (hook, state)).collect::<Vec<_>>());
        }
        None => hooks.retain(|status| !blind.contains(&status.hook)),
    }
    let mut run = Run::new(Options::default(), &hooks);
    run.feed(&without(&kernel.elements, blind));
    run.end();
    run.rules.findings().iter().map(|found| format!("{}: {}", found.rule.name(), found.message)).collect()
}

/// Two complete lives of a device and the start of a third, with all uses of its memory.
fn lives() -> Kernel {
    let mut kernel = play::watched();
    for _ in 0..2 {
        kernel.bind(0, 5, &[16, 8]);
        kernel.snapshot(0, true);
        for (holder, pages) in [(10, 4), (11, 1)] {
            let token = kernel.alloc(0, holder, pages).unwrap();
            kernel.free(token, holder, 4);
        }
        let list = kernel.alloc_list(0, 12, 3).unwrap();
        kernel.free(list, 12, 3);
        let mapping = kernel.mmap(0, 13, 2).unwrap();
        kernel.free(mapping, 13, 2);
        kernel.flush();
        kernel.unbind(0, 14);
        kernel.idle(2_000_000_000);
    }
    kernel.bind(0, 5, &[16]);
    let token = kernel.alloc(0, 10, 1).unwrap();
    kernel.free(token, 10, 9);
    kernel.idle(2_000_000_000);
    kernel
}

#[test]
fn single_missing_hook_causes_no_finding() {
    let kernel = lives();
    let mut wrong = Vec::new();
    for &hook in Hook::ALL {
        for state in [None, Some(HookState::Failed)] {
            let found = findings(&kernel, &BTreeSet::from([hook]), state);
            wrong.extend(found.iter().map(|found| format!("without {} ({state:?}): {found}", hook.name())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn two_chosen_hooks_cause_no_finding() {
    let kernel = lives();
    let mut wrong = Vec::new();
    for &one in Hook::ALL {
        for &other in Hook::ALL {
            let blind = Hook::ALL.iter().copied().filter(|&hook| hook != one && hook != other).collect();
            let found = findings(&kernel, &blind, None);
            wrong.extend(
                found.iter().map(|found| format!("with {} and {}: {found}", one.name(), other.name())),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

proptest! {
    #[test]
    fn any_missing_hooks_cause_no_finding(
        acts in play::acts(),
        blind in proptest::collection::btree_set(0..Hook::ALL.len(), 1..Hook::ALL.len()),
        is_failed: bool,
    ) {
        let mut kernel = play::watched();
        play::interleave(&mut kernel, &acts);
        let blind: BTreeSet<_> = blind.into_iter().map(|at| Hook::ALL[at]).collect();
        let state = is_failed.then_some(HookState::Failed);
        let found = findings(&kernel, &blind, state);
        prop_assert!(found.is_empty(), "without {blind:?}: {found:#?}");
    }
}
