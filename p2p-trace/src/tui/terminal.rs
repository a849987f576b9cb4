//! Sets up the terminal, and restores it however the program ends.

use std::{
    cell::Cell,
    io::{self, IsTerminal as _, Stdout},
    panic,
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ratatui::{
    Frame, Terminal, TerminalOptions, Viewport,
    backend::CrosstermBackend,
    crossterm::{
        cursor::{Hide, Show},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size},
    },
    layout::Rect,
};

use crate::stderr;

/// Why this terminal cannot show the dashboard, if that is so.
pub(crate) fn obstacle() -> Option<&'static str> {
    if !io::stdout().is_terminal() {
        Some("stdout is not a terminal")
    } else if std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb") {
        Some("this terminal (TERM) cannot move its cursor")
    } else {
        None
    }
}

/// The assumed area of a terminal that does not report its size.
const FALLBACK_SIZE: Rect = Rect::new(0, 0, 80, 24);

/// Whether the terminal is in raw mode and shows the dashboard.
static ACTIVE: AtomicBool = AtomicBool::new(false);

/// Held while a thread writes to the terminal.
static WRITING: Mutex<()> = Mutex::new(());
thread_local! {
    /// Whether this thread holds [`WRITING`].
    static WRITES: Cell<bool> = const { Cell::new(false) };
}

/// The terminal. It shows the dashboard until this value is dropped.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Sets up the terminal, and a panic hook that restores it.
    pub(super) fn new() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let previous = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                // Restore the terminal first, so that the message can be read.
                restore();
                previous(info);
            }));
        });
        enter()?;
        let backend = CrosstermBackend::new(io::stdout());
        let terminal = match size() {
            Ok(size) if size.0 > 0 && size.1 > 0 => Terminal::new(backend),
            // A serial line does not know the size of the terminal at its other end.
            _ => {
                Terminal::with_options(backend, TerminalOptions { viewport: Viewport::Fixed(FALLBACK_SIZE) })
            }
        };
        terminal.map(|terminal| Self { terminal }).inspect_err(|_| restore())
    }

    /// Draws a frame, unless the terminal was restored because another thread panicked.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        let _guard = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        if !ACTIVE.load(Ordering::SeqCst) {
            return Ok(());
        }
        WRITES.set(true);
        let drawn = self.terminal.draw(draw).map(drop);
        WRITES.set(false);
        drawn
    }

    pub(super) const fn terminal(&mut self) -> &mut Terminal<CrosstermBackend<Stdout>> {
        &mut self.terminal
    }

    /// Sets up the terminal again after the program was suspended.
    pub(super) fn reenter(&mut self) -> io::Result<()> {
        ACTIVE.store(false, Ordering::SeqCst);
        enter()?;
        self.terminal.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn enter() -> io::Result<()> {
    stderr::hold();
    ACTIVE.store(true, Ordering::SeqCst);
    let entered = enable_raw_mode().and_then(|()| execute!(io::stdout(), EnterAlternateScreen, Hide));
    entered.inspect_err(|_| restore())
}

/// Restores the terminal, if it is set up.
pub(super) fn restore() {
    // A thread that panics while it draws already holds the lock.
    let _guard = (!WRITES.get()).then(|| WRITING.lock().unwrap_or_else(PoisonError::into_inner));
    if ACTIVE.swap(false, Ordering::SeqCst) {
        // Errors mean that the terminal is closed: there is nothing left to restore and nowhere to report.
        execute!(io::stdout(), LeaveAlternateScreen, Show).unwrap_or_default();
        disable_raw_mode().unwrap_or_default();
        stderr::release();
    }
}

/// The descriptor to poll for keys: stdin, or stdout if stdin is not a terminal.
#[cfg(unix)]
fn keyboard() -> libc::c_int {
    if io::stdin().is_terminal() { libc::STDIN_FILENO } else { libc::STDOUT_FILENO }
}

/// Waits for a key or a signal, at most for `patience`. Returns whether a key can be read. crossterm must not do the waiting:
/// it never returns once the terminal is closed.
#[cfg(unix)]
pub(super) fn wait_for_key(patience: Duration) -> io::Result<bool> {
    let mut polled = libc::pollfd { fd: keyboard(), events: libc::POLLIN, revents: 0 };
    let patience = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the pointer is to one structure, which outlives the call.
    let ready = unsafe { libc::poll(&raw mut polled, 1, patience) };
    if ready > 0 && polled.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0 {
        return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the terminal was closed"));
    }
    Ok(ready > 0 && polled.revents & libc::POLLIN != 0)
}

/// Makes the kernel report pending keys to crossterm again. crossterm uses edge-triggered polling, and loses the edge if the
/// terminal is resized at the same moment. Setting the terminal's attributes, even to the same values, wakes all waiters
/// (`n_tty_set_termios`).
#[cfg(unix)]
pub(super) fn announce_keys() {
    let mut settings = std::mem::MaybeUninit::uninit();
    // SAFETY: `settings` is only read after `tcgetattr` has filled it. If that fails, the terminal is closed, which is detected elsewhere.
    unsafe {
        if libc::tcgetattr(keyboard(), settings.as_mut_ptr()) == 0 {
            libc::tcsetattr(keyboard(), libc::TCSANOW, settings.as_ptr());
        }
    }
}

/// Only needed on Unix.
#[cfg(not(unix))]
pub(super) const fn announce_keys() {}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "it can fail on Unix")]
pub(super) fn wait_for_key(patience: Duration) -> io::Result<bool> {
    std::thread::sleep(patience);
    Ok(false)
}
