//! System calls for a process that lives in another process's memory (`clone_vm.rs`), made by `syscall.rs`:
//! nothing here allocates, can panic, or touches `errno`, which the two processes share.
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::retry::repeated;
use super::syscall;

/// An owned descriptor whose close leaves `errno` alone.
#[derive(Debug)]
pub struct ChildFd(RawFd);

impl ChildFd {
    /// The owner of a descriptor that a system call has just made.
    ///
    /// # Safety
    /// The descriptor is open, and nothing else in this process owns it.
    #[allow(unsafe_code, reason = "a number is made a descriptor")]
    pub(super) unsafe fn from_raw(number: RawFd) -> Self {
        Self(number)
    }

    /// Gives up ownership: the number of the descriptor, which stays open.
    pub(super) fn into_raw(self) -> RawFd {
        let number = self.0;
        std::mem::forget(self);
        number
    }
}

impl AsFd for ChildFd {
    #[allow(unsafe_code, reason = "a number is made a descriptor")]
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open until its owner is dropped, and the borrow ends before that.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

impl Drop for ChildFd {
    #[allow(unsafe_code, reason = "the standard library's close sets errno")]
    fn drop(&mut self) {
        // SAFETY: this owns the descriptor. The kernel frees the number even if close(2) gives an error.
        unsafe { syscall::call(libc::SYS_close, [argument(self.0)]) }.ok();
    }
}

/// An `int` as an argument of a system call.
fn argument(number: libc::c_int) -> usize {
    number.cast_unsigned() as usize
}

/// A descriptor as an argument of a system call.
fn number(fd: BorrowedFd<'_>) -> usize {
    argument(fd.as_raw_fd())
}

/// Waits until a descriptor can be read, or has hung up. `ppoll(2)`. A process that waits in read(2) or
/// recvmsg(2) is woken each time the other side of its socket takes a message; one that waits here is not.
#[allow(unsafe_code, reason = "nix's ppoll sets errno")]
pub fn await_readable(fd: BorrowedFd<'_>) -> nix::Result<()> {
    let mut look = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let arguments = [(&raw mut look).expose_provenance(), 1, 0, 0, 0];
    // SAFETY: one such structure is there, and outlives the call.
    repeated(|| unsafe { syscall::call(libc::SYS_ppoll, arguments) }).map(drop)
}

/// One `read(2)`; 0 is the end.
#[allow(unsafe_code, reason = "nix's read sets errno")]
pub fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> nix::Result<usize> {
    let arguments = [number(fd), buffer.as_mut_ptr().expose_provenance(), buffer.len()];
    // SAFETY: the buffer is as long as is said, and outlives the call.
    repeated(|| unsafe { syscall::call(libc::SYS_read, arguments) })
}

/// One `write(2)`: the number of bytes that were taken.
#[allow(unsafe_code, reason = "nix's write sets errno")]
pub fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> nix::Result<usize> {
    let arguments = [number(fd), bytes.as_ptr().expose_provenance(), bytes.len()];
    // SAFETY: so many bytes are there, and outlive the call.
    repeated(|| unsafe { syscall::call(libc::SYS_write, arguments) })
}

/// Puts a copy of `fd` at the number of stdin, stdout or stderr, without close-on-exec. `dup3(2)`. Errors:
/// `EINVAL` (`fd` has this number).
#[allow(unsafe_code, reason = "nix's dup2 sets errno")]
pub fn replace_stdio(fd: BorrowedFd<'_>, place: RawFd) -> nix::Result<()> {
    // SAFETY: three numbers go in; no value in this process owns stdin, stdout or stderr.
    repeated(|| unsafe { syscall::call(libc::SYS_dup3, [number(fd), argument(place), 0]) }).map(drop)
}

/// Closes all descriptors but stdin, stdout, stderr and the one of this number, and gives the latter: for a
/// process that has just been made, with copies of its maker's descriptors. `close_range(2)`.
#[allow(unsafe_code, reason = "the numbers are copies that nobody here owns")]
pub fn alone_with(number: RawFd) -> ChildFd {
    let kept = number.cast_unsigned();
    for [first, last] in [[3, kept.saturating_sub(1)], [kept.saturating_add(1), u32::MAX]] {
        if first <= last {
            // SAFETY: these are this process's own copies, and nothing in it owns one.
            unsafe { syscall::call(libc::SYS_close_range, [first as usize, last as usize, 0]) }.ok();
        }
    }
    // SAFETY: it is open, and its owner is the other process, in a table of its own.
    unsafe { ChildFd::from_raw(number) }
}

/// Marks every descriptor from `first` on close-on-exec. `close_range(2)`, Linux 5.11.
#[allow(unsafe_code, reason = "nix has no close_range")]
pub fn close_on_exec_from(first: u32) -> nix::Result<()> {
    let arguments = [first as usize, u32::MAX as usize, libc::CLOSE_RANGE_CLOEXEC as usize];
    // SAFETY: with CLOSE_RANGE_CLOEXEC nothing is closed now, so no owner loses its descriptor.
    unsafe { syscall::call(libc::SYS_close_range, arguments) }.map(drop)
}

/// Sets the soft limit of open descriptors, at most to the hard limit. `prlimit(2)`, `RLIMIT_NOFILE`.
#[allow(unsafe_code, reason = "nix's setrlimit sets errno")]
pub fn limit_descriptors(soft: u64) -> nix::Result<()> {
    let mut limit = [0_u64; 2];
    let arguments = [0, libc::RLIMIT_NOFILE as usize, 0, limit.as_mut_ptr().expose_provenance()];
    // SAFETY: the kernel writes a soft and a hard limit of 64 bits each, which outlive the call.
    unsafe { syscall::call(libc::SYS_prlimit64, arguments) }?;
    let [_, hard] = limit;
    let limit = [soft.min(hard), hard];
    let arguments = [0, libc::RLIMIT_NOFILE as usize, limit.as_ptr().expose_provenance(), 0];
    // SAFETY: the kernel reads two limits of 64 bits, which outlive the call.
    unsafe { syscall::call(libc::SYS_prlimit64, arguments) }.map(drop)
}

/// Has the kernel kill this process when its parent dies, also after exec. `prctl(2)`, `PR_SET_PDEATHSIG`.
#[allow(unsafe_code, reason = "nix's prctl sets errno")]
pub fn end_with_parent() -> nix::Result<()> {
    let arguments = [argument(libc::PR_SET_PDEATHSIG), argument(Signal::SIGKILL as i32)];
    // SAFETY: two numbers go in.
    unsafe { syscall::call(libc::SYS_prctl, arguments) }.map(drop)
}

/// Names this process for `ps`; at most 15 bytes count. `prctl(2)`, `PR_SET_NAME`, which always succeeds.
#[allow(unsafe_code, reason = "nix's prctl sets errno")]
pub fn set_name(name: &CStr) {
    let arguments = [argument(libc::PR_SET_NAME), name.as_ptr().expose_provenance()];
    // SAFETY: the name is a C string, and outlives the call.
    unsafe { syscall::call(libc::SYS_prctl, arguments) }.ok();
}

/// Has the orphans below this process become its children. `prctl(2)`, `PR_SET_CHILD_SUBREAPER`.
#[allow(unsafe_code, reason = "nix's prctl sets errno")]
pub fn adopt_orphans() -> nix::Result<()> {
    // SAFETY: two numbers go in.
    unsafe { syscall::call(libc::SYS_prctl, [argument(libc::PR_SET_CHILD_SUBREAPER), 1]) }.map(drop)
}

/// Begins a session of its own. `setsid(2)`. Errors: `EPERM` (this process leads a group).
#[allow(unsafe_code, reason = "nix's setsid sets errno")]
pub fn begin_session() -> nix::Result<()> {
    // SAFETY: nothing goes in.
    unsafe { syscall::call(libc::SYS_setsid, []) }.map(drop)
}

/// Sets the file mode creation mask. `umask(2)`, which always succeeds.
#[allow(unsafe_code, reason = "one way for all system calls here")]
pub fn set_umask(mask: u32) {
    // SAFETY: a number goes in.
    unsafe { syscall::call(libc::SYS_umask, [mask as usize]) }.ok();
}

/// Blocks every signal that can be blocked in this thread. `rt_sigprocmask(2)`.
#[allow(unsafe_code, reason = "the C library leaves out signals of its own")]
pub fn block_all_signals() -> nix::Result<()> {
    let all = u64::MAX;
    let arguments = [argument(libc::SIG_SETMASK), (&raw const all).expose_provenance(), 0, size_of::<u64>()];
    // SAFETY: the kernel reads a set of 64 signals, which outlives the call.
    unsafe { syscall::call(libc::SYS_rt_sigprocmask, arguments) }.map(drop)
}

/// This process's pid. `getpid(2)`, which always succeeds.
#[allow(unsafe_code, reason = "one way for all system calls here")]
pub fn own_pid() -> Pid {
    // SAFETY: nothing goes in.
    pid(unsafe { syscall::call(libc::SYS_getpid, []) })
}

/// The parent's pid. `getppid(2)`, which always succeeds.
#[allow(unsafe_code, reason = "one way for all system calls here")]
pub fn parent() -> Pid {
    // SAFETY: nothing goes in.
    pid(unsafe { syscall::call(libc::SYS_getppid, []) })
}

pub(super) fn pid(result: nix::Result<usize>) -> Pid {
    let number = result.and_then(|number| i32::try_from(number).map_err(|_| Errno::EOVERFLOW));
    Pid::from_raw(number.unwrap_or_default())
}
