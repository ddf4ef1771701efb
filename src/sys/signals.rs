//! The signal dispositions and the mask that a command starts with.

use std::io;
use std::ptr::null_mut;

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};

/// The highest signal number of Linux.
const LAST: i32 = 64;

/// Gives every signal its default disposition and empties the mask, as a fresh login has them, whatever the
/// broker was started with (`nohup`, a shell's `&`).
pub fn default_dispositions() -> io::Result<()> {
    for signal in 1..=LAST {
        if signal != libc::SIGKILL && signal != libc::SIGSTOP {
            reset(signal)?;
        }
    }
    Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?)
}

/// Whether a signal is ignored, as `nohup` or a shell's `&` leaves it. `sigaction(2)`.
#[allow(unsafe_code, reason = "nix cannot ask without setting")]
pub fn ignores(signal: Signal) -> bool {
    // SAFETY: all zeroes is a sigaction.
    let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: `old` is a whole sigaction, and nothing is set.
    let asked = unsafe { libc::sigaction(signal as libc::c_int, std::ptr::null(), &raw mut old) };
    asked == 0 && old.sa_sigaction == libc::SIG_IGN
}

/// Ignores SIGXFSZ and SIGXCPU: then a write past `RLIMIT_FSIZE` is an error (`EFBIG`), and processor time
/// past the soft limit does not end the process. `signal(2)`.
#[allow(unsafe_code, reason = "a disposition of the whole process")]
pub fn ignore_limits() -> io::Result<()> {
    for limit in [Signal::SIGXFSZ, Signal::SIGXCPU] {
        // SAFETY: to ignore a signal runs no code of ours.
        unsafe { signal(limit, SigHandler::SigIgn) }?;
    }
    Ok(())
}

/// Gives SIGPIPE its default disposition again, which the standard library's start took away: for a process
/// that becomes another program. `signal(2)`.
#[allow(unsafe_code, reason = "a disposition of the whole process")]
pub fn end_by_broken_pipes() -> io::Result<()> {
    // SAFETY: the default disposition runs no code of ours.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }?;
    Ok(())
}

/// Gives a signal its default disposition, by `rt_sigaction(2)` itself: the C library refuses to change its
/// two own real-time signals, and the command would inherit it if one of them were ignored.
#[allow(unsafe_code, reason = "nix covers neither the real-time signals nor the raw call")]
fn reset(signal: i32) -> io::Result<()> {
    /// Bytes of the kernel's signal set.
    const SET_BYTES: usize = 8;
    let action = KernelAction([0; 4]); // SIG_DFL, no flags, an empty mask
    let old: *mut KernelAction = null_mut();
    // SAFETY: `action` is a whole kernel_sigaction; a null `old` means that the old one is not wanted.
    let result = unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, &raw const action, old, SET_BYTES) };
    Errno::result(result)?;
    Ok(())
}

/// At least as large as the kernel's `struct sigaction`: handler, flags, restorer, mask, at most a word each.
#[repr(C)]
struct KernelAction([u64; 4]);
