//! The client: finds running tracers and asks them, newest first.

use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use p2p_trace_model::text::Text;
use rustix::{
    io::Errno,
    net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt::Timeout},
};

use super::{
    folder::{Entry, Folder},
    line::{LineError, read_line, write_line},
    peer::{self, PeerError},
    place::{self, Place},
    protocol::{self, MAX_RESPONSE, Refused, Request},
};
use crate::device_report::Report;

/// For the complete answer. A server that reads every task of a big host is slow, and may have other clients to answer first.
const PATIENCE: Duration = Duration::from_secs(15);

/// For connecting. The kernel accepts connections, unless more than a hundred are waiting.
const CONNECT: Duration = Duration::from_secs(2);

/// A tracer did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the tracer with process id {pid} did not answer on {}: {problem}", Text::from(path.as_path()))]
pub(crate) struct AskError {
    pub(crate) pid: u32,
    pub(crate) path: PathBuf,
    pub(crate) problem: Problem,
}

/// Why a tracer did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// The socket belongs to another user.
    #[error("permission denied: run as root, or as the user that it runs as")]
    Denied,
    /// The socket was not created by a tracer.
    #[error("not a socket of a tracer: {0}")]
    Unsuited(String),
    /// The tracer accepts no more connections.
    #[error("busy: too many requests are waiting; try again later")]
    Busy,
    /// The process on the other side is not trusted.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The tracer refused the request.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The line could not be written or read.
    #[error("{0}")]
    Line(Text),
}

impl From<LineError> for Problem {
    fn from(error: LineError) -> Self {
        Self::Line(error.to_string().into())
    }
}

/// The result of asking.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The answer of the newest tracer that answered; `None` if there is none.
    pub(crate) report: Option<Report>,
    /// The tracers that did not answer.
    pub(crate) errors: Vec<AskError>,
}

/// Asks the running tracers, newest first, until one answers. Removes this user's sockets whose process has exited.
pub(crate) fn ask(place: &Place, request: &Request) -> Asked {
    let mut asked = Asked::default();
    let folders = place.folders();
    for (folder, entry) in place::sockets(&folders) {
        match ask_one(folder, &entry, request) {
            Ok(Some(report)) => {
                asked.report = Some(report);
                break;
            }
            Ok(None) => {}
            Err(problem) => asked.errors.push(AskError { pid: entry.pid, path: entry.path, problem }),
        }
    }
    asked
}

/// Returns `None` if no process listens on the socket.
fn ask_one(folder: &Folder, entry: &Entry, request: &Request) -> Result<Option<Report>, Problem> {
    if let Some(unsuited) = &entry.unsuited {
        return Err(Problem::Unsuited(unsuited.to_string()));
    }
    let mut stream = match connect(&entry.path) {
        Ok(stream) => stream,
        // A socket refuses connections only after its process has exited: it gets its name after it starts to listen.
        Err(Errno::CONNREFUSED) => {
            tracing::info!("the tracer of {} has exited", Text::from(entry.path.as_path()));
            folder.remove(entry);
            return Ok(None);
        }
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::ACCESS | Errno::PERM) => return Err(Problem::Denied),
        Err(Errno::AGAIN) => return Err(Problem::Busy),
        Err(error) => return Err(LineError::Io(error.into()).into()),
    };
    peer::check(&stream)?;
    let deadline = Instant::now() + PATIENCE;
    let line = protocol::write_request(request).map_err(|error| Problem::Line(error.to_string().into()))?;
    write_line(&mut stream, &line, deadline)?;
    let line = read_line(&mut stream, MAX_RESPONSE, deadline)?;
    Ok(Some(protocol::read_response(&line)?))
}

/// Connects with a timeout, after which it returns `EAGAIN`. `UnixStream::connect` would wait forever for a process that does not
/// accept connections.
fn connect(path: &Path) -> Result<UnixStream, Errno> {
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    net::sockopt::set_socket_timeout(&socket, Timeout::Send, Some(CONNECT))?;
    net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}
