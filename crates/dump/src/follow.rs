//! A dump that is still being written, as one stream: what is not there yet is waited for.
//!
//! A file is over when the next one of the run has something in it, since a recorder ends the one before it begins the next.
//! The run is over where its footer says so, which only who reads the blocks can know: see [`Opened::follow`](super::Opened).

use std::{
    fs::File,
    io::{self, Read, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::sequence;

/// From one look for more to the next.
const LOOK: Duration = Duration::from_millis(100);

/// The files of a run from one on, as they are written.
pub struct Following<F> {
    first: PathBuf,
    number: u32,
    file: File,
    /// Bytes of `file` that were read.
    position: u64,
    is_over: F,
}

impl<F: FnMut() -> bool> Following<F> {
    /// From this file on, until `is_over`.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened.
    pub fn open(path: &Path, is_over: F) -> io::Result<Self> {
        let (first, number) = sequence::place(path);
        Ok(Self { first, number, file: File::open(path)?, position: 0, is_over })
    }

    fn read_file(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.position += count as u64;
        Ok(count)
    }

    /// A recorder takes back a block that a full disk had no room for: what it writes next stands in its place.
    fn go_back(&mut self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        if length < self.position {
            self.position = self.file.seek(SeekFrom::Start(length))?;
        }
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
            // Once more: only when there is another file nothing more is written to this one.
            let count = self.read_file(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            self.go_back()?;
            let Some(number) = next else {
                thread::sleep(LOOK);
                continue;
            };
            match File::open(sequence::numbered(&self.first, number)) {
                Ok(file) => (self.file, self.position) = (file, 0),
                // Removed by whoever keeps only the latest: those behind it are there.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            self.number = number;
        }
    }
}
