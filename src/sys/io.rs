//! Moves bytes through descriptors whose flags other processes share, so that `O_NONBLOCK` cannot be set: a
//! call that could block gets a flag of its own against that, and gives `EAGAIN` instead.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::sys::uio;
use nix::unistd;

use super::retry::uninterrupted;

/// Moves at most `bytes` from one descriptor to another within the kernel; one of them is a pipe, and the
/// other may have an offset of its own. Never waits for a pipe. `splice(2)`. Errors: `EAGAIN`, `EPIPE`,
/// `EINVAL` (it cannot join these two), and those of writing a file. Bytes that were not moved stay where
/// they are.
pub fn splice(
    from: BorrowedFd<'_>,
    from_offset: Option<u64>,
    to: BorrowedFd<'_>,
    to_offset: Option<u64>,
    bytes: usize,
) -> io::Result<usize> {
    let flags = SpliceFFlags::SPLICE_F_NONBLOCK;
    let (mut from_offset, mut to_offset) = (offset(from_offset)?, offset(to_offset)?);
    uninterrupted(|| nix::fcntl::splice(from, from_offset.as_mut(), to, to_offset.as_mut(), bytes, flags))
}

fn offset(offset: Option<u64>) -> io::Result<Option<i64>> {
    offset.map(i64::try_from).transpose().map_err(|_| Errno::EFBIG.into())
}

/// One `read(2)`; 0 is the end.
pub fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    uninterrupted(|| unistd::read(fd, buffer))
}

/// One `write(2)`: the number of bytes that were taken.
pub fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    uninterrupted(|| unistd::write(fd, bytes))
}

/// One `pread(2)`.
pub fn read_at(file: BorrowedFd<'_>, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let at = i64::try_from(at).map_err(|_| Errno::EFBIG)?;
    uninterrupted(|| uio::pread(file, buffer, at))
}

/// One `pwrite(2)`.
pub fn write_at(file: BorrowedFd<'_>, at: u64, bytes: &[u8]) -> io::Result<usize> {
    let at = i64::try_from(at).map_err(|_| Errno::EFBIG)?;
    uninterrupted(|| uio::pwrite(file, bytes, at))
}

/// Receives from a socket without waiting. `recv(2)`.
pub fn receive_now(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    uninterrupted(|| recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT))
}

/// Looks at the next message of a socket, and leaves it there; 0 is the end. Does not wait.
pub fn peek_now(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    uninterrupted(|| recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT))
}

/// Sends as many bytes as a socket has room for, without waiting and without SIGPIPE. `send(2)`.
pub fn send_now(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    uninterrupted(|| send(socket.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL))
}

/// A new pipe, read end first, with room for `bytes` if the user's limit allows it.
pub fn pipe(bytes: i32) -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = unistd::pipe2(OFlag::O_CLOEXEC)?;
    // A smaller pipe serves too.
    fcntl(&write, FcntlArg::F_SETPIPE_SZ(bytes)).ok();
    Ok((read, write))
}

/// Sets `O_NONBLOCK` on this open file. All processes that hold the open file share the flag, so this is only
/// for one that no other process holds.
pub fn never_wait(own: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(own, FcntlArg::F_GETFL)?);
    fcntl(own, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// The number of unread bytes in a pipe; either end will do. `FIONREAD`, `pipe(7)`.
pub fn unread_bytes(pipe: BorrowedFd<'_>) -> io::Result<u64> {
    count(pipe, libc::FIONREAD)
}

/// The memory of messages that were sent on a socket and not received yet; on a unix socket it is 0 when the
/// other side has received all. `SIOCOUTQ`, `unix(7)`.
pub fn untaken_bytes(socket: BorrowedFd<'_>) -> io::Result<u64> {
    count(socket, libc::TIOCOUTQ)
}

#[allow(unsafe_code, reason = "nix has no safe ioctl")]
fn count(fd: BorrowedFd<'_>, what: libc::Ioctl) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is borrowed, hence open, and both requests write one int, which outlives the
    // call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), what, &raw mut bytes) };
    Errno::result(result)?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// Opens the file behind a descriptor once more, with flags of its own. Through `/proc/self/fd`, so it needs
/// neither a path nor search permission on directories, but permission to open the file. Errors: `EACCES`,
/// `ENXIO` (a socket).
pub fn open_again(fd: BorrowedFd<'_>, flags: OFlag) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    uninterrupted(|| nix::fcntl::open(path.as_str(), flags, nix::sys::stat::Mode::empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_pipe_and_an_empty_one_say_so_whatever_their_flags() {
        let (near_read, near_write) = pipe(4096).expect("a pipe");
        let (far_read, far_write) = pipe(4096).expect("a pipe");
        let move_on = || splice(near_read.as_fd(), None, far_write.as_fd(), None, 1 << 16);
        let is_waiting =
            |moved: io::Result<usize>| moved.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        assert!(is_waiting(move_on()), "an empty one");
        assert_eq!(write(near_write.as_fd(), &[7; 4096]).expect("room"), 4096);
        assert_eq!(move_on().expect("room"), 4096);
        assert_eq!(unread_bytes(far_write.as_fd()).expect("a number"), 4096);
        assert_eq!(write(near_write.as_fd(), &[7; 10]).expect("room"), 10);
        assert!(is_waiting(move_on()), "a full one");
        drop(far_read);
        assert_eq!(move_on().expect_err("nobody reads").raw_os_error(), Some(libc::EPIPE));
    }

    #[test]
    fn a_terminal_that_is_opened_again_has_flags_of_its_own() {
        let pty = nix::pty::openpty(None, None).expect("a terminal");
        let own = open_again(pty.slave.as_fd(), OFlag::O_RDONLY).expect("it can be opened");
        assert!(read(own.as_fd(), &mut [0; 8]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock));
        let flags = fcntl(&pty.slave, FcntlArg::F_GETFL).expect("flags");
        assert!(!OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK));
    }
}
