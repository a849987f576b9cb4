//! The lines that the host and the agent in a guest exchange.
//!
//! One message per line. Text inside a message is escaped, so that it cannot contain a line break.

use std::fmt;

/// Name of the virtio-serial port, under `/sys/class/virtio-ports/*/name`.
pub const PORT_NAME: &str = "p2p-trace.control";

/// A request of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Run a shell command under a job number that the host has not used yet.
    Run(u32, String),
    /// Send a signal to every process of a job.
    Signal(u32, i32),
    /// Sync, then power the guest off.
    PowerOff,
}

/// A message of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The agent is running; has the kernel release.
    Ready(String),
    /// A job wrote a line to its standard output.
    Out(u32, String),
    /// A job wrote a line to its standard error.
    Err(u32, String),
    /// A job has exited: its exit code, or 128 + the signal that killed it.
    Exit(u32, i32),
    /// A request failed.
    Refused(String),
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(job, command) => write!(f, "run {job} {}", escape(command)),
            Self::Signal(job, signal) => write!(f, "signal {job} {signal}"),
            Self::PowerOff => f.write_str("poweroff"),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(release) => write!(f, "ready {}", escape(release)),
            Self::Out(job, line) => write!(f, "out {job} {}", escape(line)),
            Self::Err(job, line) => write!(f, "err {job} {}", escape(line)),
            Self::Exit(job, code) => write!(f, "exit {job} {code}"),
            Self::Refused(reason) => write!(f, "refused {}", escape(reason)),
        }
    }
}

impl Request {
    /// Parses a line without its end; `None` if it is not a request.
    pub fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "run" => {
                let (job, text) = rest.split_once(' ')?;
                Some(Self::Run(job.parse().ok()?, unescape(text)))
            }
            "signal" => {
                let (job, signal) = rest.split_once(' ')?;
                Some(Self::Signal(job.parse().ok()?, signal.parse().ok()?))
            }
            "poweroff" if rest.is_empty() => Some(Self::PowerOff),
            _ => None,
        }
    }
}

impl Reply {
    /// Parses a line without its end; `None` if it is not a reply.
    pub fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ')?;
        let numbered = || {
            let (job, text) = rest.split_once(' ')?;
            Some((job.parse().ok()?, text))
        };
        Some(match word {
            "ready" => Self::Ready(unescape(rest)),
            "out" => numbered().map(|(job, text)| Self::Out(job, unescape(text)))?,
            "err" => numbered().map(|(job, text)| Self::Err(job, unescape(text)))?,
            "exit" => {
                let (job, code) = numbered()?;
                Self::Exit(job, code.parse().ok()?)
            }
            "refused" => Self::Refused(unescape(rest)),
            _ => return None,
        })
    }
}

/// Replaces characters that would break a line.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r")
}

/// The reverse of [`escape`].
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('n') => plain.push('\n'),
                Some('r') => plain.push('\r'),
                Some(other) => plain.push(other),
                None => plain.push('\\'),
            },
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_requests() {
        for request in [
            Request::Run(7, "echo 'a\\nb'\nsleep 1 \\\n && true".to_owned()),
            Request::Run(0, String::new()),
            Request::Signal(3, 15),
            Request::PowerOff,
        ] {
            let line = request.to_string();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(Request::parse(&line), Some(request));
        }
    }

    #[test]
    fn round_trips_replies() {
        for reply in [
            Reply::Ready("7.3.4".to_owned()),
            Reply::Out(1, "  two words\\n\r".to_owned()),
            Reply::Err(2, String::new()),
            Reply::Exit(3, 137),
            Reply::Refused("why\nnot".to_owned()),
        ] {
            let line = reply.to_string();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(Reply::parse(&line), Some(reply));
        }
    }

    #[test]
    fn rejects_other_lines() {
        for line in ["", "run", "run x y", "signal 1", "signal 1 x", "poweroff now", "hello"] {
            assert_eq!(Request::parse(line), None, "{line}");
        }
        for line in ["", "out", "out x y", "exit 1 x", "[  1.0] nvme: hello"] {
            assert_eq!(Reply::parse(line), None, "{line}");
        }
    }
}
