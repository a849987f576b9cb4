//! A booted guest: commands run in it, its console is watched, and it is switched off or killed at the end.

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

/// How often a guest is booted whose kernel dies on the way.
const ATTEMPTS: u32 = 3;
/// The kernel died before it took commands; what it said of it.
#[derive(Debug, thiserror::Error)]
#[error("the guest's kernel died while booting:\n  | {}", .0.join("\n  | "))]
struct DiedBooting(Vec<String>);

/// What to boot, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Boot<'a> {
    /// Name of the folder its logs go to, under `target/guest`.
    pub(crate) name: &'a str,
    pub(crate) kernel: &'a GuestKernel,
    /// The root file system, from [`super::initramfs::build`].
    pub(crate) initramfs: &'a [u8],
    pub(crate) machine: &'a Machine,
    /// How to execute it.
    pub(crate) acceleration: Acceleration,
    /// When to give up: from the start to the power-off.
    pub(crate) limit: Duration,
}

/// A running guest. It is killed when this value is dropped; its logs stay unless [`Guest::power_off`] went well.
#[derive(Debug)]
pub(crate) struct Guest {
    process: Process,
    control: Link,
    qmp: Qmp,
    release: String,
    deadline: Instant,
    limit: Duration,
    jobs: BTreeMap<Job, State>,
    /// Complaints with one of these words in them are part of a test.
    provoked: Vec<&'static str>,
    /// When waiting looks at the console again; `None`: complaints are no reason to stop waiting.
    look: Option<Instant>,
    next: Job,
    log: PathBuf,
    /// The image that it was booted from.
    image: PathBuf,
    /// How often a kernel has come up in it.
    boots: u32,
    /// Holds the sockets and the root file system, and takes them with it.
    scratch: TempDir,
}

impl Guest {
    /// Boots a guest and waits until it takes commands. A kernel that dies before it has started its first process
    /// has not come to anything of ours; under software emulation that happens now and then, so it is said and
    /// tried again.
    ///
    /// # Errors
    ///
    /// QEMU cannot be started, or the guest does not come up within its time.
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
            look: None,
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
                    Err(error.context("the guest did not come up"))
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
        guest.look = Some(Instant::now());
        Ok(guest)
    }

    /// The other end of its terminal, `/dev/hvc0`. One at a time can have it.
    pub(crate) fn terminal(&self) -> Result<UnixStream> {
        UnixStream::connect(self.scratch.path().join("terminal")).context("cannot reach the guest's terminal")
    }

    /// Gives the guest so much more time from now on.
    pub(crate) fn extend(&mut self, limit: Duration) {
        self.limit = limit;
        self.deadline = Instant::now() + limit;
    }

    /// What the kernel has complained about on its console, without what was provoked.
    pub(crate) fn complaints(&self) -> Vec<String> {
        console::complaints(&self.console(), &self.provoked)
    }

    /// Where the kernel was at the first of them.
    pub(crate) fn place_of_complaint(&self) -> Vec<String> {
        console::place(&self.console(), &self.provoked)
    }

    /// From now on, complaints with these words in them are no failure: a test is about to provoke one.
    pub(crate) fn provoke(&mut self, words: &'static str) {
        if !self.provoked.contains(&words) {
            self.provoked.push(words);
        }
    }

    /// From now on, no complaint ends the waiting: something has gone wrong already.
    pub(super) const fn expect_complaints(&mut self) {
        self.look = None;
    }

    /// Folder on the host for whatever should be looked at when something goes wrong.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// QEMU's own protocol.
    pub(crate) const fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// What the kernel wrote to its console from its first complaint on, else the last lines.
    pub(crate) fn console_excerpt(&self, lines: usize) -> Vec<String> {
        console::excerpt(&self.console(), &self.provoked, lines)
    }

    /// Everything the kernel has written to its console.
    pub(crate) fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log.join("console.log")).unwrap_or_default()).into_owned()
    }

    /// Runs a shell command and waits for its end.
    ///
    /// # Errors
    ///
    /// The guest is gone or its time is over. A command that fails is no error here: see [`Guest::check`].
    pub(crate) fn run(&mut self, command: &str) -> Result<Output> {
        let job = self.spawn(command)?;
        self.wait(job)
    }

    /// Runs a shell command that has to succeed, and gives the lines it printed.
    ///
    /// # Errors
    ///
    /// As [`Guest::run`], and when its exit code is not 0.
    pub(crate) fn check(&mut self, command: &str) -> Result<Vec<String>> {
        self.run(command)?.success().with_context(|| format!("in the guest: {command}"))
    }

    /// Starts a shell command, which goes on while others run.
    ///
    /// # Errors
    ///
    /// The guest is gone.
    pub(crate) fn spawn(&mut self, command: &str) -> Result<Job> {
        self.spawn_job(command, None)
    }

    /// Starts a shell command whose lines are handed to `sink` as they come, whatever this host waits for.
    ///
    /// # Errors
    ///
    /// The guest is gone.
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

    /// Waits for the end of a job and forgets it.
    ///
    /// # Errors
    ///
    /// The guest is gone or its time is over.
    pub(crate) fn wait(&mut self, job: Job) -> Result<Output> {
        self.wait_within(job, self.limit)?.with_context(|| format!("job {job:?} did not end"))
    }

    /// Waits for the end of a job, but no longer than `patience`; `None` when it still runs.
    ///
    /// # Errors
    ///
    /// The guest is gone or its time is over.
    pub(crate) fn wait_within(&mut self, job: Job, patience: Duration) -> Result<Option<Output>> {
        let until = Instant::now() + patience;
        loop {
            let Some(state) = self.jobs.get(&job) else { bail!("there is no job {job:?}") };
            if state.ended() {
                return Ok(self.jobs.remove(&job).and_then(State::finish));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            self.pump(until)?;
        }
    }

    /// Waits until a job prints a line that starts with `start`, and gives that line.
    ///
    /// # Errors
    ///
    /// The job ends without it, or the guest is gone or its time is over.
    pub(crate) fn wait_line(&mut self, job: Job, start: &str) -> Result<String> {
        loop {
            let Some(state) = self.jobs.get(&job) else { bail!("there is no job {job:?}") };
            if let Some(line) = state.out().iter().find(|line| line.starts_with(start)) {
                return Ok(line.clone());
            }
            ensure!(!state.ended(), "a command ended without printing `{start}…`; it said: {}", state.text());
            self.pump(self.deadline)?;
        }
    }

    /// Sends a signal to every process of a job.
    ///
    /// # Errors
    ///
    /// The guest is gone.
    pub(crate) fn signal(&mut self, job: Job, signal: rustix::process::Signal) -> Result<()> {
        self.control.send(&Request::Signal(job.number(), signal.as_raw()).to_string())
    }

    /// The files that it was booted from on this machine: the image and the root file system.
    ///
    /// # Errors
    ///
    /// One of them is gone.
    pub(crate) fn booted_from(&self) -> Result<[PathBuf; 2]> {
        let initramfs = self.scratch.path().join("initramfs");
        let real = |path: &Path| path.canonicalize().with_context(|| format!("{} is gone", path.display()));
        Ok([real(&self.image)?, real(&initramfs)?])
    }

    /// The lines that a job has printed so far; none if it is not known.
    pub(crate) fn printed(&self, job: Job) -> &[String] {
        self.jobs.get(&job).map_or(&[], State::out)
    }

    /// Where to look when something went wrong.
    fn whereabouts(&self) -> String {
        let tail = self.console_excerpt(5).join("\n  ");
        format!("console: {}\n  {tail}", self.log.join("console.log").display())
    }
}

/// Where the logs of a guest go.
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
            let said = fs::read_to_string(log.join("qemu.log")).unwrap_or_default();
            bail!("QEMU ended at once with {status}: {}", said.trim());
        }
        ensure!(Instant::now() < deadline, "QEMU does not listen on {}", path.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}
