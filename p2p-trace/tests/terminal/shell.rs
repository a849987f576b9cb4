//! A shell on a terminal of its own: keys go in, and what is on the screen can be read.

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

/// How long the screen may take to show something, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_mins(1);

/// The program wants to know where the cursor is.
struct Asked(bool);

impl vt100::Callbacks for Asked {
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

/// See the module. With it its shell ends, and what runs in it.
pub(crate) struct Shell {
    terminal: OwnedFd,
    shows: vt100::Parser<Asked>,
    runs: Child,
    settings: String,
    commands: u32,
}

impl Shell {
    /// Starts it in a folder, on a terminal with so many rows and columns.
    pub(crate) fn new(size: [u16; 2], folder: &Path) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let device = ptsname(&terminal, Vec::new()).unwrap();
        let inside = open(device, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let runs = Command::new("setsid")
            .args(["--ctty", "sh", "-i"])
            // Without the habits of whoever runs this.
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
            shows: vt100::Parser::new_with_callbacks(rows, columns, 0, Asked(false)),
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

    /// Runs a command line, which tells its exit code in the end.
    pub(crate) fn run(&mut self, line: &str) {
        self.commands += 1;
        self.keys(&format!("clear; {line}; echo \"code {}: $?\"\r", self.commands));
    }

    /// Waits for the end of the command with this code, and gives what is on the screen. The terminal is as it was before it.
    pub(crate) fn ended(&mut self, code: i32) -> String {
        let words = format!("code {}: {code}\n", self.commands);
        let said = self.wait_for(&words, |screen| {
            !screen.alternate_screen() && !screen.hide_cursor() && screen.contents().contains(&words)
        });
        assert!(self.is_as_before(), "the terminal has other settings");
        said
    }

    /// It has another size now.
    pub(crate) fn resize(&mut self, size: [u16; 2]) {
        let [rows, columns] = cells(size);
        let size =
            Winsize { ws_row: rows.get(), ws_col: columns.get(), ..tcgetwinsize(&self.terminal).unwrap() };
        tcsetwinsize(&self.terminal, size).unwrap();
        self.shows.screen_mut().set_size(rows, columns);
    }

    /// Waits until the screen is as expected, and gives what is on it then.
    pub(crate) fn wait_for(&mut self, what: &str, is_so: impl Fn(&vt100::Screen) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self.shows.screen()) {
            let shown = self.shows.screen().contents();
            assert!(Instant::now() < deadline, "the screen does not show {what}:\n{shown}");
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

    /// What runs in it.
    pub(crate) fn running(&self) -> Pid {
        tcgetpgrp(&self.terminal).unwrap()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process_group(self.running(), signal).unwrap();
    }

    /// Its settings are those of before any command.
    pub(crate) fn is_as_before(&self) -> bool {
        self.settings() == self.settings
    }

    fn settings(&self) -> String {
        format!("{:?}", tcgetattr(&self.terminal).unwrap())
    }
}

fn cells(size: [u16; 2]) -> [NonZero<u16>; 2] {
    size.map(|count| count.try_into().unwrap())
}

/// A program shows a screen of its own.
pub(crate) fn is_allocated(screen: &vt100::Screen) -> bool {
    screen.alternate_screen() && screen.hide_cursor()
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.runs.kill());
        drop(self.runs.wait());
    }
}
