//! Attempts on the kernel: namespaces, mounts, and calls that few programs need.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::pty::openpty;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::setsid;

use crate::sys::{self, KernelProbe};

use super::super::escape_attempt::{EscapeAttempt, attempt, failed};
use super::super::promise::ConfinedPart::{IoUring, Processes, Syscalls};
use super::super::targets::EscapeTargets;

pub(super) const ATTEMPTS: &[EscapeAttempt] = &[
    attempt("privileges", "have programs that run as another user", Processes, |_| {
        if sys::can_gain_privileges() { Ok(()) } else { Err(failed("it has no new privileges")) }
    }),
    attempt("unshare", "make a user namespace", Syscalls, |_| Ok(unshare(CloneFlags::CLONE_NEWUSER)?)),
    attempt("mount", "mount a file system in namespaces of its own", Syscalls, mount_over),
    attempt("tiocsti", "type into a terminal (TIOCSTI)", Syscalls, |_| type_into_terminal()),
    attempt("personality", "switch off random addresses", Syscalls, |_| probe(KernelProbe::Personality)),
    attempt("io-uring", "set up io_uring", IoUring, |_| probe(KernelProbe::IoUring)),
    attempt("bpf", "load a program or a map (bpf)", Syscalls, |_| probe(KernelProbe::Bpf)),
    attempt("keyctl", "find the session's keys", Syscalls, |_| probe(KernelProbe::SessionKeys)),
    attempt("add-key", "add a key", Syscalls, |_| probe(KernelProbe::AddKey)),
    attempt("userfaultfd", "handle page faults (userfaultfd)", Syscalls, |_| probe(KernelProbe::PageFaults)),
    attempt("perf-events", "watch events (perf_event_open)", Syscalls, |_| probe(KernelProbe::PerfEvents)),
    attempt("file-handle", "open a file by its handle", Syscalls, |_| probe(KernelProbe::FileHandle)),
    attempt("x32", "make a call by its number in x32", Syscalls, |_| probe(KernelProbe::X32)),
];

fn probe(probe: KernelProbe) -> io::Result<()> {
    Ok(sys::probe_kernel(probe)?)
}

/// In namespaces of its own, so that nobody else's files are covered.
fn mount_over(on: &EscapeTargets) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
    Ok(mount(None::<&str>, &on.workspace, Some("tmpfs"), MsFlags::empty(), None::<&str>)?)
}

fn type_into_terminal() -> io::Result<()> {
    let terminal = openpty(None, None)?;
    match setsid() {
        // A session's leader stays that.
        Ok(_) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    let typed = sys::control_by(terminal.slave.as_fd()).and_then(|()| sys::type_into(terminal.slave.as_fd()));
    // A terminal that is closed ends its session's leader, which is this process.
    std::mem::forget(terminal);
    Ok(typed?)
}
