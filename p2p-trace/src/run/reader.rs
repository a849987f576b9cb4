//! The thread that reads: it never formats, never writes, and never waits for whoever does.

use std::{
    mem,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{SyncSender, TrySendError},
    },
    time::{Duration, Instant},
};

use p2p_trace_common::slot::SLOT_SIZE;
use p2p_trace_model::{
    accounting::{Status, Totals},
    stream::Batch,
};
use p2p_trace_probe::transport::{Image, Session, SessionError};

use crate::run::stop::Stop;

/// How long to wait for more to read.
const WAIT: Duration = Duration::from_millis(10);

/// How long to wait at most when nothing comes; rare events end the wait.
const IDLE: Duration = Duration::from_millis(50);

/// What one CPU may begin to write at any time without a loss: a million events a second.
const RATE: u64 = 1_000_000;

/// How often the other end is told that time has passed, when nothing has come.
const BEAT: Duration = Duration::from_millis(100);

/// Records in one batch.
const BUDGET: usize = 4096;

/// Records that may wait for their order; beyond it the rings absorb.
const BACKLOG: usize = 1 << 18;

/// How long to wait at most when nothing comes, so that what a CPU writes meanwhile at [`RATE`] fills three quarters of its ring:
/// the rest is for the reader's way to a CPU.
pub(crate) fn idle(status: &Status) -> Duration {
    let slots = status.rings.hot / SLOT_SIZE as u64;
    Duration::from_nanos(slots * 3 / 4 * (1_000_000_000 / RATE)).clamp(Duration::from_millis(1), IDLE)
}

/// What the reader sends.
pub(crate) enum Message {
    /// Records, and what is attached if that has changed.
    Batch(Batch, Option<Box<Status>>),
    /// The last: everything has been read.
    End(Ending),
}

/// What is known at the end.
pub(crate) struct Ending {
    pub(crate) totals: Totals,
    pub(crate) duration: Duration,
    /// The totals are the run's. Else it is a dump that ends before the run did, and they are not known.
    pub(crate) is_whole: bool,
}

impl Ending {
    /// From the attach to the detach, in nanoseconds.
    pub(crate) fn duration_ns(&self) -> u64 {
        u64::try_from(self.duration.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Batches whose memory is kept for those to come: touching new memory costs more than filling it.
const SPARE: usize = 16;

/// What the other end tells the reader.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Records that wait there for their order.
    pub(crate) backlog: AtomicUsize,
    /// Somebody wants the kernel's own state.
    pub(crate) snapshot: AtomicBool,
    /// What the kernel's memory is to hold for a memory dump, if it is to hold anything new.
    image: Mutex<Option<Image>>,
    /// Batches that have been taken in.
    spare: Mutex<Vec<Batch>>,
}

impl Shared {
    /// Has the reader mirror an image.
    pub(crate) fn crash_image(&self, image: Option<Image>) {
        if image.is_some() {
            *self.image.lock().unwrap_or_else(PoisonError::into_inner) = image;
        }
    }

    /// Returns a batch that has been taken in.
    pub(crate) fn give_back(&self, mut batch: Batch) {
        batch.clear();
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE {
            spare.push(batch);
        }
    }

    fn empty_batch(&self) -> Batch {
        let spare = self.spare.try_lock().ok().and_then(|mut spare| spare.pop());
        spare.unwrap_or_else(|| Batch { records: Vec::with_capacity(BUDGET), ..Batch::default() })
    }

    fn take_image(&self) -> Option<Image> {
        // The next time will do.
        self.image.try_lock().ok()?.take()
    }
}

/// A session with all that its thread needs.
pub(crate) struct Reader<'a> {
    pub(crate) session: Box<dyn Session>,
    pub(crate) stop: &'a Stop,
    pub(crate) deadline: Option<Instant>,
    /// How long to wait at most when nothing comes: [`idle`].
    pub(crate) idle: Duration,
    pub(crate) shared: &'a Shared,
    pub(crate) sender: SyncSender<Message>,
}

impl Reader<'_> {
    /// Reads until it is time to stop or nobody listens, then detaches, drains and counts.
    pub(crate) fn run(mut self) -> Result<(), SessionError> {
        let start = Instant::now();
        self.session.reading();
        let mut batch = self.shared.empty_batch();
        let read = self.read(&mut batch);
        let duration = start.elapsed();
        // Whatever went wrong before: what is attached must be detached.
        self.session.detach()?;
        // As it was before the detach: afterwards every hook is off.
        let status = read?;
        self.session.finish(&mut batch)?;
        let totals = self.session.totals()?;
        let sent = self.sender.send(Message::Batch(batch, status));
        if sent.is_ok() {
            // Nobody listens any more: there is nobody to tell.
            drop(self.sender.send(Message::End(Ending { totals, duration, is_whole: true })));
        }
        Ok(())
    }

    /// Returns the status that could not be sent yet.
    fn read(&mut self, batch: &mut Batch) -> Result<Option<Box<Status>>, SessionError> {
        let mut status = None;
        let idle = self.idle;
        let busy = WAIT.min(idle);
        let mut wait = busy;
        let mut sent = Instant::now();
        while !self.is_over() {
            self.session.wait(
                self.deadline
                    .map_or(wait, |deadline| wait.min(deadline.saturating_duration_since(Instant::now()))),
            );
            if self.shared.snapshot.swap(false, Ordering::Relaxed) {
                self.session.snapshot();
            }
            if let Some(image) = self.shared.take_image() {
                self.session.crash_image(&image);
            }
            let ordered = self.shared.backlog.load(Ordering::Relaxed) < BACKLOG;
            let budget = if ordered { BUDGET.saturating_sub(batch.records.len()) } else { 0 };
            self.session.poll(budget, batch)?;
            if mem::take(&mut batch.changed) {
                status = Some(Box::new(self.session.status()));
            }
            wait = match batch.records.len() {
                0 => (wait * 2).clamp(busy, idle),
                // A full batch means that there is more.
                BUDGET.. => Duration::ZERO,
                _ => busy,
            };
            if batch.is_empty() && status.is_none() && sent.elapsed() < BEAT {
                continue;
            }
            sent = Instant::now();
            match self
                .sender
                .try_send(Message::Batch(mem::replace(batch, self.shared.empty_batch()), status.take()))
            {
                Ok(()) => {}
                Err(TrySendError::Full(Message::Batch(unsent, unsent_status))) => {
                    self.shared.give_back(mem::replace(batch, unsent));
                    status = unsent_status;
                    wait = busy;
                }
                Err(_) => return Ok(None),
            }
        }
        Ok(status)
    }

    fn is_over(&self) -> bool {
        self.stop.is_set() || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p2p_trace_model::{accounting::RingSizes, testing::status as samples};

    #[test]
    fn the_wait_follows_from_the_ring() {
        let idle_of =
            |hot| idle(&Status { rings: RingSizes { hot, rare: 0, count: 4 }, ..samples::status() });
        assert_eq!(idle_of(8 << 20), Duration::from_micros(49_152));
        assert_eq!(idle_of(2 << 20), Duration::from_micros(12_288));
        assert_eq!(idle_of(4096), Duration::from_millis(1), "of a tiny ring");
        assert_eq!(idle_of(1 << 30), IDLE, "of a huge one");
    }
}
