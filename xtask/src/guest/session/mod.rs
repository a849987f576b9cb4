//! A booted guest: runs commands in it, watches its console, and powers it off or kills it at the end.

mod ending;
mod listen;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use p2p_trace_guest::frame::Request;
use tempfile::TempDir;

use super::console;
use super::disk;
use super::job::{Job, Output, Sink, State};
use super::link::Link;
use super::machine::{Acceleration, Files, Machine};
use super::process::Process;
use super::qmp::Qmp;
use super::scratch;
use crate::host::interrupt;
use crate::kernels::GuestKernel;

/// How many times a guest is booted whose kernel dies during the boot.
const ATTEMPTS: u32 = 3;
/// The kernel died before it accepted commands; has its last messages.
#[derive(Debug, thiserror::Error)]
#[error("the guest's kernel died while booting:\n  | {}", .0.join("\n  | "))]
struct DiedBooting(Vec<String>);

/// The guest to boot, and its time limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Boot<'a> {
    /// Name of the folder of its logs, under `target/guest`.
    pub(crate) name: &'a str,
    pub(crate) kernel: &'a GuestKernel,
    /// The root file system, from [`super::initramfs::build`].
    pub(crate) initramfs: &'a [u8],
    pub(crate) machine: &'a Machine,
    /// How to execute it.
    pub(crate) acceleration: Acceleration,
    /// Time limit from the start to the power-off.
    pub(crate) limit: Duration,
}

/// A running guest. It is killed when this value is dropped; its logs stay unless [`Guest::power_off`]
/// succeeds.
#[derive(Debug)]
pub(crate) struct Guest {
    process: Process,
    control: Link,
    qmp: Qmp,
    release: String,
    deadline: Instant,
    limit: Duration,
    jobs: BTreeMap<Job, State>,
    /// Complaints that contain one of these words are part of a test.
    provoked: Vec<&'static str>,
    /// Time of the next check of the console; `None` if complaints do not end the waiting.
    next_check: Option<Instant>,
    next: Job,
    log: PathBuf,
    /// The image that it was booted from.
    image: PathBuf,
    /// How many kernels have booted in it.
    boots: u32,
    /// Holds the sockets and the root file system; dropping it removes them.
    scratch: TempDir,
}

impl Guest {
    /// Boots a guest and waits until it accepts commands. A kernel that dies before its first process has not
    /// run any of our code; this happens occasionally under software emulation, so it is reported and
    /// retried.
    ///
    /// # Errors
    ///
    /// QEMU cannot be started, or the guest does not boot in time.
    pub(crate) fn start(boot: Boot<'_>) -> Result<Self> {
        for attempt in 1..ATTEMPTS {
            match Self::start_once(boot) {
                Err(error) if error.downcast_ref::<DiedBooting>().is_some() => {
                    println!("{error:#}");
                    println!("  booting again, attempt {} of {ATTEMPTS}", attempt + 1);
                }
                other => return other,
            }
        }
        Self::start_once(boot)
    }

    fn start_once(boot: Boot<'_>) -> Result<Self> {
        let deadline = Instant::now() + boot.limit;
        let log = log_folder(boot.name);
        if log.exists() {
            fs::remove_dir_all(&log).with_context(|| format!("cannot empty {}", log.display()))?;
        }
        fs::create_dir_all(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let scratch = scratch::create()?;
        let initramfs = scratch.path().join("initramfs");
        fs::write(&initramfs, boot.initramfs)
            .with_context(|| format!("cannot write {}", initramfs.display()))?;
        let socket = |name: &str| scratch.path().join(name);
        let (control, qmp, terminal) = (socket("control"), socket("qmp"), socket("terminal"));
        let console = log.join("console.log");
        let files = Files {
            kernel: &boot.kernel.image,
            initramfs: &initramfs,
            console: &console,
            log: &log,
            control: &control,
            qmp: &qmp,
            terminal: &terminal,
        };
        if let Some(mib) = boot.machine.disk_mib {
            disk::create(&log, mib)?;
        }
        let arguments = boot.machine.arguments(boot.acceleration, files);
        fs::write(log.join("arguments"), arguments.join("\n")).context("cannot write to the log folder")?;
        let mut process = Process::start(&arguments, &log.join("qemu.log"))?;
        let qmp = Qmp::open(connect(&qmp, &mut process, deadline, &log)?)?;
        let control = connect(&control, &mut process, deadline, &log)?;
        let mut guest = Self {
            process,
            control,
            qmp,
            release: String::new(),
            deadline,
            limit: boot.limit,
            jobs: BTreeMap::new(),
            provoked: Vec::new(),
            next_check: None,
            next: Job::default(),
            log,
            image: boot.kernel.image.clone(),
            boots: 0,
            scratch,
        };
        while guest.release.is_empty() {
            if let Err(error) = guest.pump(guest.deadline) {
                let lines = console::death(&guest.console());
                return if lines.is_empty() {
                    Err(error.context("the guest did not boot"))
                } else {
                    Err(error.context(DiedBooting(lines)))
                };
            }
        }
        ensure!(
            guest.release == boot.kernel.release,
            "{} is Linux {}, but its modules are those of {}",
            boot.kernel.image.display(),
            guest.release,
            boot.kernel.release
        );
        guest.next_check = Some(Instant::now());
        Ok(guest)
    }

    /// The other end of its terminal, `/dev/hvc0`. Only one user at a time can connect.
    pub(crate) fn terminal(&self) -> Result<UnixStream> {
        UnixStream::connect(self.scratch.path().join("terminal")).context("cannot reach the guest's terminal")
    }

    /// Restarts the guest's time limit with this value.
    pub(crate) fn extend(&mut self, limit: Duration) {
        self.limit = limit;
        self.deadline = Instant::now() + limit;
    }

    /// The kernel's complaints on its console, except for provoked ones.
    pub(crate) fn complaints(&self) -> Vec<String> {
        console::complaints(&self.console(), &self.provoked)
    }

    /// Where the kernel was at the first complaint.
    pub(crate) fn complaint_location(&self) -> Vec<String> {
        console::location(&self.console(), &self.provoked)
    }

    /// From now on, complaints with these words are not a failure: a test is about to provoke one.
    pub(crate) fn provoke(&mut self, words: &'static str) {
        if !self.provoked.contains(&words) {
            self.provoked.push(words);
        }
    }

    /// From now on, complaints do not end the waiting: a failure has been detected already.
    pub(super) const fn expect_complaints(&mut self) {
        self.next_check = None;
    }

    /// Folder on the host for files that help to analyze a failure.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// QEMU's own protocol.
    pub(crate) const fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// The kernel's console from its first complaint on, else the last lines.
    pub(crate) fn console_excerpt(&self, lines: usize) -> Vec<String> {
        console::excerpt(&self.console(), &self.provoked, lines)
    }

    /// The complete output of the kernel on its console.
    pub(crate) fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log.join("console.log")).unwrap_or_default()).into_owned()
    }

    /// Runs a shell command and waits until it exits.
    ///
    /// # Errors
    ///
    /// The guest has exited or exceeded its time limit. A failed command is not an error here: see
    /// [`Guest::check`].
    pub(crate) fn run(&mut self, command: &str) -> Result<Output> {
        let job = self.spawn(command)?;
        self.wait(job)
    }

    /// Runs a shell command that must succeed, and returns the lines it printed.
    ///
    /// # Errors
    ///
    /// As [`Guest::run`], and if its exit code is not 0.
    pub(crate) fn check(&mut self, command: &str) -> Result<Vec<String>> {
        self.run(command)?.success().with_context(|| format!("in the guest: {command}"))
    }

    /// Starts a shell command in the background.
    ///
    /// # Errors
    ///
    /// The guest has exited.
    pub(crate) fn spawn(&mut self, command: &str) -> Result<Job> {
        self.spawn_job(command, None)
    }

    /// Starts a shell command whose lines are passed to `sink` as they arrive, while the host waits for
    /// anything.
    ///
    /// # Errors
    ///
    /// The guest has exited.
    pub(crate) fn spawn_with(&mut self, command: &str, sink: Sink) -> Result<Job> {
        self.spawn_job(command, Some(sink))
    }

    fn spawn_job(&mut self, command: &str, sink: Option<Sink>) -> Result<Job> {
        let job = self.next;
        self.next = job.next();
        self.jobs.insert(job, State::new(sink));
        self.control.send(&Request::Run(job.number(), command.to_owned()).to_string())?;
        Ok(job)
    }

    /// Waits until a job has exited and forgets it.
    ///
    /// # Errors
    ///
    /// The guest has exited or exceeded its time limit.
    pub(crate) fn wait(&mut self, job: Job) -> Result<Output> {
        self.wait_within(job, self.limit)?.with_context(|| format!("job {job:?} did not exit"))
    }

    /// Waits until a job has exited, but no longer than `patience`; `None` if it is still running.
    ///
    /// # Errors
    ///
    /// The guest has exited or exceeded its time limit.
    pub(crate) fn wait_within(&mut self, job: Job, patience: Duration) -> Result<Option<Output>> {
        let until = Instant::now() + patience;
        loop {
            let Some(state) = self.jobs.get(&job) else { bail!("unknown job {job:?}") };
            if state.ended() {
                return Ok(self.jobs.remove(&job).and_then(State::finish));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            self.pump(until)?;
        }
    }

    /// Waits until a job prints a line that starts with `start`, and returns that line.
    ///
    /// # Errors
    ///
    /// The job exits without it, or the guest has exited or exceeded its time limit.
    pub(crate) fn wait_line(&mut self, job: Job, start: &str) -> Result<String> {
        loop {
            let Some(state) = self.jobs.get(&job) else { bail!("unknown job {job:?}") };
            if let Some(line) = state.out().iter().find(|line| line.starts_with(start)) {
                return Ok(line.clone());
            }
            ensure!(!state.ended(), "a command exited without printing `{start}…`: {}", state.text());
            self.pump(self.deadline)?;
        }
    }

    /// Sends a signal to every process of a job.
    ///
    /// # Errors
    ///
    /// The guest has exited.
    pub(crate) fn signal(&mut self, job: Job, signal: rustix::process::Signal) -> Result<()> {
        self.control.send(&Request::Signal(job.number(), signal.as_raw()).to_string())
    }

    /// The host's files that it was booted from: the image and the root file system.
    ///
    /// # Errors
    ///
    /// One of them does not exist any more.
    pub(crate) fn booted_from(&self) -> Result<[PathBuf; 2]> {
        let initramfs = self.scratch.path().join("initramfs");
        let real =
            |path: &Path| path.canonicalize().with_context(|| format!("cannot find {}", path.display()));
        Ok([real(&self.image)?, real(&initramfs)?])
    }

    /// The lines that a job has printed so far; none if the job is unknown.
    pub(crate) fn printed(&self, job: Job) -> &[String] {
        self.jobs.get(&job).map_or(&[], State::out)
    }

    /// Information for the analysis of a failure.
    fn console_tail(&self) -> String {
        let tail = self.console_excerpt(5).join("\n  ");
        format!("console: {}\n  {tail}", self.log.join("console.log").display())
    }
}

/// Folder of a guest's logs.
pub(super) fn log_folder(name: &str) -> PathBuf {
    crate::workspace().join("target/guest").join(name)
}

/// Waits until QEMU listens on a socket.
fn connect(path: &Path, process: &mut Process, deadline: Instant, log: &Path) -> Result<Link> {
    loop {
        interrupt::check()?;
        if let Some(link) = Link::connect(path)? {
            return Ok(link);
        }
        if let Some(status) = process.status()? {
            let message = fs::read_to_string(log.join("qemu.log")).unwrap_or_default();
            bail!("QEMU exited immediately ({status}): {}", message.trim());
        }
        ensure!(Instant::now() < deadline, "QEMU does not listen on {}", path.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}
