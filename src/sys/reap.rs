//! Reaps children: how a child ended, and the processor time that it used.

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use super::reap_child::ProcessEnd;
use super::retry::uninterrupted;

/// Reaps the child behind `pidfd`, if it has ended. Gives the processor time too, of the child and of the
/// children that it waited for. Never waits. The end of a traced process (`ptrace(2)`) is shown to its tracer
/// first, though the pidfd is readable already; the parent sees it when the tracer has waited for it,
/// detached or ended. `waitid(2)` with `P_PIDFD`, Linux 5.4; the system call itself, which takes a `rusage`
/// that the C library's function does not. Errors: `ECHILD` (it was reaped, or is no child).
#[allow(unsafe_code, reason = "nix's waitid gives neither real-time signals nor rusage")]
pub fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<(ProcessEnd, Duration)>> {
    // SAFETY: all zeroes is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { zeroed() };
    // SAFETY: all zeroes is a valid rusage.
    let mut usage: libc::rusage = unsafe { zeroed() };
    let (call, kind, id) = (libc::SYS_waitid, libc::P_PIDFD, pidfd.as_raw_fd());
    let flags = libc::WEXITED | libc::WNOHANG;
    uninterrupted(|| {
        // SAFETY: `info` and `usage` are a whole siginfo_t and rusage that outlive the call.
        Errno::result(unsafe { libc::syscall(call, kind, id, &raw mut info, flags, &raw mut usage) })
    })?;
    if info.si_signo == 0 {
        return Ok(None);
    }
    // SAFETY: waitid gave a child, so `info` describes a child (the SIGCHLD fields are set).
    let status = unsafe { info.si_status() };
    let end = if info.si_code == libc::CLD_EXITED {
        ProcessEnd::Exited(u8::try_from(status & 0xff).unwrap_or(u8::MAX))
    } else {
        ProcessEnd::Signaled(status)
    };
    Ok(Some((end, duration(usage.ru_utime) + duration(usage.ru_stime))))
}

/// Whether a signal ended the child behind `pidfd`, without reaping it. `None` while [`reap`] gives `None`.
/// `waitid(2)` with `WNOWAIT`.
pub fn was_signaled(pidfd: BorrowedFd<'_>) -> Option<bool> {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
    match waitid(Id::PIDFd(pidfd), look) {
        Ok(WaitStatus::StillAlive) => None,
        // nix gives `EINVAL` for a real-time signal, which it does not know.
        Err(error) => Some(error == Errno::EINVAL),
        Ok(status) => Some(matches!(status, WaitStatus::Signaled(..))),
    }
}

fn duration(time: libc::timeval) -> Duration {
    let unsigned = |number: i64| number.unsigned_abs(); // the kernel's are never negative
    Duration::from_secs(unsigned(time.tv_sec)) + Duration::from_micros(unsigned(time.tv_usec))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::process::{Command, Stdio};

    use nix::poll::{PollFd, PollFlags};
    use nix::unistd::Pid;

    use super::super::{open_pidfd, poll_until};
    use super::*;

    #[expect(clippy::zombie_processes, reason = "reaping it is what is tested")]
    fn check(script: &str, want: ProcessEnd) -> Duration {
        let child = Command::new("/bin/sh").args(["-c", script]).spawn().expect("there is a shell");
        let pidfd = open_pidfd(Pid::from_raw(child.id().cast_signed())).expect("it is not reaped yet");
        let mut ended = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        assert!(poll_until(&mut ended, None).expect("polled"));
        let (end, used) = reap(pidfd.as_fd()).expect("a child of ours").expect("it has ended");
        assert_eq!(end, want);
        used
    }

    #[test]
    fn a_child_ends_by_itself_or_by_a_signal() {
        check("exit 7", ProcessEnd::Exited(7));
        check("kill -KILL $$", ProcessEnd::Signaled(libc::SIGKILL));
        check("kill -40 $$", ProcessEnd::Signaled(40));
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "it ends with its stdin, after the test")]
    fn a_child_that_runs_is_not_waited_for() {
        let child = Command::new("/bin/cat").stdin(Stdio::piped()).spawn().expect("there is cat");
        let pidfd = open_pidfd(Pid::from_raw(child.id().cast_signed())).expect("it is not reaped yet");
        assert_eq!(reap(pidfd.as_fd()).expect("a child of ours"), None);
    }

    #[test]
    fn time_of_waited_for_children_counts() {
        let work = "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done";
        let used = check(&format!("({work}); exit 0"), ProcessEnd::Exited(0));
        assert!(used > Duration::from_millis(5), "{used:?}");
        assert!(check(&format!("({work}) & exit 0"), ProcessEnd::Exited(0)) < used);
    }
}
