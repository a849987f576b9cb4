//! Sequences that random lives do not come to, each the example of a kind.

mod absent;
mod asleep;
mod dead_chunk;
mod ends;
mod holders;
mod late;
mod leaked;
mod limits;
mod shared;
mod unwatched;

use p2p_trace_common::{Hook, Kind};

use super::{Answer, RuleId};
use crate::{
    event::Event,
    stream::assemble::Element,
    testing::simulate::{Kernel, play},
};

/// A step of a teardown that no script knows.
fn step(kernel: &mut Kernel, pid: u32, kind: Kind, pgmap: Option<u64>) {
    let hook = Hook::from_name(kind.name()).unwrap();
    kernel.event(0, kind, hook, pid, |event| {
        event.pgmap = pgmap;
        event.count = (kind == Kind::Kill).then_some(1);
    });
}

/// Where the events of a kind are.
fn places(kernel: &Kernel, kind: Kind) -> Vec<usize> {
    let is_of = |at: &usize| matches!(&kernel.elements[*at], Element::Event(event) if event.kind == kind);
    (0..kernel.elements.len()).filter(is_of).collect()
}

fn event(kernel: &mut Kernel, place: usize) -> &mut Event {
    match &mut kernel.elements[place] {
        Element::Event(event) => event,
        other => panic!("no event: {other:?}"),
    }
}

/// What the kernel side writes of a teardown whose kill it did not see: it knows neither removal nor end of `memunmap_pages`.
fn without_notes(kernel: &mut Kernel) {
    let is_noted = |element: &Element| matches!(element, Element::Event(event) if matches!(event.kind, Kind::Remove | Kind::Unmapped));
    kernel.elements.retain(|element| !is_noted(element));
}

/// The trace begins at this place.
fn begin_at(kernel: &mut Kernel, place: usize) {
    let head = play::head();
    kernel.elements.drain(head..place.max(head));
}
