//! A dump that is still being written, as one stream. Reading waits for more bytes.
//!
//! A file is complete when the next file of the run has content, since a recorder ends a file before it
//! begins the next one. The run is complete when its footer says so, which only a reader of blocks can know:
//! see [`Opened::follow`](super::Opened).

use std::{
    fs::{self, File},
    io::{self, Read, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::sequence;

/// Interval between attempts to read more.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Bytes at the beginning of a file that are compared: the header of its first block has the checksum of the
/// description of the run.
const BEGINNING: usize = 64;

/// The files of a run from one on, as they are written.
pub struct Following<F> {
    first: PathBuf,
    number: u32,
    file: File,
    /// Bytes of `file` that were read.
    position: u64,
    /// The first bytes of `file`, which differ if another run overwrites it.
    beginning: Vec<u8>,
    is_over: F,
}

impl<F: FnMut() -> bool> Following<F> {
    /// Reads from this file on, until `is_over` returns true.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened.
    pub fn open(path: &Path, is_over: F) -> io::Result<Self> {
        let (first, number) = sequence::place(path);
        Ok(Self { first, number, file: File::open(path)?, position: 0, beginning: Vec::new(), is_over })
    }

    fn read_file(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        if self.position == self.beginning.len() as u64 {
            let room = BEGINNING - self.beginning.len();
            self.beginning.extend_from_slice(&buffer[..count.min(room)]);
        }
        self.position += count as u64;
        Ok(count)
    }

    /// Switches to the new content if the file was overwritten or replaced. The reader of that finds out
    /// which run it is.
    #[cfg(unix)]
    fn follow_replacement(&mut self) -> io::Result<bool> {
        use std::os::unix::fs::{FileExt as _, MetadataExt as _};
        let mut now = vec![0; self.beginning.len()];
        if self.file.read_exact_at(&mut now, 0).is_ok() && now != self.beginning {
            let file = self.file.try_clone()?;
            return self.restart(file).map(|()| true);
        }
        let path = sequence::numbered(&self.first, self.number);
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let own = identity(self.file.metadata()?);
        // A file that has vanished may reappear, or have a successor.
        let Some(found) = fs::metadata(&path).ok().filter(fs::Metadata::is_file) else { return Ok(false) };
        if identity(found) == own {
            return Ok(false);
        }
        self.restart(File::open(path)?).map(|()| true)
    }

    /// Overwritten files cannot be detected on this platform.
    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "the signature of other platforms")]
    const fn follow_replacement(&mut self) -> io::Result<bool> {
        Ok(false)
    }

    /// A recorder truncates a block that a full disk had no room for, and writes the next one in its place.
    fn follow_truncation(&mut self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        if length < self.position {
            self.position = self.file.seek(SeekFrom::Start(length))?;
            self.beginning.truncate(usize::try_from(length).unwrap_or(BEGINNING));
        }
        Ok(())
    }

    /// Reads another file, or this one from its beginning.
    fn restart(&mut self, mut file: File) -> io::Result<()> {
        self.position = file.seek(SeekFrom::Start(0))?;
        self.file = file;
        self.beginning.clear();
        Ok(())
    }
}

impl<F: FnMut() -> bool> Read for Following<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if (self.is_over)() {
                return Ok(0);
            }
            let count = self.read_file(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let next = sequence::after(&self.first, self.number)?;
            // Read once more: nothing is written to this file only once another file exists.
            let count = self.read_file(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            self.follow_truncation()?;
            let Some(number) = next else {
                if !self.follow_replacement()? {
                    thread::sleep(POLL_INTERVAL);
                }
                continue;
            };
            match File::open(sequence::numbered(&self.first, number)) {
                Ok(file) => self.restart(file)?,
                // Removed by a recorder that keeps only the latest files; later ones exist.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            self.number = number;
        }
    }
}
