//! Reaps children, in a process that lives in another's memory (`clone_vm.rs`).
#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

use std::mem::zeroed;

use nix::unistd::Pid;

use super::retry::repeated;
use super::syscall;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessEnd {
    /// With this exit code.
    Exited(u8),
    /// By this signal, which may be a real-time signal.
    Signaled(i32),
}

/// A child of this process that has ended, without reaping it; with `waits`, waits until one has ended.
/// `None` when none has, without `waits`. For a process that lives in another's memory: `errno` stays.
/// `waitid(2)` with `WNOWAIT`. Errors: `ECHILD` (there is no child).
#[allow(unsafe_code, reason = "a system call without errno")]
pub fn ended_child(waits: bool) -> nix::Result<Option<Pid>> {
    let flags = libc::WEXITED | libc::WNOWAIT | if waits { 0 } else { libc::WNOHANG };
    // SAFETY: all zeroes is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { zeroed() };
    let arguments =
        [libc::P_ALL as usize, 0, (&raw mut info).expose_provenance(), flags.cast_unsigned() as usize, 0];
    // SAFETY: `info` is a whole siginfo_t that outlives the call, and no rusage is asked for.
    repeated(|| unsafe { syscall::call(libc::SYS_waitid, arguments) })?;
    // SAFETY: waitid succeeded, so `info` describes a child, or is all zeroes still.
    Ok(Some(unsafe { info.si_pid() }).filter(|pid| *pid > 0).map(Pid::from_raw))
}

/// Waits until this child has ended, and reaps it. For a process that lives in another's memory: `errno`
/// stays. `wait4(2)`. Errors: `ECHILD` (it was reaped, or is no child).
#[allow(unsafe_code, reason = "a system call without errno")]
pub fn reap_child(child: Pid) -> nix::Result<ProcessEnd> {
    let mut status: libc::c_int = 0;
    let arguments = [child.as_raw().unsigned_abs() as usize, (&raw mut status).expose_provenance(), 0, 0];
    // SAFETY: `status` is an int that outlives the call, and no rusage is asked for.
    repeated(|| unsafe { syscall::call(libc::SYS_wait4, arguments) })?;
    Ok(if libc::WIFEXITED(status) {
        ProcessEnd::Exited(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX))
    } else {
        ProcessEnd::Signaled(libc::WTERMSIG(status))
    })
}
