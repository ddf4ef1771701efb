//! How a child ended.

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::uninterrupted;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this exit code.
    Exited(u8),
    /// By this signal, a real-time one perhaps.
    Signaled(i32),
}

/// Waits until the child behind `pidfd` has ended, and reaps it. `waitid(2)` with `P_PIDFD`, Linux 5.4.
/// Errors: `ECHILD` (it was reaped, or is no child).
#[allow(unsafe_code, reason = "nix's waitid gives no real-time signals")]
pub fn reap(pidfd: BorrowedFd<'_>) -> io::Result<End> {
    // SAFETY: all zeroes is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { zeroed() };
    let id = pidfd.as_raw_fd().cast_unsigned();
    uninterrupted(|| {
        // SAFETY: `info` is a whole siginfo_t that outlives the call.
        Errno::result(unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED) })
    })?;
    // SAFETY: waitid succeeded, so `info` describes a child (the SIGCHLD fields are set).
    let status = unsafe { info.si_status() };
    Ok(if info.si_code == libc::CLD_EXITED {
        End::Exited(u8::try_from(status & 0xff).unwrap_or(u8::MAX))
    } else {
        End::Signaled(status)
    })
}
