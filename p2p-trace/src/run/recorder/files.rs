//! The files of a recording: how they are called, when another one begins, and which are kept.

use std::{
    collections::VecDeque,
    io::{self, Write},
    path::Path,
    time::{Duration, Instant},
};

use p2p_trace_model::text::Text;

use crate::outfile::{Destination, OutFile, OutputError, Placed};

/// When to begin another file, and how many to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// A file that has grown so large is the last but one.
    pub(crate) max_size: Option<u64>,
    /// The same for one so old.
    pub(crate) max_age: Option<Duration>,
    /// So many files are kept, the latest; `None`: all.
    pub(crate) keep: Option<usize>,
}

/// Where a dump goes.
#[derive(Debug)]
pub(super) enum Out {
    /// A file, or a pipe.
    File(OutFile),
    /// A segment of a flight recorder.
    Memory(Vec<u8>),
}

impl Out {
    /// What has been written is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        match self {
            Self::File(file) => file.sync(),
            Self::Memory(_) => Ok(()),
        }
    }

    /// Takes back what was written in part.
    pub(super) fn cut(&self, length: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.cut(length),
            Self::Memory(_) => Ok(()),
        }
    }

    /// Somebody has removed the file: what is written is lost when it is closed.
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
    /// The number of the next one.
    next: u32,
    began: Instant,
}

/// Free numbers that are tried, where others create files beside this run.
const TRIES: u32 = 16;

impl Files {
    /// Goes on behind the files of earlier runs, which count for how many are kept: a service that is started again and again
    /// would fill the disk otherwise.
    pub(super) fn new(destination: Destination, limits: Limits) -> Result<Self, OutputError> {
        let kept = if limits.keep.is_some() { destination.earlier().into() } else { VecDeque::new() };
        let next = destination.first_number()?;
        if next > 0 {
            let name = destination.name();
            let keep = limits.keep.map(|keep| format!("; the latest {keep} are kept"));
            let keep = keep.unwrap_or_default();
            tracing::info!("{name} is of an earlier run: this one begins with {name}.{next}{keep}");
        }
        Ok(Self { destination, limits, kept, created: 0, next, began: Instant::now() })
    }

    /// How many there were.
    pub(super) const fn created(&self) -> u32 {
        self.created
    }

    /// The one that is written.
    pub(super) fn path(&self) -> &Path {
        self.kept.back().map_or_else(|| self.destination.path(), Placed::path)
    }

    /// The same for messages.
    pub(super) fn current(&self) -> Text {
        self.kept.back().map_or_else(|| self.destination.name().into(), |placed| placed.path().into())
    }

    /// The next one: `FILE`, then `FILE.1`, `FILE.2` and so on, past what has such a name. It has its name for good only when
    /// it is published.
    pub(super) fn create(&mut self) -> Result<OutFile, OutputError> {
        self.began = Instant::now();
        let mut created = self.destination.create_numbered(self.next);
        for _ in 0..TRIES {
            match &created {
                // A run in one file has the name that was asked for, or none.
                Err(error) if self.can_go_on() && error.is_in_the_way() => {
                    self.next = self.destination.next_free()?;
                    created = self.destination.create_numbered(self.next);
                }
                _ => break,
            }
        }
        created
    }

    const fn can_go_on(&self) -> bool {
        self.destination.is_series() || self.next > 0
    }

    /// The file that was created last has its beginning, and takes its place.
    pub(super) fn publish(&mut self, file: &mut OutFile) -> Result<(), OutputError> {
        let published = file.publish();
        // What is in the way of this one stays there: the next one has another name.
        self.created += 1;
        self.next = self.next.saturating_add(1);
        if published.is_ok() {
            self.kept.extend(file.placed());
        }
        published
    }

    /// It is time for another one, when the current one has so many bytes.
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
