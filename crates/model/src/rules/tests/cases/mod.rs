//! Sequences that random lives do not produce.

mod absent;
mod asleep;
mod dead_chunk;
mod ends;
mod holders;
mod late;
mod leaked;
mod limits;
mod shared;
mod untraced;

use p2p_trace_common::{Hook, Kind};

use super::{Answer, RuleId};
use crate::{
    event::Event,
    stream::assemble::Element,
    testing::simulate::{Kernel, play},
};

/// Adds a step of a teardown that is not part of a simulated one.
fn step(kernel: &mut Kernel, pid: u32, kind: Kind, pgmap: Option<u64>) {
    let hook = Hook::from_name(kind.name()).unwrap();
    kernel.event(0, kind, hook, pid, |event| {
        event.pgmap = pgmap;
        event.count = (kind == Kind::Kill).then_some(1);
    });
}

/// The places of the events of this kind.
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

/// Drops the records that the kernel side does not write without a kill: the removal and the end of `memunmap_pages`.
fn without_notes(kernel: &mut Kernel) {
    let is_noted = |element: &Element| matches!(element, Element::Event(event) if matches!(event.kind, Kind::Remove | Kind::Unmapped));
    kernel.elements.retain(|element| !is_noted(element));
}

/// Makes the trace begin at this place.
fn begin_at(kernel: &mut Kernel, place: usize) {
    let head = play::head();
    kernel.elements.drain(head..place.max(head));
}
