//! Observers of a simulated kernel. A tracer may start late, lack hooks, or miss runs that the kernel
//! skipped. The stream has only records that the kernel side can write.

use std::collections::BTreeSet;

use p2p_trace_common::{Hook, Kind};
use proptest::prelude::*;

use super::{
    evaluation::{Run, hooks_except},
    simulate::{Kernel, play},
};
use crate::{
    accounting::{HookState, HookStatus, MissedQuality},
    event::{Companions, Event, Loss, Method, user},
    rules::Options,
    stream::assemble::Element,
};

/// Interval at which the session reads the counts of skipped runs.
const LOOK_NS: u64 = 1_000_000_000;

/// How the kernel is observed.
#[derive(Clone, Debug)]
pub struct Observer {
    /// Hooks that observe nothing.
    pub blind: BTreeSet<Hook>,
    /// The state of these hooks. `None` if they were not enabled.
    pub state: Option<HookState>,
    /// Events whose runs are skipped, by index among the events.
    pub skipped: Vec<u16>,
    /// Whether the kernel counts skipped runs.
    pub is_counted: bool,
}

impl Observer {
    /// An observer that misses nothing.
    pub const fn perfect() -> Self {
        Self { blind: BTreeSet::new(), state: None, skipped: Vec::new(), is_counted: true }
    }

    /// The observed stream, from this index on.
    pub fn stream(&self, kernel: &Kernel, begin: usize) -> Vec<Element> {
        let head = play::head();
        let elements = &kernel.elements[begin.max(head)..];
        let skipped = self.places(elements);
        let mut stream: Vec<_> =
            kernel.elements[..head].iter().filter(|element| self.sees(element)).cloned().collect();
        // Threads in which `memunmap_pages` has left a note of its kill.
        let mut noted = BTreeSet::new();
        let mut unreported: Vec<(Hook, u64)> = Vec::new();
        for (at, element) in elements.iter().enumerate() {
            if let Some(now_ns) = looks_at(element, at + 1 == elements.len()) {
                let is_due =
                    |&mut (_, at_ns): &mut (Hook, u64)| at + 1 == elements.len() || now_ns >= at_ns + LOOK_NS;
                let due = unreported.extract_if(.., is_due);
                stream.extend(due.map(|(hook, at_ns)| {
                    Element::Loss(Loss::of_hook(hook, 1, at_ns.saturating_sub(LOOK_NS / 2), now_ns))
                }));
            }
            let Some(event) = event(element) else {
                stream.extend(self.sees(element).then(|| element.clone()));
                continue;
            };
            if skipped.contains(&at) {
                unreported.extend(
                    (self.is_counted && !self.blind.contains(&event.hook))
                        .then_some((event.hook, event.time_ns)),
                );
                continue;
            }
            let is_noted = match event.kind {
                Kind::Kill => {
                    if !self.blind.contains(&Hook::Kill) {
                        noted.insert(thread(event));
                    }
                    true
                }
                Kind::Remove => noted.contains(&thread(event)),
                Kind::Unmapped => noted.remove(&thread(event)),
                _ => true,
            };
            stream.extend((is_noted && self.sees(element)).then(|| element.clone()));
        }
        stream
    }

    /// The indexes of the skipped events.
    fn places(&self, elements: &[Element]) -> BTreeSet<usize> {
        let is_run = |at: &usize| event(&elements[*at]).is_some_and(is_run);
        let events: Vec<usize> = (0..elements.len()).filter(is_run).collect();
        let place = |&at: &u16| events.get(usize::from(at) % events.len().max(1)).copied();
        self.skipped.iter().filter_map(place).collect()
    }

    /// Describes the skipped events.
    pub fn missed(&self, kernel: &Kernel, begin: usize) -> Vec<String> {
        let elements = &kernel.elements[begin.max(play::head())..];
        let events = self.places(elements).into_iter().filter_map(|at| event(&elements[at]));
        let how = if self.is_counted { "counted" } else { "not counted" };
        events.map(|event| format!("{} at {}, {how}", event.kind.name(), event.time_ns)).collect()
    }

    fn sees(&self, element: &Element) -> bool {
        match element {
            Element::Event(event) => !self.blind.contains(&event.hook),
            Element::User(record) => {
                let hook = match record.kind() {
                    Some(Kind::SnapshotEnd | Kind::AllocatedRun) => Some(Hook::Snapshot),
                    _ => user::change(record).map(|change| change.hook),
                };
                hook.is_none_or(|hook| !self.blind.contains(&hook))
            }
            Element::Loss(_) | Element::Unknown(_) => true,
        }
    }

    /// The status of the hooks, as reported.
    pub fn hooks(&self) -> Vec<HookStatus> {
        let mut hooks = match self.state {
            Some(state) => hooks_except(&self.blind.iter().map(|&hook| (hook, state)).collect::<Vec<_>>()),
            None => hooks_except(&[]),
        };
        hooks.retain(|status| self.state.is_some() || !self.blind.contains(&status.hook));
        let method = if self.is_counted { Method::Fentry } else { Method::Kprobe };
        for status in &mut hooks {
            status.method = Some(method);
        }
        hooks
    }

    /// Evaluates the rules on a stream.
    pub fn evaluate(&self, stream: &[Element]) -> Run {
        let missed = if self.is_counted { MissedQuality::Counted } else { MissedQuality::Unknown };
        let mut run = Run::of(Options::default(), &self.hooks(), missed);
        run.feed(stream);
        run.end();
        run
    }
}

fn event(element: &Element) -> Option<&Event> {
    match element {
        Element::Event(event) => Some(event),
        _ => None,
    }
}

/// Whether the run of the event can be skipped. Unanswered snapshot reads are repeated.
fn is_run(event: &Event) -> bool {
    event.hook != Hook::Snapshot
}

/// When the session reads the counts of skipped runs, if it does at this element.
fn looks_at(element: &Element, is_last: bool) -> Option<u64> {
    match element {
        Element::User(record) if is_last || record.kind() == Some(Kind::Tick) => Some(record.time_ns),
        Element::Event(event) if is_last => Some(event.time_ns),
        _ => None,
    }
}

fn thread(event: &Event) -> u32 {
    event.task.map_or(0, |task| task.pid)
}

/// Any observer: no hook, one hook, or many hooks missing, and a few skipped runs. If they are not counted,
/// at most one run is skipped.
pub fn observers() -> impl Strategy<Value = Observer> {
    let blind = prop_oneof![
        3 => Just(BTreeSet::new()),
        3 => (0..Hook::ALL.len()).prop_map(|at| BTreeSet::from([Hook::ALL[at]])),
        1 => proptest::collection::btree_set(0..Hook::ALL.len(), 1..Hook::ALL.len())
            .prop_map(|blind| blind.into_iter().map(|at| Hook::ALL[at]).collect::<BTreeSet<Hook>>()),
    ];
    let skipped = proptest::collection::vec(any::<u16>(), 0..4);
    (blind, any::<bool>(), skipped, any::<bool>()).prop_map(
        |(mut blind, is_failed, mut skipped, is_counted)| {
            if !is_counted {
                skipped.truncate(1);
            }
            if !is_failed {
                // Enabling a hook enables the hooks that it needs.
                let enabled: Vec<_> =
                    Hook::ALL.iter().copied().filter(|hook| !blind.contains(hook)).collect();
                blind.retain(|&hook| !Companions::is_needed(hook, &enabled));
            }
            Observer { blind, state: is_failed.then_some(HookState::Failed), skipped, is_counted }
        },
    )
}
