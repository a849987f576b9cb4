//! Starts a program, waits until it creates a file, interrupts it, and prints the times of both phases.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;

/// Run a program until it is ready, interrupt it, and print four numbers: microseconds of processor time and
/// of elapsed time from its start until it is ready, and the same from the signal to its exit.
#[derive(Debug, Parser)]
struct Options {
    /// File that the program creates when it is ready
    ready: PathBuf,
    /// The program, with its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Polling interval of the file.
const STEP: Duration = Duration::from_millis(5);
/// Maximum number of polls.
const LIMIT: u32 = 20_000;

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let (program, arguments) = options.command.split_first().context("no program given")?;
    // Restores SIGINT's default action, which the parent process may have set to ignore.
    let mut command = Command::new(program);
    // SAFETY: sets the action of a signal, which is allowed between fork and exec.
    unsafe {
        command.pre_exec(|| default_action(libc::SIGINT));
    }
    let launched = Instant::now();
    let child = command.args(arguments).spawn().with_context(|| format!("cannot start {program}"))?;
    let pid = child.id() as libc::pid_t;
    let mut steps = 0;
    while !options.ready.exists() {
        ensure!(steps < LIMIT && is_alive(pid), "{program} did not become ready");
        steps += 1;
        thread::sleep(STEP);
    }
    let (started, after) = (processor_time(pid)?, launched.elapsed());
    let interrupted = Instant::now();
    // SAFETY: the child has not been waited for, so that its id is still valid.
    if unsafe { libc::kill(pid, libc::SIGINT) } != 0 {
        bail!("cannot interrupt {program}: {}", io::Error::last_os_error());
    }
    let total = wait(pid)?;
    let ended = interrupted.elapsed();
    remove(&options.ready)?;
    let stopped = total.saturating_sub(started);
    println!("{} {} {} {}", started.as_micros(), after.as_micros(), stopped.as_micros(), ended.as_micros());
    Ok(ExitCode::SUCCESS)
}

fn default_action(signal: libc::c_int) -> io::Result<()> {
    // SAFETY: no handler is involved.
    if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn is_alive(pid: libc::pid_t) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Processor time of a process, including its threads that have exited.
fn processor_time(pid: libc::pid_t) -> Result<Duration> {
    /// `CPUCLOCK_SCHED`.
    const SCHEDULER: libc::clockid_t = 2;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes to the time.
    if unsafe { libc::clock_gettime(!pid << 3 | SCHEDULER, &raw mut time) } != 0 {
        bail!("cannot read the program's processor time: {}", io::Error::last_os_error());
    }
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// Waits until the process has exited; returns the processor time of its complete life.
fn wait(pid: libc::pid_t) -> Result<Duration> {
    let mut status = 0;
    // SAFETY: all zeroes is a valid usage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes to both.
    if unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) } != pid {
        bail!("cannot wait for the program: {}", io::Error::last_os_error());
    }
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    Ok(time(usage.ru_utime) + time(usage.ru_stime))
}

fn remove(file: &Path) -> Result<()> {
    fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))
}
