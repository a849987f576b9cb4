//! Runs other programs: quiet while they work, all they said when they fail.

use std::fs::File;
use std::io::{self, IsTerminal as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::ledger;
use crate::host::interrupt;

/// How often a running child is looked at.
const POLL: Duration = Duration::from_millis(50);
/// A child faster than this leaves no line on the screen, and how often the line is renewed.
const ON_TERMINAL: Duration = Duration::from_secs(1);
/// The same where lines cannot be overwritten.
const IN_LOG: Duration = Duration::from_secs(20);
/// How much of a failed child's output is shown, counted from its end.
const SHOWN_LINES: usize = 60;

/// Runs `command` without its output and fails with the end of that output if the child does.
///
/// `what` says for the progress line and for the error what is being done, e.g. `building bpf-linker`.
///
/// # Errors
/// The program cannot be started, or it ends with anything but success.
pub(crate) fn run(command: &mut Command, what: &str) -> Result<()> {
    listen(command, what).map(drop)
}

/// Runs `command` and returns all it said, on either output.
///
/// # Errors
/// As [`run`].
pub(crate) fn listen(command: &mut Command, what: &str) -> Result<String> {
    let mut log = tempfile::tempfile().context("cannot create a temporary file")?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    let status = wait(&mut spawn(command)?, what)?;
    if !status.success() {
        bail!("{what} failed: {} ended with {status}\n{}", shown(command), tail(&mut log)?);
    }
    whole(&mut log)
}

/// Runs `command` and returns what it wrote to its standard output.
///
/// # Errors
/// As [`run`]; also when the output is not UTF-8.
pub(crate) fn read(command: &mut Command, what: &str) -> Result<String> {
    let mut out = tempfile::tempfile().context("cannot create a temporary file")?;
    let mut log = tempfile::tempfile().context("cannot create a temporary file")?;
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(log.try_clone()?);
    let status = wait(&mut spawn(command)?, what)?;
    if !status.success() {
        bail!("{what} failed: {} ended with {status}\n{}", shown(command), tail(&mut log)?);
    }
    out.seek(SeekFrom::Start(0))?;
    io::read_to_string(out).with_context(|| format!("{what}: the output is not text"))
}

/// Runs `command` with our own output, so that everything it says is seen as it happens.
///
/// # Errors
/// The program cannot be started, or it ends with anything but success.
pub(crate) fn show(command: &mut Command, what: &str) -> Result<()> {
    let start = Instant::now();
    let status = spawn(command.stdin(Stdio::null()))?.wait()?;
    ledger::note(what, start.elapsed());
    if !status.success() {
        bail!("{what} failed ({status})");
    }
    Ok(())
}

/// What `command` writes to its standard output if it can be run and succeeds; for questions whose answer may be "no".
pub(crate) fn probe(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    if output.status.success() { String::from_utf8(output.stdout).ok() } else { None }
}

/// Whether a program of this name can be found in `PATH`.
pub(crate) fn exists(program: &str) -> bool {
    find(program).is_some()
}

/// The first file named `program` in `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn spawn(command: &mut Command) -> Result<Child> {
    command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))
}

/// Waits for the child and shows for how long already.
fn wait(child: &mut Child, what: &str) -> Result<ExitStatus> {
    let start = Instant::now();
    let overwrite = io::stderr().is_terminal();
    let interval = if overwrite { ON_TERMINAL } else { IN_LOG };
    let mut next = interval;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let elapsed = start.elapsed();
        if elapsed >= next {
            let (before, after) = if overwrite { ("\r", "") } else { ("", "\n") };
            eprint!("{before}  {what} … {} s{after}", elapsed.as_secs());
            io::stderr().flush()?;
            next = elapsed + interval;
        }
        if let Err(stopped) = interrupt::check() {
            // It may have ended by itself meanwhile.
            child.kill().unwrap_or_default();
            child.wait()?;
            return Err(stopped);
        }
        std::thread::sleep(POLL);
    };
    if overwrite && next > interval {
        eprintln!();
    }
    ledger::note(what, start.elapsed());
    Ok(status)
}

/// The command as one would type it, for messages.
fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

fn tail(log: &mut File) -> Result<String> {
    Ok(last_lines(&whole(log)?, SHOWN_LINES))
}

fn whole(log: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    log.seek(SeekFrom::Start(0))?;
    io::copy(log, &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_child_is_quoted() {
        let error = run(Command::new("sh").args(["-c", "echo reason >&2; exit 3"]), "trying")
            .unwrap_err()
            .to_string();
        assert!(error.contains("trying failed"), "{error}");
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.ends_with("reason"), "{error}");
    }

    #[test]
    fn only_standard_output_is_read() {
        let text = read(Command::new("sh").args(["-c", "echo data; echo noise >&2"]), "trying").unwrap();
        assert_eq!(text, "data\n");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut Command::new("no-such-program"), "trying").unwrap_err().to_string();
        assert_eq!(error, "cannot start no-such-program");
    }

    #[test]
    fn the_last_lines_are_kept() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
    }
}
