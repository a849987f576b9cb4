//! A FIFO that is followed. Opening or reading it normally would block in the kernel until there is a writer, and signals would
//! not end the wait.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    path::Path,
    thread,
    time::Duration,
};

/// The time between two reads: a pipe of 64 KiB per interval is more than a tracer writes.
const INTERVAL: Duration = Duration::from_millis(10);

/// Reads a FIFO to its end, or until `is_over`.
pub(super) struct Fifo<F> {
    file: File,
    /// False until a writer has opened it.
    has_begun: bool,
    is_over: F,
}

impl<F: FnMut() -> bool> Fifo<F> {
    /// Opens the FIFO without waiting for a writer.
    pub(super) fn open(path: &Path, is_over: F) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.custom_flags(libc::O_NONBLOCK);
        }
        #[expect(clippy::disallowed_methods, reason = "it is opened for reading only")]
        let file = options.open(path)?;
        Ok(Self { file, has_begun: false, is_over })
    }
}

impl<F: FnMut() -> bool> Read for Fifo<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !(self.is_over)() {
            match self.file.read(buffer) {
                Ok(0) if !self.has_begun => {}
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                read => {
                    self.has_begun = true;
                    return read;
                }
            }
            thread::sleep(INTERVAL);
        }
        Ok(0)
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::{io::Write as _, process::Command, sync::mpsc};

    use super::*;

    fn make(folder: &tempfile::TempDir) -> std::path::PathBuf {
        let path = folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    /// Fails if the test blocks in the kernel.
    fn in_time(test: impl FnOnce() + Send + 'static) {
        let (done, is_done) = mpsc::channel();
        let testing = thread::spawn(move || {
            test();
            let _sent = done.send(());
        });
        let waited = is_done.recv_timeout(Duration::from_secs(20));
        assert_ne!(waited, Err(mpsc::RecvTimeoutError::Timeout), "the test blocks");
        testing.join().unwrap();
    }

    #[test]
    fn waits_for_a_writer_until_it_is_over() {
        in_time(|| {
            let folder = tempfile::tempdir().unwrap();
            let mut polls = 0;
            let mut fifo = Fifo::open(&make(&folder), || {
                polls += 1;
                polls > 3
            })
            .unwrap();
            assert_eq!(fifo.read(&mut [0; 8]).unwrap(), 0);
            assert_eq!(polls, 4);
        });
    }

    #[test]
    fn reads_to_the_end() {
        in_time(|| {
            let folder = tempfile::tempdir().unwrap();
            let path = make(&folder);
            let mut fifo = Fifo::open(&path, || false).unwrap();
            let writing = thread::spawn(move || {
                thread::sleep(Duration::from_millis(30));
                let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
                for part in ["one", "two"] {
                    thread::sleep(Duration::from_millis(30));
                    writer.write_all(part.as_bytes()).unwrap();
                }
            });
            let mut read = String::new();
            fifo.read_to_string(&mut read).unwrap();
            writing.join().unwrap();
            assert_eq!(read, "onetwo");
        });
    }
}
