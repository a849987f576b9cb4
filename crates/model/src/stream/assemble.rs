//! Stacks joined to the events that they belong to.
//!
//! A stack travels in records of its own, written after the record that it belongs to, and other producers
//! may write in between. An event whose stack is on its way is held back, with everything behind it, until
//! the stack is there, or until the stream has gone on for so long that it cannot be on its way any more.

use std::collections::VecDeque;

use p2p_trace_common::{
    Kind, Record, StackRecord,
    record::{FLAG_STACK, STACK_FRAMES, STACK_RECORDS},
};

use crate::{
    event::{
        Event, Loss,
        decode::{DecodeError, decode, decode_into, frames, stack},
        user,
    },
    stream::order::Item,
};

/// How long a stack can be behind its event, in time of the stream.
pub(crate) const STACK_LIMIT_NS: u64 = 100_000_000;

/// One element of the decoded stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// Something happened.
    Event(Box<Event>),
    /// Records are missing.
    Loss(Loss),
    /// User space wrote it: a tick, a change of hooks, the end.
    User(Record),
    /// A record that this version cannot read.
    Unknown(DecodeError),
}

/// Joins stacks to events, in a stream that is in time order.
#[derive(Debug, Default)]
pub struct Assembler {
    queue: VecDeque<Waiting>,
    /// Events in the queue whose stack is on its way.
    open: usize,
    /// Place for the next event, of one that was given out.
    spare: Option<Box<Event>>,
}

#[derive(Debug)]
struct Waiting {
    element: Element,
    /// Its stack is on its way; given up at this time.
    until_ns: Option<u64>,
}

impl Assembler {
    /// Nothing waits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next element of the stream, and gives out what is complete.
    pub fn push(&mut self, item: &Item, mut out: impl FnMut(&Element)) {
        let next = match item {
            Item::Loss(loss) => Some((Element::Loss(*loss), None)),
            Item::Record(record) => self.record(record),
        };
        match next {
            // Nothing waits, and nothing has to be waited for.
            Some((element, None)) if self.queue.is_empty() => {
                out(&element);
                self.spare(element);
            }
            Some((element, until_ns)) => {
                self.open += usize::from(until_ns.is_some());
                self.queue.push_back(Waiting { element, until_ns });
                self.advance(item.time_ns(), out);
            }
            None => self.advance(item.time_ns(), out),
        }
    }

    /// Gives out what is complete when the stream has reached `time_ns`.
    pub fn advance(&mut self, time_ns: u64, mut out: impl FnMut(&Element)) {
        while let Some(front) = self.queue.front() {
            match front.until_ns {
                Some(until_ns) if time_ns < until_ns => return,
                Some(_) => self.open -= 1,
                None => {}
            }
            if let Some(waiting) = self.queue.pop_front() {
                out(&waiting.element);
                self.spare(waiting.element);
            }
        }
    }

    /// Nothing waits for its stack.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Gives out everything: nothing can follow.
    pub fn finish(&mut self, out: impl FnMut(&Element)) {
        self.advance(u64::MAX, out);
    }

    /// What a record is, and until when its stack is waited for; nothing where it is a stack that has found its event.
    fn record(&mut self, record: &Record) -> Option<(Element, Option<u64>)> {
        if record.cpu == user::CPU {
            let loss = user::loss(record).map(Element::Loss);
            return Some((loss.unwrap_or(Element::User(*record)), None));
        }
        if record.kind() == Some(Kind::Stack) && self.join(record) {
            return None;
        }
        Some(match self.event(record) {
            Ok(event) => {
                let expected = event.kind != Kind::Stack && record.flags & FLAG_STACK != 0;
                let until_ns = expected.then(|| record.time_ns.saturating_add(STACK_LIMIT_NS));
                (Element::Event(event), until_ns)
            }
            Err(error) => (Element::Unknown(error), None),
        })
    }

    fn event(&mut self, record: &Record) -> Result<Box<Event>, DecodeError> {
        match self.spare.take() {
            Some(mut event) => decode_into(&mut event, record).map(|()| event),
            None => decode(record).map(Box::new),
        }
    }

    fn spare(&mut self, element: Element) {
        if let Element::Event(event) = element {
            self.spare = Some(event);
        }
    }

    /// Adds a stack record to its event; false when that is not waiting for one.
    fn join(&mut self, record: &Record) -> bool {
        if self.open == 0 {
            return false;
        }
        let stack = stack(record);
        for waiting in self.queue.iter_mut().rev().filter(|waiting| waiting.until_ns.is_some()) {
            let Element::Event(event) = &mut waiting.element else {
                continue;
            };
            if event.id.cpu != record.cpu || event.id.seq != stack.parent {
                continue;
            }
            // Behind a part that was lost the frames would seem to follow those before it.
            if event.stack.len() == stack.part as usize * STACK_FRAMES {
                event.stack.extend_from_slice(frames(&stack));
            }
            if is_last(&stack) {
                waiting.until_ns = None;
                self.open -= 1;
            }
            return true;
        }
        false
    }
}

/// The last part is one that is not full (and may be empty), or the last possible one.
fn is_last(stack: &StackRecord) -> bool {
    frames(stack).len() < STACK_FRAMES || stack.part as usize + 1 >= STACK_RECORDS
}

#[cfg(test)]
mod tests {
    use p2p_trace_common::{Hook, Ring};

    use super::*;
    use crate::event::words::{from_record, from_stack, to_record, to_stack};

    fn event(time_ns: u64, position: u64, flags: u8) -> Record {
        let (kind, hook, seq) = (Kind::Kill as u8, Hook::Kill as u8, Ring::Rare.sequence(position));
        Record { kind, hook, flags, time_ns, seq, ..user::blank(1) }
    }

    fn part(time_ns: u64, position: u64, parent: u64, part: u32, frames: &[u64]) -> Record {
        let head = Record { kind: Kind::Stack as u8, ..event(time_ns, position, 0) };
        let mut stack = to_stack(&from_record(&head));
        stack.frames = [0; STACK_FRAMES];
        stack.frames[..frames.len()].copy_from_slice(frames);
        to_record(&from_stack(&StackRecord { parent: Ring::Rare.sequence(parent), part, ..stack }))
    }

    fn run(records: &[Record]) -> Vec<(u64, Kind, usize)> {
        let mut assembler = Assembler::new();
        let mut seen = Vec::new();
        for &record in records {
            assembler.push(&Item::Record(record), |element| seen.push(element.clone()));
        }
        let held = seen.len();
        assembler.finish(|element| seen.push(element.clone()));
        assert!(held <= seen.len());
        seen.into_iter()
            .map(|element| match element {
                Element::Event(event) => (event.id.seq >> 1, event.kind, event.stack.len()),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn parts_join_their_event_across_a_nested_one() {
        let full = [7; STACK_FRAMES];
        let seen = run(&[
            event(10, 0, FLAG_STACK),
            event(11, 1, FLAG_STACK),
            part(12, 2, 1, 0, &[1, 2]),
            part(13, 3, 0, 0, &full),
            part(14, 4, 0, 1, &[3]),
            event(15, 5, 0),
        ]);
        assert_eq!(seen, [(0, Kind::Kill, 9), (1, Kind::Kill, 2), (5, Kind::Kill, 0)]);
    }

    #[test]
    fn a_complete_stack_lets_its_event_go_at_once() {
        let full = [7; STACK_FRAMES];
        for (number, frames) in [(0, &full[..3]), (0, &[]), (STACK_RECORDS as u32 - 1, &full)] {
            let mut assembler = Assembler::new();
            let mut seen = 0;
            assembler.push(&Item::Record(event(10, 0, FLAG_STACK)), |_| seen += 1);
            assert_eq!(seen, 0);
            assembler.push(&Item::Record(part(11, 1, 0, number, frames)), |_| seen += 1);
            assert_eq!(seen, 1, "{number} {frames:?}");
        }
    }

    #[test]
    fn a_stack_that_never_comes_holds_nothing_for_ever() {
        let mut assembler = Assembler::new();
        let mut seen = Vec::new();
        assembler.push(&Item::Record(event(10, 0, FLAG_STACK)), |element| {
            seen.push(element.clone());
        });
        assembler.push(&Item::Record(event(11, 1, 0)), |element| {
            seen.push(element.clone());
        });
        assembler.advance(10 + STACK_LIMIT_NS - 1, |element| seen.push(element.clone()));
        assert_eq!(seen.len(), 0);
        assembler.advance(10 + STACK_LIMIT_NS, |element| seen.push(element.clone()));
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn frames_behind_a_lost_part_are_omitted() {
        let full = [7; STACK_FRAMES];
        let seen = run(&[
            event(10, 0, FLAG_STACK),
            part(11, 1, 0, 0, &full),
            part(12, 3, 0, 2, &full),
            part(13, 4, 0, 3, &[1]),
        ]);
        assert_eq!(seen, [(0, Kind::Kill, 8)]);
    }

    #[test]
    fn a_stack_whose_event_was_lost_stands_alone() {
        assert_eq!(run(&[part(10, 9, 8, 0, &[1, 2])]), [(9, Kind::Stack, 2)]);
    }
}
