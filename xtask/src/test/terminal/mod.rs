//! The dashboard on a terminal, over dumps that were recorded in a guest: its keys, its sizes, and that it leaves the terminal
//! as it was, however it ends.

mod tmux;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::summary::Counts;
use crate::host::cargo::user_space;
use crate::host::{command, packages};
use tmux::{Screen, Size, Terminal};

const LARGE: Size = (130, 40);
const SMALL: Size = (80, 24);

/// What is shown, and where.
struct Stage<'a> {
    root: &'a Path,
    terminal: Terminal,
    folder: PathBuf,
    /// The program as the shell calls it.
    program: String,
    /// The terminal's settings before any of it.
    settings: String,
    /// Commands so far.
    commands: u32,
}

/// Begins and ends at a prompt.
type Part = fn(&mut Stage<'_>) -> Result<()>;

/// What each of them shows.
const PARTS: [(&str, Part); 7] = [
    ("a replay goes where its keys say", keys),
    ("a replay writes what it shows to files", files),
    ("it is drawn anew when the size changes", sizes),
    ("SIGTERM ends it", terminated),
    ("SIGTSTP stops it until it is continued", stopped),
    ("a panic can be read", panicked),
    ("it ends when the terminal is closed", closed),
];

/// Performs all of it.
///
/// # Errors
///
/// The first part that does not go well; what was on the screen then.
pub(super) fn run(root: &Path) -> Result<Counts> {
    packages::ensure(&packages::TERMINAL)?;
    // Both the program and the test that panics.
    let mut build = user_space(root, "test");
    command::show(build.arg("--no-run"), "compiling programs and tests")?;
    let own = std::env::current_exe().context("cannot tell where this task's program is")?;
    let program = own.with_file_name("p2p-trace");
    let folder = tempfile::tempdir().context("cannot create a folder")?;
    let mut stage = Stage {
        root,
        terminal: Terminal::new(LARGE, folder.path())?,
        folder: folder.path().to_owned(),
        program: quoted(&program),
        settings: String::new(),
        commands: 0,
    };
    stage.settings = stage.stty()?;
    let mut counts = Counts::default();
    for (name, part) in PARTS {
        part(&mut stage).with_context(|| format!("{name}: it is not so"))?;
        println!("{name} … ok");
        counts.passed += 1;
    }
    Ok(counts)
}

/// A command as it is typed.
fn typed(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| format!("'{}'", word.display())).collect();
    words.join(" ")
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}

impl Stage<'_> {
    /// Runs a command line to its end, and gives its exit code.
    fn shell(&mut self, line: &str) -> Result<i32> {
        self.terminal.command(line)?;
        self.ended()
    }

    /// Waits for the prompt, and gives the exit code of what was run before it.
    fn ended(&mut self) -> Result<i32> {
        self.commands += 1;
        let path = self.folder.join(format!("code.{}", self.commands));
        // In one piece, so that it is not read before it is whole.
        let (path, made) = (quoted(&path), quoted(&path.with_extension("made")));
        self.terminal
            .command(&format!("echo $? > {made}; mv {made} {path}"))?;
        let path = self.folder.join(format!("code.{}", self.commands));
        self.terminal.wait_for("a prompt", |_| path.exists())?;
        let code = fs::read_to_string(&path)?;
        code.trim().parse().context("the shell tells no exit code")
    }

    /// The terminal's settings.
    fn stty(&mut self) -> Result<String> {
        let path = self.folder.join("settings");
        self.shell(&format!("stty -a > {}; clear", quoted(&path)))?;
        let settings = fs::read_to_string(path)?;
        // The first line has the size.
        Ok(settings.lines().skip(1).collect::<Vec<_>>().join("\n"))
    }

    /// Shows a dump from the folder of the tests, and waits until it is there.
    fn replay(&self, dump: &str) -> Result<Screen> {
        let dump = self.root.join("p2p-trace/tests/golden/1").join(dump);
        self.terminal.command(&format!(
            "(echo $BASHPID > {}; exec {} replay {})",
            quoted(&self.folder.join("pid")),
            self.program,
            quoted(&dump)
        ))?;
        self.terminal.wait_for("the beginning of the dump", |screen| {
            screen.is_taken && !screen.has_cursor && screen.has("stopped +0")
        })
    }

    /// A key leads to a screen with all of this.
    fn leads_to(&self, keys: &str, expected: &[&str]) -> Result<Screen> {
        if keys.len() > 1 && keys.starts_with(char::is_uppercase) {
            self.terminal.press(keys)?;
        } else {
            self.terminal.keys(keys)?;
        }
        let what = format!("{expected:?} after `{keys}`");
        self.terminal.wait_for(&what, |screen| {
            screen.is_taken && expected.iter().all(|text| screen.has(text))
        })
    }

    /// It has ended with this code, and the terminal is as it was.
    fn given_back(&mut self, code: i32) -> Result<()> {
        // What is typed before that is not for the shell.
        self.wait_for_shell()?;
        let ended = self.ended()?;
        ensure!(ended == code, "it ended with {ended}, not with {code}");
        self.is_as_before()
    }

    fn is_as_before(&mut self) -> Result<()> {
        self.wait_for_shell()?;
        let settings = self.stty()?;
        ensure!(
            settings == self.settings,
            "the terminal was\n{}\nand is now\n{settings}",
            self.settings
        );
        Ok(())
    }

    fn wait_for_shell(&self) -> Result<()> {
        let is_shown = |screen: &Screen| !screen.is_taken && screen.has_cursor;
        let what = "the first screen, with its cursor";
        self.terminal.wait_for(what, is_shown).map(drop)
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let pid = fs::read_to_string(self.folder.join("pid"))?;
        command::run(Command::new("kill").args([signal, pid.trim()]), "signalling")
    }
}

fn keys(stage: &mut Stage<'_>) -> Result<()> {
    stage.replay("blocked.p2pt")?;
    stage.leads_to("n", &["create pages"])?;
    stage.leads_to("t", &["unbind"])?;
    stage.leads_to("f", &["stalled-", "VIOLATED", "BLOCKED", "taken by p2pdio["])?;
    stage.leads_to("2", &["CALLED FROM", "p2pdio[", "mmap"])?;
    stage.leads_to("3", &["WAITING", "DRAINED", "KILL"])?;
    stage.leads_to("4", &["what", "taken by"])?;
    stage.leads_to("5", &["KILL", "driver remove"])?;
    stage.leads_to("6", &["Memory taken"])?;
    stage.leads_to("7", &["stalled-drain", "VIOLATED"])?;
    stage.leads_to("?", &["to the next finding"])?;
    stage.leads_to("?", &["stalled-drain"])?;
    stage.leads_to("1", &["DEVICE"])?;
    stage.leads_to("@", &["go to time:"])?;
    stage.leads_to("+0.5", &["+0.5"])?;
    stage.leads_to("Enter", &["stopped +500.0 ms"])?;
    stage.leads_to("Right", &["stopped +1.5 s"])?;
    stage.leads_to("Left", &["stopped +500.0 ms"])?;
    stage.leads_to("]", &["end +", "no teardown under way", "released"])?;
    stage.leads_to("[", &["stopped +0"])?;
    // The whole run at a hundred times its speed, to its end.
    stage.leads_to("++++++", &["x100"])?;
    stage.leads_to(" ", &["end x100 +"])?;
    stage.leads_to("T", &["stopped x100"])?;
    stage.leads_to("/", &["filter:"])?;
    stage.leads_to("process:nobody", &["none matches the filter"])?;
    stage.leads_to("Enter", &["filter: process:nobody"])?;
    stage.leads_to("Escape", &["0000:03:00.0"])?;
    stage.leads_to("s", &["DEVICE▼"])?;
    stage.leads_to("S", &["DEVICE▲"])?;
    stage.terminal.keys("q")?;
    stage.given_back(0)
}

fn files(stage: &mut Stage<'_>) -> Result<()> {
    stage.replay("busy.p2pt")?;
    stage.leads_to("]", &["end +"])?;
    stage.leads_to("2", &["CALLED FROM"])?;
    stage.leads_to("e", &["written to p2p-trace-taken-"])?;
    stage.leads_to("5", &["Events"])?;
    stage.leads_to("e", &["written to p2p-trace-events-"])?;
    stage.leads_to("E", &["written to p2p-trace-dump-"])?;
    stage.terminal.keys("q")?;
    stage.given_back(0)?;
    let mut names = Vec::new();
    for entry in fs::read_dir(&stage.folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("p2p-trace-") {
            continue;
        }
        let mode = entry.metadata()?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "{name} has the mode {mode:o}");
        names.push(name);
    }
    ensure!(names.len() == 3, "these files were written: {names:?}");
    // What was written is a dump.
    let code = stage.shell(&format!(
        "{} replay --text p2p-trace-dump-* > text",
        stage.program
    ))?;
    let text = fs::read_to_string(stage.folder.join("text"))?;
    ensure!(
        code == 0 && text.contains("alloc"),
        "it ended with {code}: {text}"
    );
    // Where nothing can be written, it says so.
    stage.shell("mkdir none; cd none; rmdir ../none")?;
    stage.replay("busy.p2pt")?;
    stage.leads_to("e", &["cannot create p2p-trace-"])?;
    stage.leads_to("E", &["cannot create p2p-trace-dump-"])?;
    stage.terminal.keys("q")?;
    stage.given_back(0)
}

fn sizes(stage: &mut Stage<'_>) -> Result<()> {
    let folder = quoted(&stage.folder.clone());
    stage.shell(&format!("cd {folder}"))?;
    stage.replay("blocked.p2pt")?;
    stage.leads_to("f", &[" p2p-trace  1 Overview", "BLOCKED"])?;
    stage.terminal.resize(SMALL)?;
    let small = stage.terminal.wait_for("the small screen", |screen| {
        screen.has("1Overview 2Taken") && screen.has("q quit")
    })?;
    ensure!(
        small.has("taken by p2pdio[") && small.text.lines().count() == usize::from(SMALL.1),
        "what blocks is not told:\n{}",
        small.text
    );
    stage.terminal.resize((30, 8))?;
    stage
        .terminal
        .wait_for("that this is too small", |screen| screen.has("needs 40 x 10"))?;
    stage.terminal.resize(LARGE)?;
    stage.terminal.wait_for("the large screen", |screen| {
        screen.has(" p2p-trace  1 Overview") && screen.has("BLOCKED")
    })?;
    stage.terminal.keys("q")?;
    stage.given_back(0)
}

fn terminated(stage: &mut Stage<'_>) -> Result<()> {
    stage.replay("blocked.p2pt")?;
    // It may just be playing.
    stage.leads_to(" ", &["playing"])?;
    stage.signal("-TERM")?;
    stage.given_back(0)
}

fn stopped(stage: &mut Stage<'_>) -> Result<()> {
    stage.replay("blocked.p2pt")?;
    for by_key in [false, true] {
        if by_key {
            stage.terminal.press("C-z")?;
        } else {
            stage.signal("-TSTP")?;
        }
        stage.terminal.wait_for("that it is stopped", |screen| {
            !screen.is_taken && screen.has("Stopped")
        })?;
        stage.is_as_before()?;
        stage.terminal.command("fg")?;
        stage.terminal.wait_for("it again", |screen| {
            screen.is_taken && !screen.has_cursor && screen.has("stopped +0")
        })?;
    }
    stage.leads_to("f", &["BLOCKED"])?;
    stage.terminal.keys("q")?;
    stage.given_back(0)
}

fn panicked(stage: &mut Stage<'_>) -> Result<()> {
    let mut test = user_space(stage.root, "test");
    test.args(["--lib", "--", "--ignored", "--exact", "--nocapture"])
        .arg("tui::run::tests::what_is_shown_panics");
    let line = typed(&test);
    stage
        .terminal
        .command(&format!("(cd {} && RUST_BACKTRACE=0 {line})", quoted(stage.root)))?;
    stage
        .terminal
        .wait_for("the dashboard", |screen| screen.is_taken && screen.has("BLOCKED"))?;
    stage.terminal.wait_for("what the panic says", |screen| {
        // What is typed before the end is not for the shell.
        !screen.is_taken && screen.has("what is shown has panicked") && screen.has("error: test failed")
    })?;
    stage.given_back(101)
}

/// The last: there is no terminal afterwards.
fn closed(stage: &mut Stage<'_>) -> Result<()> {
    stage.replay("blocked.p2pt")?;
    let pid = fs::read_to_string(stage.folder.join("pid"))?;
    let process = Path::new("/proc").join(pid.trim());
    ensure!(process.exists(), "it does not run");
    stage.terminal.close()?;
    Terminal::wait_until("its end", || !process.exists())
}
