//! Who is on the other side of a socket.

use std::{io, os::unix::net::UnixStream};

/// The other side is somebody that this one has nothing to do with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// Another user's process.
    #[error("process {pid} of user {uid} is neither root's nor user {own}'s")]
    Stranger {
        pid: i32,
        /// Its user.
        uid: u32,
        /// This process's user.
        own: u32,
    },
    /// The kernel does not say.
    #[error("the other side of the socket cannot be told")]
    Unknown(#[from] io::Error),
}

/// Refuses all but root and this process's own user, by what the kernel noted at `connect` or `listen` (`SO_PEERCRED`).
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
    fn root_and_oneself_are_trusted() {
        assert!(is_trusted(0, 1000) && is_trusted(1000, 1000) && is_trusted(0, 0));
        assert!(!is_trusted(1001, 1000) && !is_trusted(1000, 0));
    }

    #[test]
    fn this_process_is_its_own_peer() {
        let (stream, _other) = UnixStream::pair().unwrap();
        assert!(check(&stream).is_ok());
    }
}
