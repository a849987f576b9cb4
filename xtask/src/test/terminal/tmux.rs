//! A shell on a terminal of tmux: keys go in, and what is on the screen can be read.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::host::command;

/// How long the screen may take to show something, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often to look at it.
const LOOK: Duration = Duration::from_millis(50);

/// Columns and rows.
pub(super) type Size = (u16, u16);

/// See the module. With it its shell ends.
pub(super) struct Terminal {
    socket: String,
}

impl Terminal {
    /// Starts a shell in a folder, on a terminal of this size.
    ///
    /// # Errors
    ///
    /// tmux cannot be started.
    pub(super) fn new((columns, rows): Size, folder: &Path) -> Result<Self> {
        let terminal = Self {
            socket: format!("p2p-trace-test-{}", std::process::id()),
        };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let mut start = terminal.tmux(&["new-session", "-d", "-x", &columns, "-y", &rows]);
        start
            .arg("-c")
            .arg(folder)
            // Without the habits of whoever runs this.
            .arg("env LC_ALL=C.UTF-8 PS1='$ ' bash --norc --noprofile -i");
        command::run(&mut start, "starting tmux")?;
        terminal.wait_for("a prompt", |screen| screen.text.starts_with('$'))?;
        Ok(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.args(["-L", &self.socket, "-f", "/dev/null"]).args(arguments);
        tmux.env_remove("TMUX");
        tmux
    }

    /// Types, letter by letter.
    pub(super) fn keys(&self, text: &str) -> Result<()> {
        command::run(&mut self.tmux(&["send-keys", "-l", text]), "typing")
    }

    /// Presses a key by its name, such as `Enter`.
    pub(super) fn press(&self, key: &str) -> Result<()> {
        command::run(&mut self.tmux(&["send-keys", key]), "pressing a key")
    }

    /// Has the shell run a command line.
    pub(super) fn command(&self, line: &str) -> Result<()> {
        self.keys(line)?;
        self.press("Enter")
    }

    /// It has another size now.
    pub(super) fn resize(&self, (columns, rows): Size) -> Result<()> {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let resize = &["resize-window", "-x", &columns, "-y", &rows];
        command::run(&mut self.tmux(resize), "resizing")
    }

    /// What is on it.
    pub(super) fn screen(&self) -> Result<Screen> {
        let text = command::read(&mut self.tmux(&["capture-pane", "-p"]), "reading the screen")?;
        let format = "#{alternate_on} #{cursor_flag}";
        let state = command::read(&mut self.tmux(&["display-message", "-p", format]), "asking tmux")?;
        let (alternate, cursor) = state.trim().split_once(' ').context("tmux does not answer")?;
        Ok(Screen {
            text,
            is_taken: alternate == "1",
            has_cursor: cursor == "1",
        })
    }

    /// Waits until it is as expected, and gives what is on it then.
    ///
    /// # Errors
    ///
    /// It is not, for long; with what is on it.
    pub(super) fn wait_for(&self, what: &str, is_so: impl Fn(&Screen) -> bool) -> Result<Screen> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen()?;
            if is_so(&screen) {
                return Ok(screen);
            }
            if Instant::now() >= deadline {
                bail!("the screen does not show {what}:\n{}", screen.text);
            }
            thread::sleep(LOOK);
        }
    }

    /// Waits for something that is not on it.
    ///
    /// # Errors
    ///
    /// It does not come, for long.
    pub(super) fn wait_until(what: &str, is_so: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            if Instant::now() >= deadline {
                bail!("waited in vain for {what}");
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Closes it, whatever runs on it.
    pub(super) fn close(&self) -> Result<()> {
        command::run(&mut self.tmux(&["kill-server"]), "closing the terminal")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.tmux(&["kill-server"]).output());
    }
}

/// What is on a terminal.
#[derive(Debug)]
pub(super) struct Screen {
    /// Its lines.
    pub(super) text: String,
    /// A program shows a screen of its own.
    pub(super) is_taken: bool,
    /// The cursor can be seen.
    pub(super) has_cursor: bool,
}

impl Screen {
    /// It shows this.
    pub(super) fn has(&self, text: &str) -> bool {
        self.text.contains(text)
    }
}
