//! The server: answers requests on a socket of a running tracer.

use std::{
    fs, io,
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, poll};

use super::{
    folder::{Entry, Folder},
    line::{read_line, write_line},
    peer,
    place::{self, Place},
    protocol::{self, Code, MAX_REQUEST, Refused, Request},
};
use crate::device_report::Report;

/// For a client to send its request, and to receive the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A socket on which this process answers. Dropping it ends the thread and removes the socket.
#[derive(Debug)]
pub(crate) struct Server {
    folder: Folder,
    entry: Entry,
    /// Closing it wakes the thread.
    wake: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens, and calls `answer` in a separate thread, for one request at a time. Fails if there is no folder for the socket or it
    /// cannot be created; tracing continues without it.
    pub(crate) fn start(
        place: &Place,
        answer: impl Fn(&Request) -> Result<Report, String> + Send + 'static,
    ) -> io::Result<Self> {
        let folder = place.prepare()?;
        let (listener, entry) = bind(&folder)?;
        let (wake, woken) = UnixStream::pair()?;
        let serve = move || serve(&listener, &woken, &answer);
        let thread = thread::Builder::new().name("server".to_owned()).spawn(serve)?;
        Ok(Self { folder, entry, wake: Some(wake), thread: Some(thread) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.entry.path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The socket may have been removed already, by hand or by a client that was refused.
        self.folder.remove(&self.entry);
        drop(self.wake.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that answers requests panicked");
        }
    }
}

/// Binds under a temporary name, so that a socket is complete when it gets its name.
#[expect(clippy::disallowed_methods, reason = "a socket in the folder of tracers, not a file")]
fn bind(folder: &Folder) -> io::Result<(UnixListener, Entry)> {
    let pid = std::process::id();
    let name = place::file_name(pid);
    let temporary = format!(".{name}.new");
    let (path, new) = (folder.path().join(&name), folder.path().join(&temporary));
    // Left over from an earlier process with this id.
    if let Some(left) = folder.entry(&temporary, pid) {
        folder.remove(&left);
    }
    let listener = UnixListener::bind(&new).map_err(|error| place::named(&new, &error))?;
    let publish = || {
        listener.set_nonblocking(true)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
        if let Some(unsuited) = folder.entry(&name, pid).and_then(|left| left.unsuited) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, unsuited));
        }
        fs::rename(&new, &path)?;
        folder.entry(&name, pid).ok_or_else(|| io::ErrorKind::NotFound.into())
    };
    match publish() {
        Ok(entry) => Ok((listener, entry)),
        Err(error) => {
            fs::remove_file(&new).unwrap_or_default();
            Err(place::named(&path, &error))
        }
    }
}

fn serve(listener: &UnixListener, woken: &UnixStream, answer: &impl Fn(&Request) -> Result<Report, String>) {
    loop {
        let mut waited = [PollFd::new(listener, PollFlags::IN), PollFd::new(woken, PollFlags::IN)];
        match poll(&mut waited, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                tracing::warn!("requests of other processes are no longer answered: {error}");
                return;
            }
        }
        if !waited[1].revents().is_empty() {
            return;
        }
        match listener.accept() {
            Ok((stream, _)) => {
                if let Err(error) = serve_one(stream, answer) {
                    tracing::debug!("a request was not answered: {error}");
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => {
                tracing::debug!("cannot accept a connection: {error}");
                // For example, too many open files: wait before the next attempt.
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
}

fn serve_one(
    mut stream: UnixStream,
    answer: &impl Fn(&Request) -> Result<Report, String>,
) -> anyhow::Result<()> {
    stream.set_nonblocking(false)?;
    let result = peer::check(&stream)
        .map_err(|error| Refused::new(Code::Denied, error.to_string()))
        .and_then(|()| {
            read_line(&mut stream, MAX_REQUEST, Instant::now() + PATIENCE)
                .map_err(|error| Refused::new(Code::BadRequest, error.to_string()))
        })
        .and_then(|line| protocol::read_request(&line))
        .and_then(|request| answer(&request).map_err(|message| Refused::new(Code::Failed, message)));
    let line = protocol::write_response(result)?;
    write_line(&mut stream, &line, Instant::now() + PATIENCE)?;
    Ok(())
}
