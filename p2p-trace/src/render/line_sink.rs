//! Sinks for lines. A separate thread writes, so that tracing does not wait for a reader.

use std::{
    io::{self, Write},
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
    thread::{self, JoinHandle},
};

/// Maximum of bytes queued before events are omitted: some 300,000 events as JSON.
const ROOM: usize = 128 << 20;
/// Maximum of buffers kept for reuse.
const SPARE: usize = 16;

/// A sink for lines.
pub(crate) trait LineSink {
    /// Consumes the contents of the buffer, and leaves it empty.
    ///
    /// # Errors
    ///
    /// When the lines, or earlier ones, cannot be written.
    fn take(&mut self, lines: &mut Vec<u8>) -> io::Result<()>;

    /// False: the queue is so long that only lines that cannot be omitted should follow.
    fn has_room(&self) -> bool {
        true
    }
}

/// Writes at once.
impl<W: Write> LineSink for W {
    fn take(&mut self, lines: &mut Vec<u8>) -> io::Result<()> {
        let written = self.write_all(lines).and_then(|()| self.flush());
        lines.clear();
        written
    }
}

/// A thread that writes in the background.
#[derive(Debug)]
pub(crate) struct BackgroundWriter {
    lines: Option<Sender<Vec<u8>>>,
    spare: Receiver<Vec<u8>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    room: usize,
}

#[derive(Debug, Default)]
struct Shared {
    /// Queued bytes.
    waiting: AtomicUsize,
    /// The first error, until it is reported.
    error: Mutex<Option<io::Error>>,
}

impl Shared {
    fn error(&self) -> io::Result<()> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

impl BackgroundWriter {
    /// Starts the thread, which opens its output itself.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub(crate) fn start<W: Write>(open: impl FnOnce() -> W + Send + 'static) -> io::Result<Self> {
        Self::with_room(ROOM, open)
    }

    fn with_room<W: Write>(room: usize, open: impl FnOnce() -> W + Send + 'static) -> io::Result<Self> {
        let (sender, lines) = mpsc::channel::<Vec<u8>>();
        let (used, spare) = mpsc::sync_channel(SPARE);
        let shared = Arc::<Shared>::default();
        let writing = {
            let shared = Arc::clone(&shared);
            move || {
                let mut out = open();
                for mut lines in lines {
                    let count = lines.len();
                    let written = out.take(&mut lines);
                    shared.waiting.fetch_sub(count, Ordering::Relaxed);
                    if let Err(error) = written {
                        *shared.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        return;
                    }
                    used.try_send(lines).unwrap_or_default();
                }
            }
        };
        let thread = thread::Builder::new().name("writing".to_owned()).spawn(writing)?;
        Ok(Self { lines: Some(sender), spare, shared, thread: Some(thread), room })
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    ///
    /// When some lines could not be written.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.lines = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            return Err(io::Error::other("the thread that writes panicked"));
        }
        self.shared.error()
    }
}

impl LineSink for BackgroundWriter {
    fn take(&mut self, lines: &mut Vec<u8>) -> io::Result<()> {
        self.shared.error()?;
        let empty = match self.spare.try_recv() {
            Ok(spare) => spare,
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => Vec::with_capacity(lines.capacity()),
        };
        let lines = mem::replace(lines, empty);
        self.shared.waiting.fetch_add(lines.len(), Ordering::Relaxed);
        // A thread that has ended leaves its error for the next call.
        self.lines.as_ref().map_or(Ok(()), |sender| sender.send(lines)).unwrap_or_default();
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.shared.waiting.load(Ordering::Relaxed) < self.room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes one buffer per permission.
    struct Slow(Receiver<()>, Sender<Vec<u8>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.0.recv() {
                Ok(()) => self.1.send(bytes.to_vec()).unwrap(),
                Err(_) => return Err(io::ErrorKind::BrokenPipe.into()),
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow(room: usize) -> (BackgroundWriter, Sender<()>, Receiver<Vec<u8>>) {
        let ((allow, allowed), (sender, written)) = (mpsc::channel(), mpsc::channel());
        let writer = BackgroundWriter::with_room(room, move || Slow(allowed, sender)).unwrap();
        (writer, allow, written)
    }

    #[test]
    fn take_does_not_wait_and_room_returns() {
        let (mut writer, allow, written) = slow(10);
        for line in ["first\n", "second\n"] {
            assert!(writer.has_room());
            writer.take(&mut line.into()).unwrap();
        }
        assert!(!writer.has_room());
        writer.take(&mut "needed\n".into()).unwrap();
        for expected in ["first\n", "second\n", "needed\n"] {
            allow.send(()).unwrap();
            assert_eq!(written.recv().unwrap(), expected.as_bytes());
        }
        while !writer.has_room() {
            thread::yield_now();
        }
        writer.finish().unwrap();
    }

    #[test]
    fn write_error_is_returned_by_a_later_take() {
        let (mut writer, allow, _written) = slow(10);
        drop(allow);
        let mut result = writer.take(&mut "first\n".into());
        while result.is_ok() {
            thread::yield_now();
            result = writer.take(&mut "next\n".into());
        }
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
