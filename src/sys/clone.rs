//! `clone3(2)` as the nursery needs it: a fork whose child belongs to the nursery's own parent.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::Pid;

/// Which side of the clone this is.
#[derive(Debug)]
pub enum Clone3 {
    /// The one that called: the new process, and a pidfd of it.
    Parent {
        /// The new process.
        child: Pid,
        /// A pidfd of the new process.
        pidfd: OwnedFd,
    },
    /// The new process.
    Child,
}

/// `CLONE_INTO_CGROUP`; what `libc` has under this name is 0, cut to an `int`.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Copies this process; the copy is a child of this process's parent (`CLONE_PARENT`), which may wait for it. With
/// `group`, the directory of a cgroup v2, the copy begins its life in there (`CLONE_INTO_CGROUP`, Linux 5.7): no move
/// follows, which would take a lock of the whole kernel's.
///
/// Only for a process with one thread: the copy goes on as ordinary code, and would miss every other thread.
/// Linux 5.3, `clone(2)`. Errors: `EAGAIN` (too many processes, or tasks in the group), `ENOMEM`, `EMFILE`; of a group
/// `EACCES`, `EBUSY` (it hands controllers on, so it may hold no process), `ENODEV` (it was removed).
#[allow(unsafe_code, reason = "no crate offers clone3 with CLONE_PARENT")]
pub fn clone_sibling(group: Option<BorrowedFd<'_>>) -> io::Result<Clone3> {
    let mut pidfd: libc::c_int = -1;
    let flags = libc::CLONE_PARENT | libc::CLONE_PIDFD;
    let mut args = libc::clone_args {
        flags: u64::from(flags.cast_unsigned()) | group.map_or(0, |_| CLONE_INTO_CGROUP),
        pidfd: (&raw mut pidfd).addr() as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: 0, // with CLONE_PARENT the kernel takes the nursery's own, SIGCHLD
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: group.map_or(0, |group| u64::from(group.as_raw_fd().unsigned_abs())),
    };
    // SAFETY: `args` is a whole clone_args of the size given; `pidfd` and `group` outlive the call; without CLONE_VM the child
    // has a copy of the memory and, as the caller has one thread, all locks are free in it.
    let child = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    let child = i32::try_from(Errno::result(child)?).expect("the kernel's pids fit i32");
    if child == 0 {
        return Ok(Clone3::Child);
    }
    // SAFETY: the call succeeded with CLONE_PIDFD, so `pidfd` is a new descriptor that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Clone3::Parent { child: Pid::from_raw(child), pidfd })
}
