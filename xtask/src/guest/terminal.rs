//! The host's side of the guest's terminal, `/dev/hvc0`: as a screen that a scenario reads, or tied to this
//! task's own terminal.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::num::NonZero;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Its device file.
pub(crate) const DEVICE: &str = "/dev/hvc0";

/// Interval of the checks.
const TICK: Duration = Duration::from_millis(50);

/// Rows and columns.
pub(crate) type Size = (u16, u16);

/// The shell command that keeps the terminal open: without a user it forgets its size and settings. It runs
/// until it is killed.
pub(crate) fn hold_command() -> String {
    format!("exec sleep 1000000 <>{DEVICE}")
}

/// The shell command that sets the size of the guest's terminal; its foreground process gets SIGWINCH.
pub(crate) fn resize_command((rows, columns): Size) -> String {
    format!("stty -F {DEVICE} rows {rows} cols {columns}")
}

/// An emulated terminal screen.
pub(crate) struct Screen {
    stream: UnixStream,
    parser: Arc<Mutex<vt100::Parser>>,
}

impl Screen {
    /// A screen of this size at the other end of `stream`.
    ///
    /// # Errors
    ///
    /// The connection cannot be shared with a thread.
    pub(crate) fn new(stream: UnixStream, size: Size) -> Result<Self> {
        let (rows, columns) = cells(size);
        let parser = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let mut reader = stream.try_clone().context("cannot share a socket")?;
        let shared = Arc::clone(&parser);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                lock(&shared).process(&bytes[..count]);
            }
        });
        Ok(Self { stream, parser })
    }

    /// Its text.
    pub(crate) fn text(&self) -> String {
        lock(&self.parser).screen().contents()
    }

    /// Whether a program uses the full screen: the alternate screen is shown, or the cursor is hidden.
    pub(crate) fn is_in_use(&self) -> bool {
        let parser = lock(&self.parser);
        parser.screen().alternate_screen() || parser.screen().hide_cursor()
    }

    /// Types keys.
    ///
    /// # Errors
    ///
    /// The guest has exited.
    pub(crate) fn keys(&mut self, keys: &str) -> Result<()> {
        self.stream.write_all(keys.as_bytes()).context("cannot type into the guest's terminal")
    }

    /// Resizes the screen. The guest needs the new size as well: [`resize_command`].
    pub(crate) fn resize(&self, size: Size) {
        let (rows, columns) = cells(size);
        lock(&self.parser).screen_mut().set_size(rows, columns);
    }

    /// Waits until the screen meets a condition, and returns its text.
    ///
    /// # Errors
    ///
    /// The condition is not met in time; the error has the screen's text.
    pub(crate) fn wait_for(
        &self,
        expected: &str,
        patience: Duration,
        is_met: impl Fn(&Self, &str) -> bool,
    ) -> Result<String> {
        let deadline = Instant::now() + patience;
        loop {
            let text = self.text();
            if is_met(self, &text) {
                return Ok(text);
            }
            if Instant::now() >= deadline {
                bail!("the screen does not show {expected}:\n{text}");
            }
            thread::sleep(TICK);
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Wakes the reader, which exits.
        drop(self.stream.shutdown(std::net::Shutdown::Both));
    }
}

/// At least one row and one column.
fn cells((rows, columns): Size) -> (NonZero<u16>, NonZero<u16>) {
    let count = |count| NonZero::new(count).unwrap_or(NonZero::<u16>::MIN);
    (count(rows), count(columns))
}

fn lock(parser: &Mutex<vt100::Parser>) -> MutexGuard<'_, vt100::Parser> {
    parser.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this task runs on a terminal that can be tied to that of a guest.
pub(crate) fn is_interactive() -> bool {
    let is_dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
    io::stdin().is_terminal() && io::stdout().is_terminal() && !is_dumb
}

/// This task's terminal, tied to the guest's until this value is dropped: it shows the guest's output, and
/// keys go to the guest.
pub(crate) struct Tie {
    stream: UnixStream,
    before: Termios,
    over: Arc<AtomicBool>,
    size: Option<Size>,
}

impl Tie {
    /// Ties it to the other end of `stream`.
    ///
    /// # Errors
    ///
    /// This task's terminal cannot be set to pass every key on.
    pub(crate) fn new(stream: UnixStream) -> Result<Self> {
        let mut from_guest = stream.try_clone().context("cannot share a socket")?;
        let mut to_guest = stream.try_clone().context("cannot share a socket")?;
        let before = tcgetattr(io::stdin()).context("cannot read the terminal's settings")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).context("cannot set the terminal")?;
        let over = Arc::new(AtomicBool::new(false));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = from_guest.read(&mut bytes) {
                let mut out = io::stdout().lock();
                if out.write_all(&bytes[..count]).and_then(|()| out.flush()).is_err() {
                    break;
                }
            }
        });
        let ended = Arc::clone(&over);
        thread::spawn(move || {
            let mut bytes = [0; 256];
            let stdin = io::stdin();
            while !ended.load(Ordering::Relaxed) {
                let mut ready = [PollFd::new(&stdin, PollFlags::IN)];
                let patience = Timespec::try_from(TICK).ok();
                if !matches!(poll(&mut ready, patience.as_ref()), Ok(1)) {
                    continue;
                }
                // Unbuffered: input after the end belongs to the shell.
                match rustix::io::read(&stdin, &mut bytes) {
                    Ok(count @ 1..) if to_guest.write_all(&bytes[..count]).is_ok() => {}
                    _ => break,
                }
            }
        });
        Ok(Self { stream, before, over, size: None })
    }

    /// The size of this task's terminal, if it has changed since the last call.
    pub(crate) fn new_size(&mut self) -> Option<Size> {
        let size = tcgetwinsize(io::stdout()).ok()?;
        // A terminal of unknown size reports 0.
        let size = if size.ws_row == 0 || size.ws_col == 0 { (24, 80) } else { (size.ws_row, size.ws_col) };
        (self.size.replace(size) != Some(size)).then_some(size)
    }

    /// Types keys in the guest.
    ///
    /// # Errors
    ///
    /// The guest has exited.
    pub(crate) fn keys(&mut self, keys: &str) -> Result<()> {
        self.stream.write_all(keys.as_bytes()).context("cannot type into the guest's terminal")
    }
}

impl Drop for Tie {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        drop(self.stream.shutdown(std::net::Shutdown::Both));
        // Undoes the guest's settings; not 1049, which would also put the cursor back over the guest's last
        // lines.
        print!("\x1b[?1047l\x1b[?25h");
        drop(io::stdout().flush());
        if let Err(error) = tcsetattr(io::stdin(), OptionalActions::Now, &self.before) {
            eprintln!("cannot restore the terminal: {error}; run `reset`");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn screen_emulates_a_terminal() {
        let (mut guest, host) = UnixStream::pair().unwrap();
        let mut screen = Screen::new(host, (4, 20)).unwrap();
        let patience = Duration::from_secs(10);
        guest.write_all(b"one\r\n\x1b[?1049h\x1b[?25l\x1b[2;3Htwo").unwrap();
        let text = screen
            .wait_for("two", patience, |screen, text| screen.is_in_use() && text.contains("two"))
            .unwrap();
        assert_eq!(text, "\n  two");
        screen.keys("q").unwrap();
        let mut key = [0];
        guest.read_exact(&mut key).unwrap();
        assert_eq!(&key, b"q");
        guest.write_all(b"\x1b[?1049l\x1b[?25h").unwrap();
        let text = screen.wait_for("the first screen", patience, |screen, _| !screen.is_in_use()).unwrap();
        assert_eq!(text, "one");
        let error = screen.wait_for("more", Duration::ZERO, |_, text| text.contains("more"));
        assert!(error.unwrap_err().to_string().contains("does not show more:\none"));
    }
}
