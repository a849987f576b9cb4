//! The thread that reads the session. It neither formats nor writes, and does not wait for the threads that do.

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

/// How long to wait for more records.
const WAIT: Duration = Duration::from_millis(10);

/// How long to wait at most when there are no records. Rare events end the wait.
const IDLE: Duration = Duration::from_millis(50);

/// Events per second that one CPU may write without a loss: a million.
const RATE: u64 = 1_000_000;

/// How often an empty batch reports that time has passed.
const BEAT: Duration = Duration::from_millis(100);

/// Records in one batch.
const BUDGET: usize = 4096;

/// Records that may wait for their order. With more, records stay in the rings.
const BACKLOG: usize = 1 << 18;

/// How long to wait at most when there are no records: until a CPU that writes at [`RATE`] has filled three quarters of its
/// ring. The rest is for the time until the reader thread gets to run.
pub(crate) fn idle(status: &Status) -> Duration {
    let slots = status.rings.hot / SLOT_SIZE as u64;
    Duration::from_nanos(slots * 3 / 4 * (1_000_000_000 / RATE)).clamp(Duration::from_millis(1), IDLE)
}

/// A message of the reader.
pub(crate) enum Message {
    /// Records, and the status if it has changed.
    Batch(Batch, Option<Box<Status>>),
    /// The last message: everything was read.
    End(Ending),
}

/// The totals of a run.
pub(crate) struct Ending {
    pub(crate) totals: Totals,
    pub(crate) duration: Duration,
    /// The totals are those of the run. False for a dump that ends before its run: the totals are unknown then.
    pub(crate) is_whole: bool,
}

impl Ending {
    /// From the attach to the detach, in nanoseconds.
    pub(crate) fn duration_ns(&self) -> u64 {
        u64::try_from(self.duration.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Batches that are kept for reuse: touching new memory costs more than filling it.
const SPARE: usize = 16;

/// The state that the other thread shares with the reader.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Records that wait for their order there.
    pub(crate) backlog: AtomicUsize,
    /// A snapshot of the kernel's state is requested.
    pub(crate) snapshot: AtomicBool,
    /// The next crash image, if there is a new one.
    image: Mutex<Option<Image>>,
    /// Batches that were processed.
    spare: Mutex<Vec<Batch>>,
}

impl Shared {
    /// Requests the reader to write an image into the kernel's memory.
    pub(crate) fn crash_image(&self, image: Option<Image>) {
        if image.is_some() {
            *self.image.lock().unwrap_or_else(PoisonError::into_inner) = image;
        }
    }

    /// Returns a processed batch for reuse.
    pub(crate) fn recycle(&self, mut batch: Batch) {
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
        // If the lock is held, try the next time.
        self.image.try_lock().ok()?.take()
    }
}

/// A session, and everything that its thread needs.
pub(crate) struct Reader<'a> {
    pub(crate) session: Box<dyn Session>,
    pub(crate) stop: &'a Stop,
    pub(crate) deadline: Option<Instant>,
    /// The longest wait when there are no records: [`idle`].
    pub(crate) idle: Duration,
    pub(crate) shared: &'a Shared,
    pub(crate) sender: SyncSender<Message>,
}

impl Reader<'_> {
    /// Reads until it is time to stop or the receiver is closed, then detaches, reads the remaining records, and counts.
    pub(crate) fn run(mut self) -> Result<(), SessionError> {
        let start = Instant::now();
        self.session.reading();
        let mut batch = self.shared.empty_batch();
        let read = self.read(&mut batch);
        let duration = start.elapsed();
        // Detach in any case, even after an error.
        self.session.detach()?;
        // The status from before the detach: afterwards every hook is off.
        let status = read?;
        self.session.finish(&mut batch)?;
        let totals = self.session.totals()?;
        let sent = self.sender.send(Message::Batch(batch, status));
        if sent.is_ok() {
            // If the receiver is closed, the totals are not needed.
            drop(self.sender.send(Message::End(Ending { totals, duration, is_whole: true })));
        }
        Ok(())
    }

    /// Returns a status that could not be sent yet.
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
                // A full batch means that more records are waiting.
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
                    self.shared.recycle(mem::replace(batch, unsent));
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
    fn the_wait_depends_on_the_ring_size() {
        let idle_of =
            |hot| idle(&Status { rings: RingSizes { hot, rare: 0, count: 4 }, ..samples::status() });
        assert_eq!(idle_of(8 << 20), Duration::from_micros(49_152));
        assert_eq!(idle_of(2 << 20), Duration::from_micros(12_288));
        assert_eq!(idle_of(4096), Duration::from_millis(1), "a tiny ring");
        assert_eq!(idle_of(1 << 30), IDLE, "a huge ring");
    }
}
