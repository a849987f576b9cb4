//! Runs commands for the host, over a virtio-serial port.
//!
//! Each command is a job in its own process group; several run at once. Their output goes to the host line by
//! line as it arrives.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use p2p_trace_guest::frame::{PORT_NAME, Reply, Request};
use rustix::process::{Pid, Signal, kill_process_group};

/// The port, shared by all threads that send messages.
#[derive(Debug, Clone)]
struct Port(Arc<Mutex<File>>);

/// Process groups of the running jobs.
type Groups = Arc<Mutex<HashMap<u32, Pid>>>;

impl Port {
    /// Sends one line. Without a host, a failure cannot be reported.
    fn send(&self, reply: &Reply) {
        let line = format!("{reply}\n");
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(file.write_all(line.as_bytes()));
    }
}

fn main() -> Result<()> {
    let path = find_port()?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open the port {}", path.display()))?;
    let port = Port(Arc::new(Mutex::new(file.try_clone().context("cannot share the port")?)));
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot read the release")?;
    port.send(&Reply::Ready(release.trim().to_owned()));

    let groups = Groups::default();
    for line in BufReader::new(file).lines() {
        match Request::parse(&line.context("cannot read from the host")?) {
            Some(Request::Run(job, command)) => {
                if let Err(error) = start(job, &command, &port, &groups) {
                    port.send(&Reply::Refused(format!("job {job}: {error:#}")));
                }
            }
            Some(Request::Signal(job, signal)) => {
                if let Err(error) = send_signal(job, signal, &groups) {
                    port.send(&Reply::Refused(format!("signal {signal} to job {job}: {error:#}")));
                }
            }
            Some(Request::PowerOff) => break,
            None => port.send(&Reply::Refused("no such request".to_owned())),
        }
    }
    Ok(())
}

/// The device file of the agent's port: it appears some time after its driver was loaded.
fn find_port() -> Result<PathBuf> {
    for _ in 0..100 {
        for entry in std::fs::read_dir("/sys/class/virtio-ports").into_iter().flatten().flatten() {
            let name = std::fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            if name.trim() == PORT_NAME {
                return Ok(PathBuf::from("/dev").join(entry.file_name()));
            }
        }
        thread::sleep(Duration::from_millis(50));
    }
    bail!("no virtio-serial port is named {PORT_NAME}")
}

/// Starts a job and the threads that report on it.
fn start(job: u32, command: &str, port: &Port, groups: &Groups) -> Result<()> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("cannot start a shell")?;
    let group = Pid::from_raw(child.id().cast_signed()).context("a process without an id")?;
    groups.lock().unwrap_or_else(PoisonError::into_inner).insert(job, group);

    let out = child.stdout.take().map(|pipe| forward(pipe, port.clone(), move |line| Reply::Out(job, line)));
    let err = child.stderr.take().map(|pipe| forward(pipe, port.clone(), move |line| Reply::Err(job, line)));
    let (port, groups) = (port.clone(), Arc::clone(groups));
    thread::spawn(move || {
        let code = wait(child);
        groups.lock().unwrap_or_else(PoisonError::into_inner).remove(&job);
        // The exit is reported last, after all output: a job ends when no process can write to its pipes any
        // more.
        for reader in [out, err].into_iter().flatten() {
            drop(reader.join());
        }
        port.send(&Reply::Exit(job, code));
    });
    Ok(())
}

/// Forwards a pipe to the host, line by line.
fn forward(
    pipe: impl Read + Send + 'static,
    port: Port,
    reply: impl Fn(String) -> Reply + Send + 'static,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            port.send(&reply(String::from_utf8_lossy(&line).into_owned()));
            line.clear();
        }
    })
}

/// Waits for a job's shell and returns its exit code as a shell would.
fn wait(mut child: Child) -> i32 {
    let code = |status: ExitStatus| status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    child.wait().ok().and_then(code).unwrap_or(255)
}

/// Sends a signal to all processes of a job. A job that has already ended is not an error.
fn send_signal(job: u32, signal: i32, groups: &Groups) -> Result<()> {
    let signal = Signal::from_named_raw(signal).context("no such signal")?;
    let group = groups.lock().unwrap_or_else(PoisonError::into_inner).get(&job).copied();
    group.map_or(Ok(()), |group| kill_process_group(group, signal).context("cannot send the signal"))
}
