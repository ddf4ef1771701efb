//! `AF_UNIX`, `SOCK_SEQPACKET`: listeners, connections, pairs.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::sockopt::{PassCred, PeerCredentials};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, getsockopt, listen, setsockopt,
    socket, socketpair,
};

use super::message::Sender;
use super::retry::uninterrupted;

/// A listening socket at `path`, which must not exist. `unix(7)`. Errors: `EADDRINUSE`, `ENAMETOOLONG` (over
/// 107 bytes), `EACCES`, `ENOENT`. The file's mode follows the umask.
pub fn bind_listener(path: &Path, backlog: i32) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    bind(listener.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&listener, Backlog::new(backlog)?)?;
    Ok(listener)
}

/// Has the kernel attach the sender's credentials to every message of connections that are accepted from now
/// on: accepted sockets inherit the option, so no message can come before it is set.
pub fn pass_credentials(listener: BorrowedFd<'_>) -> io::Result<()> {
    Ok(setsockopt(&listener, PassCred, &true)?)
}

/// The next connection. `accept4(2)`. Errors: `EAGAIN` (none waits), `EMFILE`, `ENFILE`, `ENOMEM`.
#[allow(unsafe_code, reason = "nix's accept4 gives a raw descriptor")]
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let number =
        uninterrupted(|| accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK))?;
    // SAFETY: accept4 succeeded, so this is a new descriptor that no other value owns.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The process that connected, as the kernel noted it then. `SO_PEERCRED`.
pub fn connector(connection: BorrowedFd<'_>) -> io::Result<Sender> {
    let credentials = getsockopt(&connection, PeerCredentials)?;
    Ok(Sender { pid: credentials.pid(), uid: credentials.uid(), gid: credentials.gid() })
}

/// Two connected `SOCK_SEQPACKET` sockets.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Two connected `SOCK_STREAM` sockets, for messages that may be larger than a socket's buffer.
pub fn stream_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?)
}
