//! Pidfds: handles of processes. Unlike a pid, a pidfd never comes to mean another process.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// A handle of the process `pid`. `pidfd_open(2)`, Linux 5.3. Errors: `ESRCH` (it is gone), `EMFILE`.
#[allow(unsafe_code, reason = "nix has no pidfd_open")]
pub fn open_pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: two integers go in, no memory is touched.
    let number = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let number = i32::try_from(Errno::result(number)?).expect("the kernel's descriptors fit i32");
    // SAFETY: the call succeeded, so this is a new descriptor that no other value owns.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Sends `signal` to the process behind `pidfd`. `pidfd_send_signal(2)`, Linux 5.1.
/// Errors: `ESRCH` (it has ended), `EPERM` (it runs as another user now).
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    send_number(pidfd, signal as i32)
}

/// Checks that the process behind `pidfd` is there and may be sent signals, without sending one. The call and
/// the errors are those of [`send_signal`].
pub fn process_is_there(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    send_number(pidfd, 0)
}

#[allow(unsafe_code, reason = "nix has no pidfd_send_signal")]
fn send_number(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: the descriptor is borrowed, hence open; a null siginfo means an ordinary signal.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0) };
    Errno::result(result)?;
    Ok(())
}
