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

/// Names that are tried for a temporary file.
const TRIES: u64 = 16;

/// Numbered names that are tried where there is such a file already.
#[cfg(feature = "tui")]
const NUMBERS: u32 = 1000;

/// A new file, or a stream. A file that is dropped before it was published is removed again.
#[derive(Debug)]
pub(crate) struct OutFile {
    file: Arc<File>,
    path: PathBuf,
    state: State,
}

/// What is to be done with the name of a file.
#[derive(Debug)]
enum State {
    /// It has its name, and loses it again if it is not published.
    Created,
    /// It has another name until it replaces what is there.
    Temporary { at: PathBuf, inputs: Vec<Identity> },
    /// It is there to stay.
    Published,
    /// It is none of ours.
    Stream,
}

impl OutFile {
    /// Creates a file where there is nothing, not even a link.
    /// Fails when there is something, or it cannot be created.
    pub(crate) fn create(path: &Path) -> Result<Self, OutputError> {
        match lock::create(path) {
            Ok(file) => Ok(Self::new(file, path, State::Created)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // It says what is there.
                inspect(path, &[], false)?;
                Err(OutputError::Exists(path.to_owned()))
            }
            Err(cause) => Err(create_error(path, cause)),
        }
    }

    /// Creates a file of this name in a folder, or with a number behind the name where there is something already.
    /// Fails when it cannot be created, or there are too many.
    #[cfg(feature = "tui")]
    pub(crate) fn create_in(folder: &Path, name: &str) -> Result<Self, OutputError> {
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let mut created = Self::create(&folder.join(name));
        for number in 1..NUMBERS {
            // There is something already, whatever it is.
            let Err(OutputError::Exists(_) | OutputError::Link(_) | OutputError::Folder(_)) = created else {
                break;
            };
            created = Self::create(&folder.join(format!("{stem}-{number}.{extension}")));
        }
        created
    }

    /// Begins a file that takes the place of what is there when it is published.
    /// Fails when what is there must not be replaced, or the file cannot be created beside it.
    pub(super) fn replace(path: &Path, inputs: &[Identity]) -> Result<Self, OutputError> {
        expect_replaceable(path, inputs)?;
        let folder = folder::of(path);
        let mut tries = 0;
        loop {
            // Its keys come from the operating system.
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

    /// What is open already.
    pub(super) fn stream(path: &Path, file: Arc<File>) -> Self {
        Self { file, path: path.to_owned(), state: State::Stream }
    }

    fn new(file: File, path: &Path, state: State) -> Self {
        Self { file: Arc::new(file), path: path.to_owned(), state }
    }

    /// Gives the file its name for good, while it is still being written. What it replaces is gone then.
    /// Fails when it cannot take the place of what is there: that is unchanged then.
    pub(crate) fn publish(&mut self) -> Result<(), OutputError> {
        match &self.state {
            State::Created => {}
            State::Temporary { at, inputs } => {
                // After a loss of power there is the old file or the new one, not an empty one.
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

    /// The file is complete, on the disk, and has its name.
    /// Fails when it cannot be written, or as for [`OutFile::publish`]. There is no new file then.
    pub(crate) fn finish(mut self) -> Result<(), OutputError> {
        if matches!(self.state, State::Stream) {
            return Ok(());
        }
        self.sync().map_err(|cause| self.write_error(cause))?;
        self.publish()
    }

    /// What has been written is on the disk, if it goes to one.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match self.state {
            State::Stream => Ok(()),
            State::Created | State::Temporary { .. } | State::Published => self.file.sync_data(),
        }
    }

    /// Takes back what was written beyond a length, where that can be done.
    pub(crate) fn cut(&self, length: u64) -> io::Result<()> {
        match self.state {
            State::Stream => Ok(()),
            State::Created | State::Temporary { .. } | State::Published => self.file.set_len(length),
        }
    }

    /// Somebody has removed the file: what is written is lost when it is closed.
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

    /// It cannot be told.
    #[cfg(not(unix))]
    pub(crate) const fn has_vanished(&self) -> bool {
        false
    }

    /// To write to it from elsewhere, while this is kept to finish it.
    #[cfg(feature = "tui")]
    pub(crate) fn handle(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Where it is, or will be when it is published.
    #[cfg(feature = "tui")]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// To find it again, and nothing else; `None` for a stream.
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

    /// What went wrong when it was written.
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

/// A file that came to nothing leaves nothing.
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
            tracing::warn!("cannot remove the incomplete {}: {error}", Text::from(left.path.as_path()));
        }
    }
}

/// A file that was created here, by its name.
#[derive(Debug)]
pub(crate) struct Placed {
    path: PathBuf,
    identity: Option<Identity>,
    /// Another run created it. That run may still be writing it.
    is_earlier: bool,
}

impl Placed {
    /// One that an earlier run left: a file of this user's, not a link to one, with the beginning of a dump, or with nothing
    /// in it, as a run leaves it that is killed just then.
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

    /// Where it was created.
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

    /// Removes the file, unless that has been done already or another file has taken its place.
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

/// Nobody else's.
#[cfg(unix)]
fn is_own(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    // SAFETY: it only asks, and cannot fail.
    metadata.uid() == unsafe { libc::geteuid() }
}

#[cfg(not(unix))]
const fn is_own(_metadata: &fs::Metadata) -> bool {
    true
}

/// The one place that replaces one.
#[expect(clippy::disallowed_methods, reason = "only what a user wants replaced comes here")]
fn fs_rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}
