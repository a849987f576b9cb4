//! A shell on a pseudoterminal. Tests send keys and read the screen.

use std::{
    num::NonZero,
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags, open},
    process::{Pid, Signal, kill_process_group},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetwinsize},
};

/// How long the screen may take to show the expected text, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Whether the program has requested the cursor position.
struct CursorQuery(bool);

impl vt100::Callbacks for CursorQuery {
    fn unhandled_csi(
        &mut self,
        _: &mut vt100::Screen,
        _: Option<u8>,
        _: Option<u8>,
        parameters: &[&[u16]],
        end: char,
    ) {
        self.0 |= end == 'n' && parameters == [[6]];
    }
}

/// A shell on a pseudoterminal. Dropping it ends the shell and its programs.
pub(crate) struct Shell {
    terminal: OwnedFd,
    shows: vt100::Parser<CursorQuery>,
    runs: Child,
    settings: String,
    commands: u32,
}

impl Shell {
    /// Starts a shell in a folder, on a terminal of this size (rows and columns).
    pub(crate) fn new(size: [u16; 2], folder: &Path) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let device = ptsname(&terminal, Vec::new()).unwrap();
        let inside = open(device, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let runs = Command::new("setsid")
            .args(["--ctty", "sh", "-i"])
            // Independent of the user's settings.
            .env_remove("ENV")
            .env_remove("NO_COLOR")
            .envs([("PS1", "$ "), ("TERM", "xterm-256color"), ("LC_ALL", "C.UTF-8")])
            .current_dir(folder)
            .stdin(inside.try_clone().unwrap())
            .stdout(inside.try_clone().unwrap())
            .stderr(inside)
            .spawn()
            .unwrap();
        let [rows, columns] = cells(size);
        let mut new = Self {
            terminal,
            shows: vt100::Parser::new_with_callbacks(rows, columns, 0, CursorQuery(false)),
            runs,
            settings: String::new(),
            commands: 0,
        };
        new.resize(size);
        new.wait_for("a prompt", |screen| screen.contents().starts_with('$'));
        new.settings = new.settings();
        new
    }

    pub(crate) fn keys(&self, keys: &str) {
        let written = rustix::io::write(&self.terminal, keys.as_bytes()).unwrap();
        assert_eq!(written, keys.len());
    }

    /// Runs a command line that prints its exit code at the end.
    pub(crate) fn run(&mut self, line: &str) {
        self.commands += 1;
        self.keys(&format!("clear; {line}; echo \"code {}: $?\"\r", self.commands));
    }

    /// Waits for the command to end with this code, and checks that the terminal is restored. Returns the text on the screen.
    pub(crate) fn wait_for_exit(&mut self, code: i32) -> String {
        let words = format!("code {}: {code}\n", self.commands);
        let output = self.wait_for(&words, |screen| {
            !screen.alternate_screen() && !screen.hide_cursor() && screen.contents().contains(&words)
        });
        assert!(self.is_restored(), "the terminal's settings have changed");
        output
    }

    /// Changes the size of the terminal.
    pub(crate) fn resize(&mut self, size: [u16; 2]) {
        let [rows, columns] = cells(size);
        let size =
            Winsize { ws_row: rows.get(), ws_col: columns.get(), ..tcgetwinsize(&self.terminal).unwrap() };
        tcsetwinsize(&self.terminal, size).unwrap();
        self.shows.screen_mut().set_size(rows, columns);
    }

    /// Waits until the screen is as expected. Returns the text on it.
    pub(crate) fn wait_for(
        &mut self,
        expected: &str,
        is_expected: impl Fn(&vt100::Screen) -> bool,
    ) -> String {
        let deadline = Instant::now() + PATIENCE;
        while !is_expected(self.shows.screen()) {
            let shown = self.shows.screen().contents();
            assert!(Instant::now() < deadline, "the screen does not show {expected}:\n{shown}");
            let mut ready = [PollFd::new(&self.terminal, PollFlags::IN)];
            let look = Timespec::try_from(Duration::from_millis(50)).unwrap();
            if poll(&mut ready, Some(&look)).unwrap() > 0 {
                let mut bytes = [0; 4096];
                let count = rustix::io::read(&self.terminal, &mut bytes).unwrap();
                self.shows.process(&bytes[..count]);
                if std::mem::take(&mut self.shows.callbacks_mut().0) {
                    let (row, column) = self.shows.screen().cursor_position();
                    self.keys(&format!("\x1b[{};{}R", row + 1, column + 1));
                }
            }
        }
        self.shows.screen().contents()
    }

    /// The foreground process group.
    pub(crate) fn running(&self) -> Pid {
        tcgetpgrp(&self.terminal).unwrap()
    }

    /// Sends a signal to the foreground process group.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process_group(self.running(), signal).unwrap();
    }

    /// Whether the terminal has the settings from before the first command.
    pub(crate) fn is_restored(&self) -> bool {
        self.settings() == self.settings
    }

    fn settings(&self) -> String {
        format!("{:?}", tcgetattr(&self.terminal).unwrap())
    }
}

fn cells(size: [u16; 2]) -> [NonZero<u16>; 2] {
    size.map(|count| count.try_into().unwrap())
}

/// Whether a full-screen program is shown.
pub(crate) fn is_fullscreen(screen: &vt100::Screen) -> bool {
    screen.alternate_screen() && screen.hide_cursor()
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.runs.kill());
        drop(self.runs.wait());
    }
}
