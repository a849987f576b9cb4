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

use crate::{
    account::Status,
    drive::stop::Stop,
    source::{Batch, Image, Session, SessionError, Totals},
};

/// How long to wait for something to read. Short enough that the rings do not overflow at rates that a
/// machine reaches for long.
const WAIT: Duration = Duration::from_millis(20);

/// Records in one batch.
const BUDGET: usize = 4096;

/// Records that may wait for their order; beyond it the rings absorb.
const BACKLOG: usize = 1 << 18;

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

/// What the other end tells the reader.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Records that wait there for their order.
    pub(crate) backlog: AtomicUsize,
    /// Somebody wants the kernel's own state.
    pub(crate) pull: AtomicBool,
    /// What the kernel's memory is to hold for a memory dump, if it is to hold anything new.
    image: Mutex<Option<Image>>,
}

impl Shared {
    /// Has the reader mirror an image.
    pub(crate) fn mirror(&self, image: Option<Image>) {
        if image.is_some() {
            *self.image.lock().unwrap_or_else(PoisonError::into_inner) = image;
        }
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
    pub(crate) shared: &'a Shared,
    pub(crate) sender: SyncSender<Message>,
}

impl Reader<'_> {
    /// Reads until it is time to stop or nobody listens, then detaches, drains and counts.
    pub(crate) fn run(mut self) -> Result<(), SessionError> {
        let start = Instant::now();
        let mut batch = Batch::default();
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
            drop(self.sender.send(Message::End(Ending {
                totals,
                duration,
                is_whole: true,
            })));
        }
        Ok(())
    }

    /// Returns the status that could not be sent yet.
    fn read(&mut self, batch: &mut Batch) -> Result<Option<Box<Status>>, SessionError> {
        let mut status = None;
        let mut wait = WAIT;
        while !self.is_over() {
            self.session.wait(self.deadline.map_or(wait, |deadline| {
                wait.min(deadline.saturating_duration_since(Instant::now()))
            }));
            if self.shared.pull.swap(false, Ordering::Relaxed) {
                self.session.pull();
            }
            if let Some(image) = self.shared.take_image() {
                self.session.mirror(&image);
            }
            let ordered = self.shared.backlog.load(Ordering::Relaxed) < BACKLOG;
            let budget = if ordered {
                BUDGET.saturating_sub(batch.records.len())
            } else {
                0
            };
            self.session.poll(budget, batch)?;
            if mem::take(&mut batch.changed) {
                status = Some(Box::new(self.session.status()));
            }
            // A full batch means that there is more.
            wait = if batch.records.len() < BUDGET {
                WAIT
            } else {
                Duration::ZERO
            };
            match self
                .sender
                .try_send(Message::Batch(mem::take(batch), status.take()))
            {
                Ok(()) => {}
                Err(TrySendError::Full(Message::Batch(unsent, unsent_status))) => {
                    (*batch, status) = (unsent, unsent_status);
                    wait = WAIT;
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
