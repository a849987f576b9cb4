//! Checks the process on the other side of a socket.

use std::{io, os::unix::net::UnixStream};

/// The peer is not trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// The peer is a process of another user.
    #[error("process {pid} belongs to user {uid}, not to root or user {own}")]
    Stranger {
        pid: i32,
        /// The user of the peer.
        uid: u32,
        /// The user of this process.
        own: u32,
    },
    /// The kernel does not report the peer.
    #[error("cannot determine the process on the other side of the socket")]
    Unknown(#[from] io::Error),
}

/// Accepts only root and the user of this process, by the credentials that the kernel stored at `connect` or `listen`
/// (`SO_PEERCRED`).
pub(super) fn check(stream: &UnixStream) -> Result<(), PeerError> {
    let peer = rustix::net::sockopt::socket_peercred(stream).map_err(io::Error::from)?;
    let own = rustix::process::geteuid().as_raw();
    let uid = peer.uid.as_raw();
    if is_trusted(uid, own) {
        Ok(())
    } else {
        let pid = peer.pid.as_raw_nonzero().get();
        Err(PeerError::Stranger { pid, uid, own })
    }
}

const fn is_trusted(uid: u32, own: u32) -> bool {
    uid == 0 || uid == own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_same_user_are_trusted() {
        assert!(is_trusted(0, 1000) && is_trusted(1000, 1000) && is_trusted(0, 0));
        assert!(!is_trusted(1001, 1000) && !is_trusted(1000, 0));
    }

    #[test]
    fn this_process_is_its_own_peer() {
        let (stream, _other) = UnixStream::pair().unwrap();
        assert!(check(&stream).is_ok());
    }
}
