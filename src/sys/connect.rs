//! The caller's end of the socket: connect, send once with descriptors, receive once. Never blocks on anything but
//! the broker, and never closes a descriptor that it was lent.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, setsockopt, sockopt,
};

/// A new `SOCK_SEQPACKET` socket, close-on-exec: unix(7).
///
/// Errors: `EPERM`, `EACCES` or `EAFNOSUPPORT` where a sandbox's filter forbids unix sockets.
pub fn socket() -> io::Result<OwnedFd> {
    Ok(socket::socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?)
}

/// Connects to the socket at `path`, and waits while its backlog is full: connect(2).
///
/// Errors: `ENAMETOOLONG` for a path over 107 bytes, `ENOENT`, `EACCES`, `ECONNREFUSED` when nobody listens or the
/// file is not a socket, `EPROTOTYPE` when it is a socket of another type.
pub fn connect(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let address = UnixAddr::new(path)?;
    Ok(retry(|| socket::connect(fd.as_raw_fd(), &address))?)
}

/// Sends `message` as one packet with `fds` in one `SCM_RIGHTS`: sendmsg(2).
///
/// A packet must fit the send buffer whole, so one that does not is tried again with a larger buffer.
/// Errors: `EMSGSIZE` when the kernel's `net.core.wmem_max` is too small, `EPIPE` or `ECONNRESET` when the other end
/// is gone.
pub fn send<const N: usize>(fd: BorrowedFd<'_>, message: &[u8], fds: [BorrowedFd<'_>; N]) -> io::Result<()> {
    let raw = fds.map(|fd| fd.as_raw_fd());
    let sent = match send_once(fd, message, &raw) {
        Err(Errno::EMSGSIZE) => {
            setsockopt(&fd, sockopt::SndBuf, &message.len())?;
            send_once(fd, message, &raw)
        }
        sent => sent,
    };
    Ok(sent.map(drop)?)
}

/// Receives one packet, and returns its whole length even where `buffer` held less of it; 0 when the other end is
/// closed: recv(2) with `MSG_TRUNC`.
pub fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(retry(|| socket::recv(fd.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC))?)
}

fn send_once(fd: BorrowedFd<'_>, message: &[u8], fds: &[RawFd]) -> nix::Result<usize> {
    let rights = [ControlMessage::ScmRights(fds)];
    let control = if fds.is_empty() { &[][..] } else { &rights[..] };
    let data = [IoSlice::new(message)];
    retry(|| socket::sendmsg::<UnixAddr>(fd.as_raw_fd(), &data, control, MsgFlags::MSG_NOSIGNAL, None))
}

fn retry<T>(mut attempt: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match attempt() {
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::sys::socket::socketpair;

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SockFlag::SOCK_CLOEXEC;
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).expect("a pair of sockets")
    }

    #[test]
    fn a_packet_longer_than_the_buffer_tells_its_length() {
        let (near, far) = pair();
        send(near.as_fd(), b"twelve bytes", []).expect("it is sent");
        assert_eq!(receive(far.as_fd(), &mut [0; 4]).expect("it is received"), 12);
    }

    #[test]
    fn a_packet_larger_than_the_first_buffer_is_sent() {
        let (near, far) = pair();
        setsockopt(&near, sockopt::SndBuf, &4096).expect("a small buffer");
        send(near.as_fd(), &[7; 100_000], [near.as_fd()]).expect("it is sent");
        assert_eq!(receive(far.as_fd(), &mut [0; 16]).expect("it is received"), 100_000);
    }

    #[test]
    fn a_closed_end_is_zero_bytes_to_read_and_an_error_to_write() {
        let (near, far) = pair();
        drop(far);
        assert_eq!(receive(near.as_fd(), &mut [0; 4]).expect("end of file"), 0);
        let error = send(near.as_fd(), b"x", []).expect_err("nobody is there");
        assert_eq!(error.raw_os_error(), Some(Errno::EPIPE as i32));
    }
}
