//! The files of a recording: their names, their rotation, and their removal.

use std::{
    collections::VecDeque,
    io::{self, Write},
    path::Path,
    time::{Duration, Instant},
};

use p2p_trace_model::text::Text;

use crate::outfile::{Destination, OutFile, OutputError, Placed};

/// When to rotate, and how many files to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Rotate when a file has this size in bytes.
    pub(crate) max_size: Option<u64>,
    /// Rotate when a file has this age.
    pub(crate) max_age: Option<Duration>,
    /// The number of files to keep, newest first; `None`: all.
    pub(crate) keep: Option<usize>,
}

/// The destination of a dump.
#[derive(Debug)]
pub(super) enum Out {
    /// A file, or a pipe.
    File(OutFile),
    /// A segment of a flight recorder.
    Memory(Vec<u8>),
}

impl Out {
    /// Waits until the written data is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        match self {
            Self::File(file) => file.sync(),
            Self::Memory(_) => Ok(()),
        }
    }

    /// Truncates a file to `length`.
    pub(super) fn cut(&self, length: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.cut(length),
            Self::Memory(_) => Ok(()),
        }
    }

    /// Whether the file was removed, so that written data is lost when it is closed.
    pub(super) fn has_vanished(&self) -> bool {
        match self {
            Self::File(file) => file.has_vanished(),
            Self::Memory(_) => false,
        }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Memory(segment) => segment.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Memory(_) => Ok(()),
        }
    }
}

/// The files of one recording.
#[derive(Debug)]
pub(super) struct Files {
    destination: Destination,
    limits: Limits,
    kept: VecDeque<Placed>,
    created: u32,
    /// The number of the next file.
    next: u32,
    began: Instant,
}

/// Attempts to find a free number, if other processes create files at the same time.
const TRIES: u32 = 16;

impl Files {
    /// Continues after the files of earlier runs, which count for the limit: otherwise a service that is restarted often would fill
    /// the disk.
    pub(super) fn new(destination: Destination, limits: Limits) -> Result<Self, OutputError> {
        let kept = if limits.keep.is_some() { destination.earlier().into() } else { VecDeque::new() };
        let next = destination.first_number()?;
        if next > 0 {
            let name = destination.name();
            let keep = limits.keep.map(|keep| format!("; the newest {keep} files are kept"));
            let keep = keep.unwrap_or_default();
            tracing::info!("{name} is of an earlier run: this run starts with {name}.{next}{keep}");
        }
        Ok(Self { destination, limits, kept, created: 0, next, began: Instant::now() })
    }

    /// The number of files that were created.
    pub(super) const fn created(&self) -> u32 {
        self.created
    }

    /// The path of the current file.
    pub(super) fn path(&self) -> &Path {
        self.kept.back().map_or_else(|| self.destination.path(), Placed::path)
    }

    /// The path of the current file, for messages.
    pub(super) fn current(&self) -> Text {
        self.kept.back().map_or_else(|| self.destination.name().into(), |placed| placed.path().into())
    }

    /// Creates the next file: `FILE`, then `FILE.1`, `FILE.2` and so on, skipping names that exist. The name becomes permanent when
    /// the file is published.
    pub(super) fn create(&mut self) -> Result<OutFile, OutputError> {
        self.began = Instant::now();
        let mut created = self.destination.create_numbered(self.next);
        for _ in 0..TRIES {
            match &created {
                // A run in one file uses only the given name.
                Err(error) if self.can_skip() && error.is_in_the_way() => {
                    self.next = self.destination.next_free()?;
                    created = self.destination.create_numbered(self.next);
                }
                _ => break,
            }
        }
        created
    }

    const fn can_skip(&self) -> bool {
        self.destination.is_series() || self.next > 0
    }

    /// Makes the name of the latest file permanent, once its header is written.
    pub(super) fn publish(&mut self, file: &mut OutFile) -> Result<(), OutputError> {
        let published = file.publish();
        // If another file has the name now, it is not replaced: the next file gets the next number.
        self.created += 1;
        self.next = self.next.saturating_add(1);
        if published.is_ok() {
            self.kept.extend(file.placed());
        }
        published
    }

    /// Whether to rotate, if the current file has `written` bytes.
    pub(super) fn is_due(&self, written: u64) -> bool {
        let by_size = self.limits.max_size.is_some_and(|max_size| written >= max_size);
        let by_age = self.limits.max_age.is_some_and(|max_age| self.began.elapsed() >= max_age);
        self.destination.is_file() && (by_size || by_age)
    }

    /// Removes the oldest files beyond the limit, but none that another recorder is still writing. Such a file does not count,
    /// and is removed later, once it is closed.
    pub(super) fn prune(&mut self) -> io::Result<()> {
        let Some(keep) = self.limits.keep else {
            return Ok(());
        };
        let mut busy = Vec::new();
        let mut pruned = Ok(());
        while pruned.is_ok() && self.kept.len() > keep.max(1) {
            let Some(oldest) = self.kept.pop_front() else { break };
            match oldest.prune() {
                Ok(true) => {}
                Ok(false) => busy.push(oldest),
                Err(error) => pruned = Err(error),
            }
        }
        for file in busy.into_iter().rev() {
            self.kept.push_front(file);
        }
        pruned
    }
}
