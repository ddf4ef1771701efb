//! Attempts on a process outside.

use std::io::IoSlice;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::uio::{RemoteIoVec, process_vm_writev};
use nix::unistd::Pid;

use crate::sys::{self, KernelProbe};

use super::super::escape_attempt::{EscapeAttempt, attempt};
use super::super::promise::ConfinedPart::{Processes, Syscalls};
use super::super::targets::EscapeTargets;

/// The signal changes nothing: the process is not stopped.
pub(super) const ATTEMPTS: &[EscapeAttempt] = &[
    attempt("kill", "signal a process outside", Processes, |on| Ok(kill(process(on), Signal::SIGCONT)?)),
    attempt("kill-pidfd", "signal it by a pidfd", Processes, |on| {
        sys::send_signal(sys::open_pidfd(process(on))?.as_fd(), Signal::SIGCONT)
    }),
    attempt("kill-queue", "signal it by sigqueue", Processes, |on| {
        Ok(sys::queue_signal(process(on), Signal::SIGCONT)?)
    }),
    attempt("prlimit", "set a limit of it", Syscalls, |on| Ok(sys::limit_process(process(on))?)),
    attempt("ptrace", "trace it", Processes, |on| Ok(sys::probe_kernel(KernelProbe::Trace(process(on)))?)),
    attempt("write-memory", "write its memory", Processes, |on| {
        // No memory is at this address, which shows after the process has been looked at.
        let there = RemoteIoVec { base: 1, len: 1 };
        match process_vm_writev(process(on), &[IoSlice::new(b"x")], &[there]) {
            Ok(_) | Err(Errno::EFAULT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }),
];

fn process(on: &EscapeTargets) -> Pid {
    Pid::from_raw(on.process)
}
