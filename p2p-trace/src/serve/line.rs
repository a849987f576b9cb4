//! Reads and writes lines with limits on length and time, so that a peer can neither block this process nor exhaust its memory.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Instant,
};

/// Why a line could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error("the line is longer than {0} bytes")]
    TooLong(usize),
    #[error("the connection ended in the middle of the line")]
    Unfinished,
    #[error("nothing more came in time")]
    TimedOut,
    #[error(transparent)]
    Io(io::Error),
}

/// Reads up to the first line feed, at most `limit` bytes, until `deadline`. The deadline also holds for a peer that sends slowly.
pub(super) fn read_line(
    stream: &mut UnixStream,
    limit: usize,
    deadline: Instant,
) -> Result<Vec<u8>, LineError> {
    let mut line = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        set_limit(stream, deadline)?;
        let count = match stream.read(&mut chunk) {
            Ok(0) => return Err(LineError::Unfinished),
            Ok(count) => count,
            Err(error) => match retry(error) {
                Some(error) => return Err(error),
                None => continue,
            },
        };
        let new = &chunk[..count];
        let end = new.iter().position(|&byte| byte == b'\n');
        line.extend_from_slice(&new[..end.unwrap_or(count)]);
        if line.len() > limit {
            return Err(LineError::TooLong(limit));
        }
        if end.is_some() {
            return Ok(line);
        }
    }
}

/// Writes all of `line`, until `deadline`.
pub(super) fn write_line(
    stream: &mut UnixStream,
    mut line: &[u8],
    deadline: Instant,
) -> Result<(), LineError> {
    while !line.is_empty() {
        set_limit(stream, deadline)?;
        match stream.write(line) {
            Ok(0) => return Err(LineError::Unfinished),
            Ok(count) => line = &line[count..],
            Err(error) => {
                if let Some(error) = retry(error) {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

fn set_limit(stream: &UnixStream, deadline: Instant) -> Result<(), LineError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(LineError::TimedOut);
    }
    let limited = stream.set_read_timeout(Some(left)).and_then(|()| stream.set_write_timeout(Some(left)));
    limited.map_err(LineError::Io)
}

/// The error to report. Interrupted calls are repeated; the deadline bounds the repetitions.
fn retry(error: io::Error) -> Option<LineError> {
    match error.kind() {
        io::ErrorKind::Interrupted => None,
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Some(LineError::TimedOut),
        _ => Some(LineError::Io(error)),
    }
}
