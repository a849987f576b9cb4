//! The reader of one ring in shared memory. `p2p_trace_common::slot` describes the protocol.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use p2p_trace_common::{
    Record, Ring,
    record::{MAGIC, SCHEMA},
    slot::{BUSY, SLOT_SIZE, Sharing, committed, guard},
};
use p2p_trace_model::{
    event::{
        Loss, Reason,
        words::{WORDS, Words, to_record},
    },
    stream::Batch,
};

use super::backlog::Backlog;

/// Number of 64-bit words in a slot.
pub(crate) const SLOT_WORDS: usize = SLOT_SIZE / 8;

/// How long an unfinished record may hold up the stream before it is given up, measured from the last poll of the ring before the
/// record was claimed. Programs run for microseconds; only one that is preempted, or on a stalled virtual CPU, takes this long.
pub(crate) const STALL_LIMIT_NS: u64 = 90_000_000;
/// Minimum time that the reader must have seen the record unfinished, so that a pause of the reader itself does not count.
pub(crate) const STALL_SEEN_NS: u64 = 40_000_000;
/// Maximum time between polls of a ring that is held up.
pub(crate) const STALL_POLL_NS: u64 = 10_000_000;

/// Number of remembered head loads, which bound the age of undelivered records.
const HISTORY: usize = 64;

/// One ring: its slots, and the number of positions claimed in it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    slots: &'a [AtomicU64],
    head: &'a AtomicU64,
}

impl<'a> View<'a> {
    /// A ring with `slots.len() / 16` slots; `None` unless that is a power of two.
    pub(crate) const fn new(slots: &'a [AtomicU64], head: &'a AtomicU64) -> Option<Self> {
        let sound = slots.len().is_multiple_of(SLOT_WORDS) && (slots.len() / SLOT_WORDS).is_power_of_two();
        if sound { Some(Self { slots, head }) } else { None }
    }

    /// Number of positions claimed so far.
    pub(crate) fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    const fn capacity(&self) -> u64 {
        (self.slots.len() / SLOT_WORDS) as u64
    }

    pub(super) fn slot(&self, position: u64) -> &'a [AtomicU64] {
        let start = (position & (self.capacity() - 1)) as usize * SLOT_WORDS;
        &self.slots[start..start + SLOT_WORDS]
    }
}

/// The state of the slot of a position.
enum SlotState {
    Complete(Words),
    /// Claimed, and not yet written completely.
    Pending,
    /// The slot contains this later position.
    Overwritten(u64),
}

/// The reader of one ring.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) number: u32,
    pub(super) ring: Ring,
    /// The CPUs that write into the ring.
    sharing: Sharing,
    run: u64,
    /// The first position that is neither delivered nor lost.
    next: u64,
    /// The head up to which the current poll reads.
    target: u64,
    now_ns: u64,
    /// Heads, each with a time before it was loaded: positions at or after a head are younger than its time. The first entry is the
    /// youngest one that bounds `next`.
    history: VecDeque<(u64, u64)>,
    /// The backlog, if the reader is far behind.
    backlog: Option<Backlog>,
    /// A head and a time: positions before this head were claimed by this time, and not all of them are written yet.
    stalled: Option<(u64, u64)>,
    /// A loss that may grow, and whose end time is not known yet.
    open: Option<Loss>,
}

impl Reader {
    pub(super) fn new(number: u32, ring: Ring, sharing: Sharing, run: u64) -> Self {
        let history = VecDeque::from([(0, 0)]);
        Self {
            number,
            ring,
            sharing,
            run,
            next: 0,
            target: 0,
            now_ns: 0,
            history,
            backlog: None,
            stalled: None,
            open: None,
        }
    }

    /// Begins a poll: positions that are not claimed yet are younger than `bound_ns`.
    pub(super) fn begin(&mut self, view: &View<'_>, now_ns: u64, bound_ns: u64) {
        self.now_ns = now_ns;
        self.target = view.head().max(self.next);
        match self.history.back_mut() {
            Some((head, bound)) if *head == self.target => *bound = bound_ns.max(*bound),
            _ => self.history.push_back((self.target, bound_ns)),
        }
        if self.backlog.as_ref().is_none_or(|backlog| backlog.is_over(self.next)) {
            self.backlog = Backlog::scan(view, self.next, self.target, bound_ns);
        }
        if self.history.len() > HISTORY {
            // Any entry except the first may be removed: the bound stays correct, and is coarser for a while.
            self.history.remove(1);
        }
    }

    /// Delivers up to `room` records; returns true if there may be more.
    pub(super) fn read(&mut self, view: &View<'_>, room: usize, batch: &mut Batch) -> bool {
        let limit = batch.records.len() + room;
        while self.next < self.target {
            match read_slot(view, self.next) {
                SlotState::Complete(_) if batch.records.len() >= limit => return true,
                SlotState::Complete(words) => self.deliver(&to_record(&words), batch),
                SlotState::Overwritten(by) => self.skip_overwritten(view, by, batch),
                SlotState::Pending if self.is_given_up(view) => {
                    self.lose(self.next, Reason::Abandoned, batch);
                }
                SlotState::Pending => return false,
            }
        }
        if self.open.is_some_and(|loss| self.now_ns > loss.to_ns) {
            self.close(self.now_ns, batch);
        }
        self.forget();
        false
    }

    /// Gives up pending records, and closes an open loss.
    pub(super) fn finish(&mut self, view: &View<'_>, now_ns: u64, batch: &mut Batch) {
        self.target = view.head().max(self.next);
        while self.next < self.target {
            match read_slot(view, self.next) {
                SlotState::Complete(words) => self.deliver(&to_record(&words), batch),
                SlotState::Overwritten(by) => self.skip_overwritten(view, by, batch),
                SlotState::Pending => self.lose(self.next, Reason::Abandoned, batch),
            }
        }
        self.close(now_ns, batch);
    }

    /// The watermark of this ring: no later record is older.
    pub(super) fn watermark_ns(&self) -> u64 {
        let bound = self.bound_ns();
        self.open.map_or(bound, |loss| loss.from_ns.min(bound))
    }

    /// A time before which `next` was not claimed.
    fn bound_ns(&self) -> u64 {
        let bounds = self.history.iter().take_while(|(head, _)| *head <= self.next);
        let by_head = bounds.last().map_or(0, |&(_, bound)| bound);
        by_head.max(self.backlog.as_ref().map_or(0, |backlog| backlog.bound_ns(self.next)))
    }

    /// Drops history entries that no longer bound `next`.
    fn forget(&mut self) {
        while self.history.get(1).is_some_and(|(head, _)| *head <= self.next) {
            self.history.pop_front();
        }
    }

    fn deliver(&mut self, record: &Record, batch: &mut Batch) {
        if !self.is_sound(record) {
            return self.lose(self.next, Reason::Corrupt, batch);
        }
        // Lost records before this one were also claimed before it.
        self.close(record.time_ns, batch);
        batch.records.push(*record);
        self.advance(self.next + 1);
    }

    const fn is_sound(&self, record: &Record) -> bool {
        record.magic == MAGIC
            && record.schema == SCHEMA
            && record.run == self.run
            && self.sharing.of_cpu(record.cpu) == self.number
            && record.seq == self.ring.sequence(self.next)
            && record.guard == guard(self.next)
    }

    /// Skips overwritten positions, far enough that the reader is not overtaken again at once.
    fn skip_overwritten(&mut self, view: &View<'_>, by: u64, batch: &mut Batch) {
        let head = view.head();
        if by >= head || (by - self.next) & (view.capacity() - 1) != 0 {
            // That position cannot have been claimed, or not in this slot: this is not a header.
            return self.lose(self.next, Reason::Corrupt, batch);
        }
        let resume = head.saturating_sub(view.capacity()) + margin(view);
        self.lose(resume.saturating_sub(1).clamp(self.next, head - 1), Reason::Overwritten, batch);
    }

    fn is_given_up(&mut self, view: &View<'_>) -> bool {
        let &mut (_, since_ns) = self.stalled.get_or_insert((self.target, self.now_ns));
        let lapped = view.head().saturating_sub(self.next) >= view.capacity() - margin(view);
        let seen_ns = self.now_ns.saturating_sub(since_ns);
        let age_ns = self.now_ns.saturating_sub(self.bound_ns());
        lapped || seen_ns >= STALL_SEEN_NS && age_ns >= STALL_LIMIT_NS
    }

    /// Whether an unfinished record holds up the stream.
    pub(super) const fn is_stalled(&self) -> bool {
        self.stalled.is_some()
    }

    /// Counts the positions from `next` to `last` as lost.
    fn lose(&mut self, last: u64, reason: Reason, batch: &mut Batch) {
        let first = self.next;
        match &mut self.open {
            Some(loss) if loss.reason == reason && loss.last + 1 == first => {
                loss.last = last;
                loss.to_ns = self.now_ns;
            }
            _ => {
                self.close(self.now_ns, batch);
                let (ring, from_ns, to_ns) = (self.ring, self.bound_ns(), self.now_ns);
                self.open = Some(Loss {
                    cpu: Some(self.number),
                    ring,
                    first,
                    last,
                    from_ns,
                    to_ns,
                    reason,
                    hook: None,
                });
            }
        }
        self.advance(last + 1);
    }

    fn close(&mut self, to_ns: u64, batch: &mut Batch) {
        if let Some(loss) = self.open.take() {
            batch.losses.push(Loss { to_ns: to_ns.max(loss.from_ns), ..loss });
        }
    }

    fn advance(&mut self, next: u64) {
        self.next = next;
        self.stalled.take_if(|(head, _)| *head <= next);
        self.forget();
    }
}

const fn margin(view: &View<'_>) -> u64 {
    view.capacity() / 8
}

fn read_slot(view: &View<'_>, position: u64) -> SlotState {
    let slot = view.slot(position);
    loop {
        let header = slot[0].load(Ordering::Acquire);
        if header != committed(position) {
            let held = header & !BUSY;
            return if held > committed(position) {
                SlotState::Overwritten(held - 1)
            } else {
                SlotState::Pending
            };
        }
        let words = copy(&slot[1..]);
        fence(Ordering::Acquire);
        // A producer must claim the header before it writes into the slot.
        if slot[0].load(Ordering::Relaxed) == header {
            return SlotState::Complete(words);
        }
        // The slot is being overwritten: read its new state.
    }
}

fn copy(slot: &[AtomicU64]) -> Words {
    let mut words = [0; WORDS];
    for (word, shared) in words.iter_mut().zip(slot) {
        *word = shared.load(Ordering::Relaxed);
    }
    words
}
