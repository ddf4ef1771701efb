//! The caller's end of a `SOCK_SEQPACKET` socket: `unix(7)`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, recv, setsockopt, socket, sockopt,
};

use super::retry::uninterrupted;

/// A new socket, blocking and close-on-exec. `socket(2)`. Errors: `EPERM`, `EACCES` or `EAFNOSUPPORT` where a
/// sandbox forbids unix sockets.
pub fn unconnected() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?)
}

/// The same, non-blocking.
pub fn unconnected_now() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?)
}

/// Connects to the socket at `path`, and waits while its backlog is full. `connect(2)`. Errors: `EAGAIN` (the
/// socket is non-blocking, and the backlog is full), `ENAMETOOLONG` (over 107 bytes), `ENOENT`, `EACCES`,
/// `ECONNREFUSED` (no process listens, or the file is not a socket), `EPROTOTYPE` (a socket of another type).
pub fn connect(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let address = UnixAddr::new(path)?;
    uninterrupted(|| socket::connect(fd.as_raw_fd(), &address))
}

/// Connects a new non-blocking stream socket, without waiting. `connect(2)`. Errors: `EAGAIN` (the backlog is
/// full), `ENOENT`, `EACCES`, `ECONNREFUSED`.
pub fn connect_stream(place: &UnixAddr) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    uninterrupted(|| socket::connect(stream.as_raw_fd(), place))?;
    Ok(stream)
}

/// Makes room for messages of this many bytes, as far as `net.core.wmem_max` lets it. `SO_SNDBUF`,
/// `socket(7)`.
pub fn enlarge_send_buffer(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    Ok(setsockopt(&fd, sockopt::SndBuf, &bytes)?)
}

/// Receives the next message, and gives its whole length, even where `buffer` holds only its beginning; 0 is
/// the end. `recv(2)`.
pub fn receive_into(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    uninterrupted(|| recv(fd.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC))
}

/// Whether bytes that were sent have not been received yet. This holds until the connection is accepted, and
/// then until the broker lets the request, which it peeks at first, begin. `SIOCOUTQ`, `unix(7)`, Linux 3.3.
#[allow(unsafe_code, reason = "nix has no SIOCOUTQ")]
pub fn is_unread(connection: BorrowedFd<'_>) -> io::Result<bool> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is borrowed, hence open, and the kernel writes one int, for which there is room.
    let asked = unsafe { libc::ioctl(connection.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    Errno::result(asked)?;
    Ok(bytes > 0)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::super::{pair, send};
    use super::*;

    #[test]
    fn a_message_longer_than_the_buffer_tells_its_length() {
        let (near, far) = pair().expect("a socket pair");
        send(near.as_fd(), b"twelve bytes", &[]).expect("sent");
        assert_eq!(receive_into(far.as_fd(), &mut [0; 4]).expect("received"), 12);
        drop(near);
        assert_eq!(receive_into(far.as_fd(), &mut [0; 4]).expect("the end"), 0);
    }

    #[test]
    fn what_nobody_has_received_is_unread() {
        let (near, far) = pair().expect("a socket pair");
        let unread = || is_unread(near.as_fd()).expect("a socket tells");
        assert!(!unread());
        send(near.as_fd(), b"some", &[]).expect("sent");
        assert!(unread());
        super::super::peek(far.as_fd(), 64).expect("it is looked at");
        assert!(unread());
        receive_into(far.as_fd(), &mut [0; 4]).expect("received");
        assert!(!unread());
    }

    #[test]
    fn a_larger_buffer_takes_a_larger_message() {
        let (near, far) = pair().expect("a socket pair");
        enlarge_send_buffer(near.as_fd(), 4096).expect("a small buffer");
        let error = send(near.as_fd(), &[7; 100_000], &[]).expect_err("too large");
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
        enlarge_send_buffer(near.as_fd(), 100_000).expect("a larger buffer");
        assert_eq!(send(near.as_fd(), &[7; 100_000], &[]).expect("sent"), 100_000);
        assert_eq!(receive_into(far.as_fd(), &mut [0; 16]).expect("received"), 100_000);
    }
}
