//! Joins stacks to the events that they belong to.
//!
//! A stack travels in its own records, written after the record that it belongs to, and other producers may
//! write in between. An event whose stack is expected is held back, with all later elements, until the stack
//! arrives or the stream has advanced so far that it cannot arrive any more.

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

/// How far a stack can be behind its event, in stream time.
pub(crate) const STACK_LIMIT_NS: u64 = 100_000_000;

/// One element of the decoded stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// An event.
    Event(Box<Event>),
    /// Records were lost.
    Loss(Loss),
    /// A record of user space: a tick, a change of hooks, or the end.
    User(Record),
    /// A record that this version cannot read.
    Unknown(DecodeError),
}

/// Joins stacks to events in a stream that is in time order.
#[derive(Debug, Default)]
pub struct Assembler {
    queue: VecDeque<Waiting>,
    /// Events in the queue that wait for their stack.
    open: usize,
    /// A reusable event: one that was emitted before.
    spare: Option<Box<Event>>,
}

#[derive(Debug)]
struct Waiting {
    element: Element,
    /// The event waits for its stack until this time.
    until_ns: Option<u64>,
}

impl Assembler {
    /// An assembler without waiting elements.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next element of the stream, and emits the complete ones.
    pub fn push(&mut self, item: &Item, mut emit: impl FnMut(&Element)) {
        let next = match item {
            Item::Loss(loss) => Some((Element::Loss(*loss), None)),
            Item::Record(record) => self.record(record),
        };
        match next {
            // The queue is empty, and this element does not have to wait.
            Some((element, None)) if self.queue.is_empty() => {
                emit(&element);
                self.spare(element);
            }
            Some((element, until_ns)) => {
                self.open += usize::from(until_ns.is_some());
                self.queue.push_back(Waiting { element, until_ns });
                self.advance(item.time_ns(), emit);
            }
            None => self.advance(item.time_ns(), emit),
        }
    }

    /// Emits the elements that are complete when the stream has reached `time_ns`.
    pub fn advance(&mut self, time_ns: u64, mut emit: impl FnMut(&Element)) {
        while let Some(front) = self.queue.front() {
            match front.until_ns {
                Some(until_ns) if time_ns < until_ns => return,
                Some(_) => self.open -= 1,
                None => {}
            }
            if let Some(waiting) = self.queue.pop_front() {
                emit(&waiting.element);
                self.spare(waiting.element);
            }
        }
    }

    /// Returns whether no event waits for its stack.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Emits all elements, at the end of the stream.
    pub fn finish(&mut self, emit: impl FnMut(&Element)) {
        self.advance(u64::MAX, emit);
    }

    /// Decodes a record, and returns how long to wait for its stack. Returns `None` for a stack record that
    /// was added to its event.
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

    /// Adds a stack record to its event. Returns false if that event is not waiting for one.
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
            // After a lost part, the frames would seem to follow those before it.
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

/// Whether this is the last part: one that is not full (it may be empty), or the last possible one.
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
    fn joins_stack_parts_across_a_nested_event() {
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
    fn emits_event_as_soon_as_its_stack_is_complete() {
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
    fn emits_event_without_stack_after_a_timeout() {
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
    fn omits_frames_after_a_lost_part() {
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
    fn emits_stack_of_a_lost_event_alone() {
        assert_eq!(run(&[part(10, 9, 8, 0, &[1, 2])]), [(9, Kind::Stack, 2)]);
    }
}
