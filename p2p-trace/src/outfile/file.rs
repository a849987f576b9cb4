//! A file that is being written.

use std::{
    fs::{self, File},
    hash::{BuildHasher as _, RandomState},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use p2p_trace_dump::MAGIC;
use p2p_trace_model::text::Text;

use super::{
    OutputError, folder,
    identity::Identity,
    inspect::{create_error, expect_replaceable, inspect},
    lock::{self, Lock},
};

/// Attempts to find a name for a temporary file.
const TRIES: u64 = 16;

/// Numbers to try if a file of the name exists.
#[cfg(feature = "tui")]
const NUMBERS: u32 = 1000;

/// A new file, or a stream. A file that is dropped before it is published is removed.
#[derive(Debug)]
pub(crate) struct OutFile {
    file: Arc<File>,
    path: PathBuf,
    state: State,
}

/// The state of the file's name.
#[derive(Debug)]
enum State {
    /// The file has its final name, but is removed if it is not published.
    Created,
    /// The file has a temporary name until it replaces an existing file.
    Temporary { at: PathBuf, inputs: Vec<Identity> },
    /// The file stays.
    Published,
    /// The file was opened elsewhere.
    Stream,
}

impl OutFile {
    /// Creates a file. Fails if the name exists, even as a link, or the file cannot be created.
    pub(crate) fn create(path: &Path) -> Result<Self, OutputError> {
        match lock::create(path) {
            Ok(file) => Ok(Self::new(file, path, State::Created)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // The error depends on the kind of the existing file.
                inspect(path, &[], false)?;
                Err(OutputError::Exists(path.to_owned()))
            }
            Err(cause) => Err(create_error(path, cause)),
        }
    }

    /// Creates a file of this name in a folder, or with a number after the name if the name exists. Fails if it cannot be created, or
    /// all numbers are in use.
    #[cfg(feature = "tui")]
    pub(crate) fn create_in(folder: &Path, name: &str) -> Result<Self, OutputError> {
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let mut created = Self::create(&folder.join(name));
        for number in 1..NUMBERS {
            // The name exists.
            let Err(OutputError::Exists(_) | OutputError::Link(_) | OutputError::Folder(_)) = created else {
                break;
            };
            created = Self::create(&folder.join(format!("{stem}-{number}.{extension}")));
        }
        created
    }

    /// Creates a file that replaces an existing one when it is published. Fails if the existing file must not be replaced, or the new
    /// one cannot be created in its folder.
    pub(super) fn replace(path: &Path, inputs: &[Identity]) -> Result<Self, OutputError> {
        expect_replaceable(path, inputs)?;
        let folder = folder::of(path);
        let mut tries = 0;
        loop {
            // The keys of a `RandomState` come from the operating system.
            let random = RandomState::new().hash_one(tries);
            let at = folder.join(format!(".p2p-trace-{random:016x}.tmp"));
            match lock::create(&at) {
                Ok(file) => {
                    let inputs = inputs.to_vec();
                    return Ok(Self::new(file, path, State::Temporary { at, inputs }));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < TRIES => tries += 1,
                Err(cause) => return Err(create_error(path, cause)),
            }
        }
    }

    /// An open stream.
    pub(super) fn stream(path: &Path, file: Arc<File>) -> Self {
        Self { file, path: path.to_owned(), state: State::Stream }
    }

    fn new(file: File, path: &Path, state: State) -> Self {
        Self { file: Arc::new(file), path: path.to_owned(), state }
    }

    /// Makes the name of the file permanent, while the file is still being written. Replaces an existing file. If that fails, the
    /// existing file is unchanged.
    pub(crate) fn publish(&mut self) -> Result<(), OutputError> {
        match &self.state {
            State::Created => {}
            State::Temporary { at, inputs } => {
                // Sync first: after a loss of power there is either the old file or the new one, but no empty one.
                self.file.sync_all().map_err(|cause| self.write_error(cause))?;
                expect_replaceable(&self.path, inputs)?;
                fs_rename(at, &self.path)
                    .map_err(|cause| OutputError::Replace { path: self.path.clone(), cause })?;
            }
            State::Published | State::Stream => return Ok(()),
        }
        self.state = State::Published;
        folder::sync(&folder::of(&self.path));
        Ok(())
    }

    /// Completes the file: syncs it and publishes it. If that fails, there is no new file.
    pub(crate) fn finish(mut self) -> Result<(), OutputError> {
        if matches!(self.state, State::Stream) {
            return Ok(());
        }
        self.sync().map_err(|cause| self.write_error(cause))?;
        self.publish()
    }

    /// Waits until the written data is on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match self.state {
            State::Stream => Ok(()),
            State::Created | State::Temporary { .. } | State::Published => self.file.sync_data(),
        }
    }

    /// Truncates a file to `length`. Does nothing for a stream.
    pub(crate) fn cut(&self, length: u64) -> io::Result<()> {
        match self.state {
            State::Stream => Ok(()),
            State::Created | State::Temporary { .. } | State::Published => self.file.set_len(length),
        }
    }

    /// Whether the file was removed, so that written data is lost when it is closed.
    #[cfg(unix)]
    pub(crate) fn has_vanished(&self) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        match self.state {
            State::Stream => false,
            State::Created | State::Temporary { .. } | State::Published => {
                self.file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
            }
        }
    }

    /// Always false: this cannot be determined.
    #[cfg(not(unix))]
    pub(crate) const fn has_vanished(&self) -> bool {
        false
    }

    /// The open file, for another writer. This handle is still needed to finish it.
    #[cfg(feature = "tui")]
    pub(crate) fn handle(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// The final path of the file.
    #[cfg(feature = "tui")]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The path and identity of the file; `None` for a stream.
    pub(crate) fn placed(&self) -> Option<Placed> {
        match self.state {
            State::Stream => None,
            State::Created | State::Temporary { .. } | State::Published => Some(Placed {
                path: self.path.clone(),
                identity: Identity::of_file(&self.file),
                is_earlier: false,
            }),
        }
    }

    /// The error for a failed write.
    pub(crate) fn write_error(&self, cause: io::Error) -> OutputError {
        OutputError::Write { path: self.path.clone(), cause }
    }
}

impl Write for OutFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.file).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.file).flush()
    }
}

/// Removes an unpublished file.
impl Drop for OutFile {
    fn drop(&mut self) {
        let path = match &self.state {
            State::Created => &self.path,
            State::Temporary { at, .. } => at,
            State::Published | State::Stream => return,
        };
        let identity = Identity::of_file(&self.file);
        let left = Placed { path: path.clone(), identity, is_earlier: false };
        if let Err(error) = left.remove() {
            tracing::warn!("cannot remove the incomplete file {}: {error}", Text::from(left.path.as_path()));
        }
    }
}

/// A file by its path and identity.
#[derive(Debug)]
pub(crate) struct Placed {
    path: PathBuf,
    identity: Option<Identity>,
    /// Another run created it. That run may still be writing it.
    is_earlier: bool,
}

impl Placed {
    /// A file that an earlier run left: of this user, not a link, and either with the magic bytes of a dump or empty, as after a run
    /// that was killed before it wrote its header.
    pub(super) fn of_dump(path: PathBuf) -> Option<Self> {
        use io::Read as _;
        let metadata = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
        let identity = Some(Identity::of(&path, &metadata)?);
        let mut beginning = Vec::new();
        let file = File::open(&path).ok().filter(|file| Identity::of_file(file) == identity)?;
        file.take(MAGIC.len() as u64).read_to_end(&mut beginning).ok()?;
        let is_dump = beginning.is_empty() || beginning == MAGIC;
        (is_dump && is_own(&metadata)).then_some(Self { path, identity, is_earlier: true })
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file unless another process is writing it. Returns whether it is gone.
    ///
    /// The lock is held until the file is removed, so that no writer can start in between.
    pub(crate) fn prune(&self) -> io::Result<bool> {
        let lock = if self.is_earlier { lock::of_closed(&self.path)? } else { Lock::NotNeeded };
        if matches!(lock, Lock::Busy) {
            return Ok(false);
        }
        self.remove()?;
        Ok(true)
    }

    /// Removes the file. Does nothing if it was removed already or another file has taken its place.
    pub(crate) fn remove(&self) -> io::Result<()> {
        if self.identity.is_some() && Identity::of_path(&self.path) != self.identity {
            return Ok(());
        }
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

/// Whether the file belongs to this user.
#[cfg(unix)]
fn is_own(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    // SAFETY: geteuid has no arguments and cannot fail.
    metadata.uid() == unsafe { libc::geteuid() }
}

#[cfg(not(unix))]
const fn is_own(_metadata: &fs::Metadata) -> bool {
    true
}

/// The only function that replaces files.
#[expect(clippy::disallowed_methods, reason = "only what a user wants replaced comes here")]
fn fs_rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}
