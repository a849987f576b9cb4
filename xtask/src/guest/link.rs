//! A socket to QEMU, read line by line in its own thread, so that waiting for a line can time out.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// A connection that carries lines of text both ways.
#[derive(Debug)]
pub(super) struct Link {
    stream: UnixStream,
    lines: Receiver<String>,
}

/// The result of waiting for a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// A line, without its end.
    Line(String),
    /// No line arrived in time.
    Nothing,
    /// The other side has closed the connection.
    Closed,
}

impl Link {
    /// Connects to a socket. `None` as long as no process listens there.
    pub(super) fn connect(path: &Path) -> Result<Option<Self>> {
        let Ok(stream) = UnixStream::connect(path) else {
            return Ok(None);
        };
        let reader = stream.try_clone().context("cannot share a socket")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let mut reader = BufReader::new(reader);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
                let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
                if sender.send(text).is_err() {
                    break;
                }
                line.clear();
            }
        });
        Ok(Some(Self { stream, lines }))
    }

    pub(super) fn send(&mut self, line: &str) -> Result<()> {
        self.stream.write_all(format!("{line}\n").as_bytes()).context("cannot send to the guest")
    }

    /// Waits for a line.
    pub(super) fn receive(&self, patience: Duration) -> Received {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Received::Line(line),
            Err(RecvTimeoutError::Timeout) => Received::Nothing,
            Err(RecvTimeoutError::Disconnected) => Received::Closed,
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Wakes the reader, which exits. The other side may have closed first.
        if let Err(error) = self.stream.shutdown(std::net::Shutdown::Both)
            && error.kind() != std::io::ErrorKind::NotConnected
        {
            eprintln!("cannot close a socket to the guest: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn carries_lines_and_detects_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        assert!(Link::connect(&path).unwrap().is_none());
        let listener = UnixListener::bind(&path).unwrap();
        let mut link = Link::connect(&path).unwrap().unwrap();
        let (mut other, _) = listener.accept().unwrap();
        assert_eq!(link.receive(Duration::from_millis(1)), Received::Nothing);
        other.write_all(b"one\r\ntwo\nthr").unwrap();
        let patience = Duration::from_secs(10);
        assert_eq!(link.receive(patience), Received::Line("one".to_owned()));
        assert_eq!(link.receive(patience), Received::Line("two".to_owned()));
        link.send("hello").unwrap();
        let mut line = String::new();
        BufReader::new(other.try_clone().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "hello\n");
        drop(other);
        assert_eq!(link.receive(patience), Received::Line("thr".to_owned()));
        assert_eq!(link.receive(patience), Received::Closed);
    }
}
