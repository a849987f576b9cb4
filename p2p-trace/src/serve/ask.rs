//! The side that asks: finds running tracers, the newest first.

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

/// For the whole answer: a server that looks at every task of a big host takes a while, and may have others before.
const PATIENCE: Duration = Duration::from_secs(15);

/// For it to take the connection: the kernel does that, unless more than a hundred wait already.
const CONNECT: Duration = Duration::from_secs(2);

/// A tracer that did not answer.
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
    /// The socket is another user's.
    #[error("permission denied: run as root, or as the user that it runs as")]
    Denied,
    /// Nothing that a tracer makes has this name.
    #[error("{0}, so it is no tracer's, and is left alone")]
    Unsuited(String),
    /// It takes no connections.
    #[error("it is busy: as many ask it already as can wait")]
    Busy,
    /// The other side is not who it should be.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// It refused.
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

/// What came of asking.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The answer of the newest tracer that gave one; `None` if none runs.
    pub(crate) report: Option<Report>,
    /// Those that did not answer.
    pub(crate) errors: Vec<AskError>,
}

/// Asks the running tracers, the newest first, until one answers. This user's own sockets whose process is gone are removed.
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

/// `None` if nobody listens.
fn ask_one(folder: &Folder, entry: &Entry, request: &Request) -> Result<Option<Report>, Problem> {
    if let Some(unsuited) = &entry.unsuited {
        return Err(Problem::Unsuited(unsuited.to_string()));
    }
    let mut stream = match connect(&entry.path) {
        Ok(stream) => stream,
        // A socket is refused once nobody listens on it, and only then: it gets its name when it already does.
        Err(Errno::CONNREFUSED) => {
            tracing::info!("{} is of a tracer that is gone", Text::from(entry.path.as_path()));
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

/// `UnixStream::connect` would wait for ever for who takes no connections: `EAGAIN` once it has been too long.
fn connect(path: &Path) -> Result<UnixStream, Errno> {
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    net::sockopt::set_socket_timeout(&socket, Timeout::Send, Some(CONNECT))?;
    net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}
