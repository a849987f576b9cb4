//! The terminal: taken over, and given back as it was, however the program ends.

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

/// Why there can be no dashboard here, if so.
pub(crate) fn obstacle() -> Option<&'static str> {
    if !io::stdout().is_terminal() {
        Some("stdout is not a terminal")
    } else if std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb") {
        Some("this terminal (TERM) cannot move its cursor")
    } else {
        None
    }
}

/// What a terminal that does not know its size is taken for.
const UNKNOWN: Rect = Rect::new(0, 0, 80, 24);

/// It is ours.
static ALLOCATED: AtomicBool = AtomicBool::new(false);

/// Held by whoever writes to it.
static WRITING: Mutex<()> = Mutex::new(());
thread_local! {
    /// That is this thread.
    static WRITES: Cell<bool> = const { Cell::new(false) };
}

/// A terminal that shows the dashboard until this is dropped.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes it over.
    pub(super) fn new() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                // The message is to be read.
                give_back();
                before(info);
            }));
        });
        take()?;
        let backend = CrosstermBackend::new(io::stdout());
        let terminal = match size() {
            Ok(size) if size.0 > 0 && size.1 > 0 => Terminal::new(backend),
            // A serial line does not know what is at its other end.
            _ => Terminal::with_options(backend, TerminalOptions { viewport: Viewport::Fixed(UNKNOWN) }),
        };
        terminal.map(|terminal| Self { terminal }).inspect_err(|_| give_back())
    }

    /// Draws, unless the terminal was given back because another thread panicked.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        let _guard = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        if !ALLOCATED.load(Ordering::SeqCst) {
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

    /// Takes it over again, after others have had it.
    pub(super) fn again(&mut self) -> io::Result<()> {
        ALLOCATED.store(false, Ordering::SeqCst);
        take()?;
        self.terminal.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn take() -> io::Result<()> {
    stderr::hold();
    ALLOCATED.store(true, Ordering::SeqCst);
    let allocated = enable_raw_mode().and_then(|()| execute!(io::stdout(), EnterAlternateScreen, Hide));
    allocated.inspect_err(|_| give_back())
}

/// Gives it back, if it is ours.
pub(super) fn give_back() {
    // Of a thread that panics while it draws there is nothing to wait for.
    let _guard = (!WRITES.get()).then(|| WRITING.lock().unwrap_or_else(PoisonError::into_inner));
    if ALLOCATED.swap(false, Ordering::SeqCst) {
        // A terminal that is gone cannot be given back, and nobody is there to be told.
        execute!(io::stdout(), LeaveAlternateScreen, Show).unwrap_or_default();
        disable_raw_mode().unwrap_or_default();
        stderr::release();
    }
}

/// Where keys come from if it is a terminal; else there is no telling before they are read.
#[cfg(unix)]
fn keyboard() -> libc::c_int {
    if io::stdin().is_terminal() { libc::STDIN_FILENO } else { libc::STDOUT_FILENO }
}

/// Waits for a key or a signal, for so long at most; returns whether there is a key to be read. The library that reads keys never
/// returns once the terminal is gone, so that it must not be asked to wait.
#[cfg(unix)]
pub(super) fn wait_for_key(patience: Duration) -> io::Result<bool> {
    let mut polled = libc::pollfd { fd: keyboard(), events: libc::POLLIN, revents: 0 };
    let patience = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: it is given one structure, which lives longer than the call.
    let ready = unsafe { libc::poll(&raw mut polled, 1, patience) };
    if ready > 0 && polled.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0 {
        return Err(io::Error::new(io::ErrorKind::BrokenPipe, "it was closed"));
    }
    Ok(ready > 0 && polled.revents & libc::POLLIN != 0)
}

/// Has the library told once more that there are keys: it is told so once (by edges), and forgets it when the terminal's size
/// changes in the same moment. Setting a terminal as it is wakes whoever waits for it (`n_tty_set_termios`).
#[cfg(unix)]
pub(super) fn announce_keys() {
    let mut settings = std::mem::MaybeUninit::uninit();
    // SAFETY: the settings are read before they are used. Where they cannot be, the terminal is gone, which is noticed elsewhere.
    unsafe {
        if libc::tcgetattr(keyboard(), settings.as_mut_ptr()) == 0 {
            libc::tcsetattr(keyboard(), libc::TCSANOW, settings.as_ptr());
        }
    }
}

/// There is nothing to tell.
#[cfg(not(unix))]
pub(super) const fn announce_keys() {}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "it can fail elsewhere")]
pub(super) fn wait_for_key(patience: Duration) -> io::Result<bool> {
    std::thread::sleep(patience);
    Ok(false)
}
