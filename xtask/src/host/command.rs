//! Runs other programs: without output while they work, and with all of it on failure.

use std::fs::File;
use std::io::{self, IsTerminal as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::ledger;
use crate::host::interrupt;

/// Polling interval of a running child.
const POLL: Duration = Duration::from_millis(50);
/// A faster child leaves no line on the terminal; also the interval of updates of the line.
const ON_TERMINAL: Duration = Duration::from_secs(1);
/// The same if lines cannot be overwritten.
const IN_LOG: Duration = Duration::from_secs(20);
/// Number of lines of a failed child's output that are shown, counted from the end.
const SHOWN_LINES: usize = 60;

/// Runs `command` without its output; an error has the end of its output.
///
/// `activity` describes the command in the progress line and in the error, e.g. `building bpf-linker`.
///
/// # Errors
/// The program cannot be started, or does not succeed.
pub(crate) fn run(command: &mut Command, activity: &str) -> Result<()> {
    listen(command, activity).map(drop)
}

/// Runs `command` and returns its complete output, stdout and stderr.
///
/// # Errors
/// As [`run`].
pub(crate) fn listen(command: &mut Command, activity: &str) -> Result<String> {
    let mut log = tempfile::tempfile().context("cannot create a temporary file")?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    let status = wait(&mut spawn(command)?, activity)?;
    if !status.success() {
        bail!("{activity} failed: {}: {status}\n{}", shown(command), tail(&mut log)?);
    }
    contents(&mut log)
}

/// Runs `command` and returns its standard output.
///
/// # Errors
/// As [`run`]; also if the output is not UTF-8.
pub(crate) fn read(command: &mut Command, activity: &str) -> Result<String> {
    let mut out = tempfile::tempfile().context("cannot create a temporary file")?;
    let mut log = tempfile::tempfile().context("cannot create a temporary file")?;
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(log.try_clone()?);
    let status = wait(&mut spawn(command)?, activity)?;
    if !status.success() {
        bail!("{activity} failed: {}: {status}\n{}", shown(command), tail(&mut log)?);
    }
    out.seek(SeekFrom::Start(0))?;
    io::read_to_string(out).with_context(|| format!("{activity}: the output is not UTF-8"))
}

/// Runs `command` with this task's own output, so that its output appears immediately.
///
/// # Errors
/// The program cannot be started, or does not succeed.
pub(crate) fn show(command: &mut Command, activity: &str) -> Result<()> {
    let start = Instant::now();
    let status = spawn(command.stdin(Stdio::null()))?.wait()?;
    ledger::note(activity, start.elapsed());
    if !status.success() {
        bail!("{activity} failed ({status})");
    }
    Ok(())
}

/// The standard output of `command` if it succeeds; for queries that may fail.
pub(crate) fn probe(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    if output.status.success() { String::from_utf8(output.stdout).ok() } else { None }
}

/// Whether a program of this name is in `PATH`.
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

/// Waits for the child and shows the elapsed time.
fn wait(child: &mut Child, activity: &str) -> Result<ExitStatus> {
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
            eprint!("{before}  {activity} … {} s{after}", elapsed.as_secs());
            io::stderr().flush()?;
            next = elapsed + interval;
        }
        if let Err(stopped) = interrupt::check() {
            // It may have exited by itself.
            child.kill().unwrap_or_default();
            child.wait()?;
            return Err(stopped);
        }
        std::thread::sleep(POLL);
    };
    if overwrite && next > interval {
        eprintln!();
    }
    ledger::note(activity, start.elapsed());
    Ok(status)
}

/// The command line, for messages.
fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

fn tail(log: &mut File) -> Result<String> {
    Ok(last_lines(&contents(log)?, SHOWN_LINES))
}

fn contents(log: &mut File) -> Result<String> {
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
    fn error_quotes_the_output() {
        let error = run(Command::new("sh").args(["-c", "echo reason >&2; exit 3"]), "trying")
            .unwrap_err()
            .to_string();
        assert!(error.contains("trying failed"), "{error}");
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.ends_with("reason"), "{error}");
    }

    #[test]
    fn reads_standard_output_only() {
        let text = read(Command::new("sh").args(["-c", "echo data; echo noise >&2"]), "trying").unwrap();
        assert_eq!(text, "data\n");
    }

    #[test]
    fn error_names_a_missing_program() {
        let error = run(&mut Command::new("no-such-program"), "trying").unwrap_err().to_string();
        assert_eq!(error, "cannot start no-such-program");
    }

    #[test]
    fn keeps_the_last_lines() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
    }
}
