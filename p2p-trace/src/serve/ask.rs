//! The side that asks: finds running tracers, the newest first.

use std::{
    fs, io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    line::{LineError, read_line, write_line},
    peer::{self, PeerError},
    place::Place,
    protocol::{self, MAX_RESPONSE, Refused, Request},
};
use crate::device_report::Report;

/// For the whole answer: a server that looks at every task of a big host takes a while, and may have others before.
const PATIENCE: Duration = Duration::from_secs(15);

/// A tracer that did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the tracer with process id {pid} did not answer on {}: {problem}", path.display())]
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
    /// The other side is not who it should be.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// It refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The line could not be written or read.
    #[error("{0}")]
    Line(String),
}

impl From<LineError> for Problem {
    fn from(error: LineError) -> Self {
        Self::Line(error.to_string())
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

/// Asks the running tracers, the newest first, until one answers. Sockets whose process is gone are removed.
pub(crate) fn ask(place: &Place, request: &Request) -> Asked {
    let mut asked = Asked::default();
    for (path, pid) in place.sockets() {
        match ask_one(&path, request) {
            Ok(Some(report)) => {
                asked.report = Some(report);
                break;
            }
            Ok(None) => {}
            Err(problem) => asked.errors.push(AskError { pid, path, problem }),
        }
    }
    asked
}

/// `None` if nobody listens.
fn ask_one(path: &Path, request: &Request) -> Result<Option<Report>, Problem> {
    let mut stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) => {
            return match error.kind() {
                // A socket is refused once nobody listens on it, and only then: it gets its name when it already does.
                io::ErrorKind::ConnectionRefused => {
                    tracing::info!("{} is of a tracer that is gone", path.display());
                    fs::remove_file(path).unwrap_or_default();
                    Ok(None)
                }
                io::ErrorKind::NotFound => Ok(None),
                io::ErrorKind::PermissionDenied => Err(Problem::Denied),
                _ => Err(LineError::Io(error).into()),
            };
        }
    };
    peer::check(&stream)?;
    let deadline = Instant::now() + PATIENCE;
    let line = protocol::write_request(request).map_err(|error| Problem::Line(error.to_string()))?;
    write_line(&mut stream, &line, deadline)?;
    let line = read_line(&mut stream, MAX_RESPONSE, deadline)?;
    Ok(Some(protocol::read_response(&line)?))
}
