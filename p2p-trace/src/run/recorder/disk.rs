//! The thread that writes the files.

use std::{
    io,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use p2p_trace_dump::{Checkpoint, Header, Reason, Redactor, Writer};
use p2p_trace_model::{
    accounting::{Status, Totals},
    pipeline::Slice,
    stream::Diagnostic,
    text::Text,
};

use super::{
    Options, Recorded, Shared,
    files::{Files, Out},
    flight::{Saved, Segments},
    syncs::Syncs,
};

/// Records that are not urgent are written after this time at the latest.
const FLUSH: Duration = Duration::from_secs(1);
/// The shortest time between two messages about disk errors.
const COMPLAIN: Duration = Duration::from_secs(10);
/// Bytes written between checkpoints within a file.
const CHECKPOINT: u64 = 64 << 20;

/// A message to the writing thread.
pub(super) enum Message {
    /// Slices, with the names that they need.
    Gained {
        slices: Vec<Slice>,
        names: Vec<(u64, Text)>,
        /// The size that the queue is reduced by.
        bytes: u64,
        /// Wait for the disk at once.
        is_urgent: bool,
    },
    /// Diagnostics of the kernel side.
    Diagnostics(Vec<Diagnostic>),
    /// The set of attached hooks has changed.
    Status(Box<Status>, u64),
    /// The requested checkpoint, for a new file or within the current one.
    Rotate(Box<Checkpoint>),
    /// Write the history of a flight recorder.
    Save,
    /// The end of the run.
    End { reason: Reason, duration_ns: u64, totals: Option<Totals> },
}

/// The files and their state.
pub(super) struct Disk {
    writer: Writer<Out>,
    redactor: Option<Redactor>,
    files: Files,
    /// The history of a flight recorder.
    flight: Option<Segments>,
    /// Receives the results of saving; if present, the history is written only on request.
    only_asked: Option<Sender<Saved>>,
    /// Bytes of the current file before those of the writer.
    base: u64,
    /// The start of the current segment of a flight recorder.
    began: Instant,
    shared: Arc<Shared>,
    flushed: Instant,
    syncs: Syncs,
    /// The position of the latest checkpoint in the file.
    checkpoint_at: u64,
    /// The file was removed or cannot be written to. The next rotation tries another one.
    is_lost: bool,
    complained: Option<Instant>,
    recorded: Recorded,
}

impl Disk {
    /// Creates the first file.
    pub(super) fn create(options: Options, header: Header, shared: Arc<Shared>) -> Result<Self> {
        let mut files = Files::new(options.destination, options.limits)?;
        let flight = options.flight.as_ref().map(Segments::new);
        let only_asked = options.flight.and_then(|flight| flight.only_asked);
        let out = if flight.is_some() { Out::Memory(Vec::new()) } else { Out::File(files.create()?) };
        let redactor = options.redact.then(Redactor::random);
        let header = match &redactor {
            Some(redactor) => redactor.header(header),
            None => header,
        };
        let mut writer = Writer::new(out, header).context("cannot write the dump")?;
        if let Out::File(file) = writer.get_mut() {
            files.publish(file)?;
            // A run may end before its first rotation, so prune here as well.
            if let Err(error) = files.prune() {
                tracing::warn!("cannot remove an old dump: {error}");
            }
        }
        Ok(Self {
            writer,
            redactor,
            files,
            flight,
            only_asked,
            base: 0,
            began: Instant::now(),
            shared,
            flushed: Instant::now(),
            syncs: Syncs::default(),
            checkpoint_at: 0,
            is_lost: false,
            complained: None,
            recorded: Recorded::default(),
        })
    }

    /// Writes until the end of the run.
    pub(super) fn run(mut self, messages: &Receiver<Message>) -> Recorded {
        loop {
            let due = FLUSH.saturating_sub(self.flushed.elapsed());
            let is_urgent = match messages.recv_timeout(due) {
                Ok(Message::End { reason, duration_ns, totals }) => {
                    return self.end(reason, duration_ns, totals);
                }
                Ok(message) => {
                    let mut is_urgent = self.process(message);
                    // Process all waiting messages before one wait for the disk.
                    while let Ok(message) = messages.try_recv() {
                        if let Message::End { reason, duration_ns, totals } = message {
                            return self.end(reason, duration_ns, totals);
                        }
                        is_urgent |= self.process(message);
                    }
                    is_urgent
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return self.end(Reason::Broken, 0, None),
            };
            if is_urgent || self.flushed.elapsed() >= FLUSH {
                self.flush(is_urgent);
            }
        }
    }

    /// Processes a message. Returns whether its data must reach the disk at once.
    fn process(&mut self, message: Message) -> bool {
        match message {
            Message::Gained { mut slices, mut names, bytes, is_urgent } => {
                if let Some(redactor) = &self.redactor {
                    slices = slices.into_iter().map(|slice| redactor.slice(slice)).collect();
                    for (address, _) in &mut names {
                        *address = redactor.address(*address);
                    }
                }
                self.attempt(|writer| {
                    names.iter().try_for_each(|(address, name)| writer.symbol(*address, name))
                });
                for slice in &slices {
                    self.attempt(|writer| writer.slice(slice));
                }
                self.shared.queued.fetch_sub(bytes, Ordering::Relaxed);
                is_urgent
            }
            Message::Diagnostics(mut diagnostics) => {
                if let Some(redactor) = &self.redactor {
                    diagnostics =
                        diagnostics.iter().map(|diagnostic| redactor.diagnostic(diagnostic)).collect();
                }
                self.attempt(|writer| writer.diagnostics(diagnostics));
                false
            }
            Message::Status(mut status, time_ns) => {
                if let Some(redactor) = &self.redactor {
                    *status = redactor.status(*status);
                }
                self.attempt(|writer| writer.status(&status, time_ns));
                true
            }
            Message::Rotate(mut checkpoint) => {
                if let Some(redactor) = &self.redactor {
                    *checkpoint = redactor.checkpoint(*checkpoint);
                }
                if self.flight.is_some() {
                    self.next_segment(&checkpoint);
                } else {
                    self.rotate(&checkpoint);
                }
                false
            }
            Message::Save => {
                self.save();
                true
            }
            Message::End { .. } => false,
        }
    }

    fn flush(&mut self, is_urgent: bool) {
        self.flushed = Instant::now();
        self.attempt(Writer::flush);
        if (is_urgent || self.syncs.is_due(Instant::now(), self.in_file())) && !self.is_lost {
            self.sync();
        }
        if self.writer.get_ref().has_vanished() && !self.is_lost {
            self.is_lost = true;
            let gone = io::Error::new(io::ErrorKind::NotFound, "the file was removed");
            self.note(Err(gone));
        }
        let written = self.writer.written();
        let since_checkpoint = written.saturating_sub(self.checkpoint_at);
        let is_due = match &mut self.flight {
            Some(flight) => {
                flight.forget(Instant::now(), written);
                flight.is_due(self.began.elapsed(), since_checkpoint)
            }
            None => self.files.is_due(written) || since_checkpoint >= CHECKPOINT,
        };
        if is_due || self.is_lost {
            self.shared.wants_checkpoint.store(true, Ordering::Relaxed);
        }
    }

    /// Waits until the written data is on the disk. This also reports errors of the disk.
    fn sync(&mut self) {
        self.syncs.note(Instant::now(), self.in_file());
        let synced = self.writer.get_ref().sync();
        self.note(synced);
    }

    /// Starts the next file, or writes only a checkpoint if the current file is not due.
    fn rotate(&mut self, checkpoint: &Checkpoint) {
        if !self.is_lost && !self.files.is_due(self.writer.written()) {
            self.attempt(|writer| writer.checkpoint(checkpoint));
            self.checkpoint_at = self.writer.written();
            return;
        }
        self.attempt(Writer::flush);
        let out = match self.files.create() {
            Ok(out) => out,
            Err(error) => return self.note(Err(error.into())),
        };
        self.recorded.bytes += self.writer.written();
        match self.writer.rotate(Out::File(out), checkpoint) {
            Ok(before) => {
                let synced = before.sync();
                self.note(synced);
            }
            Err(error) => self.note(Err(error)),
        }
        self.is_lost = false;
        if let Out::File(file) = self.writer.get_mut()
            && let Err(error) = self.files.publish(file)
        {
            self.is_lost = true;
            self.note(Err(error.into()));
        }
        // Before an older file is removed.
        self.sync();
        self.checkpoint_at = self.writer.written();
        let pruned = self.files.prune();
        self.note(pruned);
    }

    /// Starts the next segment of a flight recorder, in memory.
    fn next_segment(&mut self, checkpoint: &Checkpoint) {
        self.attempt(Writer::flush);
        let in_file = self.in_file();
        match self.writer.rotate(Out::Memory(Vec::new()), checkpoint) {
            Ok(Out::Memory(segment)) => {
                if let Some(flight) = &mut self.flight {
                    flight.push(Instant::now(), segment);
                }
            }
            Ok(before) => {
                self.recorded.bytes += in_file;
                let synced = before.sync();
                self.note(synced);
            }
            Err(error) => self.note(Err(error)),
        }
        self.base = 0;
        self.is_lost = false;
        self.began = Instant::now();
        self.checkpoint_at = self.writer.written();
    }

    /// Writes the history of a flight recorder to a file. The current segment continues in that file.
    fn save(&mut self) {
        self.attempt(Writer::flush);
        let (Some(flight), Out::Memory(current)) = (&mut self.flight, self.writer.get_ref()) else {
            // The current segment is already in a file.
            return self.reply(None);
        };
        let saved = self.files.create().and_then(|mut out| {
            let written = flight.write_to(&mut out, current);
            written.map_err(|error| out.write_error(error))?;
            self.files.publish(&mut out)?;
            Ok(out)
        });
        match saved {
            Ok(out) => {
                self.base = flight.clear();
                *self.writer.get_mut() = Out::File(out);
                self.sync();
                tracing::info!("the history is written to {}", self.files.current());
                self.reply(None);
            }
            // The history stays in memory for the next attempt.
            Err(error) if self.only_asked.is_some() => self.reply(Some(error.to_string().into())),
            Err(error) => self.note(Err(error.into())),
        }
        let pruned = self.files.prune();
        self.note(pruned);
    }

    /// Sends the path of the file, or the error, to the requester.
    fn reply(&self, error: Option<Text>) {
        let Some(sender) = &self.only_asked else { return };
        let saved = match error {
            None => Ok(self.files.path().to_owned()),
            Some(error) => Err(error),
        };
        // The requester may have exited.
        drop(sender.send(saved));
    }

    /// Bytes of the current file.
    const fn in_file(&self) -> u64 {
        self.base + self.writer.written()
    }

    /// Runs a write. Data that a full disk cannot store is missing in the dump, which shows in its counts.
    fn attempt(&mut self, write: impl FnOnce(&mut Writer<Out>) -> io::Result<()>) {
        let result = write(&mut self.writer);
        if result.is_err() {
            // Remove a partly written block, which would waste space. Readers can skip it if this fails.
            drop(self.writer.get_ref().cut(self.in_file()));
        }
        self.note(result);
    }

    fn note(&mut self, result: io::Result<()>) {
        let Err(error) = result else { return };
        if error.kind() == io::ErrorKind::BrokenPipe {
            self.shared.closed.store(true, Ordering::Relaxed);
            return;
        }
        let message = format!("cannot write the dump {}: {error}", self.files.current());
        if self.complained.is_none_or(|at| at.elapsed() >= COMPLAIN) {
            self.complained = Some(Instant::now());
            tracing::error!("{message}; tracing continues");
        }
        self.recorded.error.get_or_insert(message);
    }

    fn end(mut self, reason: Reason, duration_ns: u64, totals: Option<Totals>) -> Recorded {
        self.flush(false);
        if reason == Reason::Broken && self.only_asked.is_none() {
            self.save();
        }
        if matches!(self.writer.get_ref(), Out::Memory(_)) {
            // A flight recorder without a finding or a request writes nothing.
            self.recorded.files = self.files.created();
            return self.recorded;
        }
        let result = self.writer.end(reason, duration_ns, totals);
        self.note(result);
        let synced = self.writer.get_ref().sync();
        self.note(synced);
        self.recorded.bytes += self.in_file();
        self.recorded.files = self.files.created();
        self.recorded
    }
}
