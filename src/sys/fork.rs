//! A process that begins as a copy of this one, with memory of its own: `fork(2)`, but a child of this
//! process's parent.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::Pid;

/// `CLONE_INTO_CGROUP`. The constant of `libc` is cut to an `int`, which leaves 0.
pub(super) const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The exit code of a copy whose work panicked.
const PANICKED: u8 = 101;

/// Makes a copy of this process that does `work` and exits with its result, and gives the copy's pid and a
/// pidfd. The copy is a child of this process's parent (`CLONE_PARENT`), and has copies of all descriptors.
/// With `group`, the directory of a cgroup v2, it begins in that cgroup (`CLONE_INTO_CGROUP`, Linux 5.7).
///
/// Only for a process with one thread: a copy has the calling thread alone, and a lock that another thread
/// held stays locked.
///
/// Where `clone3` is denied, `clone` is called instead, which cannot do the group.
///
/// Linux 5.3, `clone(2)`. Errors: `ENOSYS`, `EPERM` (a group is asked for, and there is no `clone3`),
/// `EAGAIN` (too many processes, or tasks in the group), `ENOMEM`, `EMFILE`; of a group `EACCES` (this
/// process may not move a process there), `EBUSY`, `ENODEV` (it was removed).
#[allow(unsafe_code, reason = "no crate offers clone3 with CLONE_PARENT")]
pub fn copy_sibling(group: Option<BorrowedFd<'_>>, work: impl FnOnce() -> u8) -> io::Result<(Pid, OwnedFd)> {
    let mut pidfd: libc::c_int = -1;
    let flags = u64::from((libc::CLONE_PARENT | libc::CLONE_PIDFD).cast_unsigned());
    // SAFETY: all zeroes are arguments of clone3.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | group.map_or(0, |_| CLONE_INTO_CGROUP);
    args.pidfd = (&raw mut pidfd).addr() as u64;
    args.cgroup = group.map_or(0, |group| u64::from(group.as_raw_fd().unsigned_abs()));
    // SAFETY: `args` is whole, `pidfd` and `group` outlive the call; without CLONE_VM and a stack the copy
    // goes on here, with memory of its own.
    let child = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    let child = match Errno::result(child) {
        Err(Errno::ENOSYS | Errno::EPERM) if group.is_none() => {
            // SAFETY: as above; clone(2) stores the pidfd at the address of the argument `parent_tid`.
            Errno::result(unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) })
        }
        child => child,
    }?;
    if child == 0 {
        // A panic must not unwind into the caller's code, which only the other process is to run.
        let code = catch_unwind(AssertUnwindSafe(work)).unwrap_or(PANICKED);
        // SAFETY: ends the copy; what the other process owns is not dropped here a second time.
        unsafe { libc::_exit(code.into()) }
    }
    // SAFETY: the call succeeded with CLONE_PIDFD, so `pidfd` is a new descriptor that no other value owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok((Pid::from_raw(i32::try_from(child).expect("the kernel's pids fit i32")), pidfd))
}

/// Blocks every signal that can be blocked in this process, which has one thread. `sigprocmask(2)`.
pub fn block_signals() -> io::Result<()> {
    Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags};

    use super::*;

    #[test]
    fn a_copy_does_its_work_in_memory_of_its_own_and_ends() {
        // The copy's parent is the test's parent, so this process cannot reap it.
        let (listen, speak) = crate::sys::pair().expect("a pair");
        let mut number = [7];
        let work = || {
            number[0] += 1;
            // If this fails, the read below does too.
            crate::sys::write(speak.as_fd(), &number).ok();
            0
        };
        let (_, pidfd) = copy_sibling(None, work).expect("a process");
        let mut end = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        assert!(crate::sys::poll_until(&mut end, None).expect("polled"));
        let mut told = [0];
        assert_eq!(crate::sys::read(listen.as_fd(), &mut told).expect("told"), 1);
        assert_eq!((told, number), ([8], [7]));
    }
}
