//! The files of a recording: how they are called, when another one begins, and which are kept.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::dump::sequence::numbered;

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
    /// A file that nobody else may read: it says what is where in the kernel's memory.
    File(File),
    /// A pipe.
    Stdout(io::Stdout),
    /// A segment of a flight recorder.
    Memory(Vec<u8>),
}

impl Out {
    /// What has been written is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        match self {
            Self::File(file) => file.sync_data(),
            Self::Stdout(_) | Self::Memory(_) => Ok(()),
        }
    }

    /// Takes back what was written in part.
    pub(super) fn cut(&self, length: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.set_len(length),
            Self::Stdout(_) | Self::Memory(_) => Ok(()),
        }
    }

    /// Somebody has removed the file: what is written is lost when it is closed.
    #[cfg(unix)]
    pub(super) fn has_vanished(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        match self {
            Self::File(file) => file.metadata().is_ok_and(|metadata| metadata.nlink() == 0),
            Self::Stdout(_) | Self::Memory(_) => false,
        }
    }

    /// It cannot be told.
    #[cfg(not(unix))]
    pub(super) const fn has_vanished(&self) -> bool {
        false
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Stdout(stdout) => stdout.write(bytes),
            Self::Memory(segment) => segment.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(_) | Self::Memory(_) => Ok(()),
            Self::Stdout(stdout) => stdout.flush(),
        }
    }
}

/// The files of one recording.
#[derive(Debug)]
pub(super) struct Files {
    path: Option<PathBuf>,
    limits: Limits,
    kept: VecDeque<PathBuf>,
    created: u32,
    began: Instant,
}

impl Files {
    pub(super) fn new(path: Option<PathBuf>, limits: Limits) -> Self {
        Self {
            path,
            limits,
            kept: VecDeque::new(),
            created: 0,
            began: Instant::now(),
        }
    }

    /// How many there were.
    pub(super) const fn created(&self) -> u32 {
        self.created
    }

    /// The one that is written; `None`: stdout.
    pub(super) fn path(&self) -> Option<&PathBuf> {
        self.kept.back().or(self.path.as_ref())
    }

    /// The same for messages.
    pub(super) fn current(&self) -> String {
        self.path()
            .map_or_else(|| "stdout".to_owned(), |path| path.display().to_string())
    }

    /// The next one: `FILE`, then `FILE.1`, `FILE.2` and so on. Those that exist are left alone.
    pub(super) fn create(&mut self) -> io::Result<Out> {
        self.began = Instant::now();
        let Some(path) = &self.path else {
            self.created += 1;
            return Ok(Out::Stdout(io::stdout()));
        };
        let path = numbered(path, self.created);
        let file = create(&path)?;
        self.created += 1;
        self.kept.push_back(path);
        Ok(Out::File(file))
    }

    /// It is time for another one, when the current one has so many bytes.
    pub(super) fn is_due(&self, written: u64) -> bool {
        let by_size = self.limits.max_size.is_some_and(|max_size| written >= max_size);
        let by_age = self
            .limits
            .max_age
            .is_some_and(|max_age| self.began.elapsed() >= max_age);
        self.path.is_some() && (by_size || by_age)
    }

    /// Removes the oldest ones.
    pub(super) fn prune(&mut self) -> io::Result<()> {
        let Some(keep) = self.limits.keep else {
            return Ok(());
        };
        while self.kept.len() > keep.max(1) {
            if let Some(path) = self.kept.pop_front() {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    removed => removed?,
                }
            }
        }
        Ok(())
    }
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}
