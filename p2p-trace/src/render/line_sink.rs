//! Where lines go. Whoever traces waits for nobody who reads them: a thread of its own writes.

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

/// Bytes that wait for a reader, of lines that can be left out: some 300,000 events as JSON.
const ROOM: usize = 128 << 20;
/// Buffers whose memory is kept for what comes next.
const SPARE: usize = 16;

/// Takes lines.
pub(crate) trait LineSink {
    /// Takes what stands in the buffer, and leaves it empty.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or something before it could not.
    fn take(&mut self, lines: &mut Vec<u8>) -> io::Result<()>;

    /// False: there is so much that waits that only what nobody can do without should follow.
    fn has_room(&self) -> bool {
        true
    }
}

/// Whoever writes at once.
impl<W: Write> LineSink for W {
    fn take(&mut self, lines: &mut Vec<u8>) -> io::Result<()> {
        let written = self.write_all(lines).and_then(|()| self.flush());
        lines.clear();
        written
    }
}

/// A thread that writes, to whom nobody waits for.
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
    /// Bytes that wait.
    waiting: AtomicUsize,
    /// What went wrong first, until somebody has been told.
    error: Mutex<Option<io::Error>>,
}

impl Shared {
    fn error(&self) -> io::Result<()> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

impl BackgroundWriter {
    /// Starts it; it opens what it writes to itself.
    ///
    /// # Errors
    ///
    /// When there can be no thread.
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
    /// When something could not be.
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
        // Whoever does not write any more has said why, or does so the next time.
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

    /// Takes something each time that it is let.
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
        let ((let_go, let_me), (sender, written)) = (mpsc::channel(), mpsc::channel());
        let aside = BackgroundWriter::with_room(room, move || Slow(let_me, sender)).unwrap();
        (aside, let_go, written)
    }

    #[test]
    fn nobody_waits_for_a_reader_and_there_is_room_again_when_it_has_read() {
        let (mut aside, let_go, written) = slow(10);
        for line in ["first\n", "second\n"] {
            assert!(aside.has_room());
            aside.take(&mut line.into()).unwrap();
        }
        assert!(!aside.has_room());
        aside.take(&mut "needed\n".into()).unwrap();
        for expected in ["first\n", "second\n", "needed\n"] {
            let_go.send(()).unwrap();
            assert_eq!(written.recv().unwrap(), expected.as_bytes());
        }
        while !aside.has_room() {
            thread::yield_now();
        }
        aside.finish().unwrap();
    }

    #[test]
    fn a_reader_that_is_gone_is_told_with_what_comes_next() {
        let (mut aside, let_go, _written) = slow(10);
        drop(let_go);
        let mut told = aside.take(&mut "first\n".into());
        while told.is_ok() {
            thread::yield_now();
            told = aside.take(&mut "next\n".into());
        }
        assert_eq!(told.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
