//! The anchor of a slot: the one process that is always in the slot's scope, in a group of its own
//! (`SCOPE/anchor`), so that the manager keeps the scope between calls. It does nothing, and ends with the
//! broker, or when the broker closes its stream. It is a copy of the nursery with memory of its own: where
//! the kernel kills a process for want of memory, it kills all that share the memory.
//!
//! It survives the SIGTERM with which a manager stops a scope, as long as other processes are in the scope:
//! a manager removes the cgroups of an empty scope, and the account of a call with them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpid, getppid, setsid};

use crate::cgroup::Cgroup;
use crate::limits::{ANCHOR_ROUND, KILL_ROUND, SEND_WAIT};
use crate::sys::{self, in_child};

use super::answer::ProcessAnswer;

/// The name of the anchor's group below its scope.
pub(in crate::spawn) const ANCHOR_GROUP: &str = "anchor";

/// The message of an anchor that was sent SIGTERM.
const TERMINATED: u8 = 1;
/// Its message that it stands: the answer to any byte.
const READY: u8 = 2;

/// The values that an anchor is made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnchorSetup {
    /// The number of its stream, among the nursery's descriptors that it has copies of.
    pub(super) stream: RawFd,
    /// Its parent, which it does not outlive.
    pub(super) broker: Pid,
}

/// An anchor's whole life; its result is the exit code.
pub(super) fn live(setup: AnchorSetup) -> u8 {
    let stream = OwnedFd::from(in_child::alone_with(setup.stream));
    // The setting is made before the parent is looked at, so that a broker that dies in between is noticed.
    if prctl::set_pdeathsig(Signal::SIGKILL).is_err() || getppid() != setup.broker {
        return 1;
    }
    // An anchor that cannot wait ends; its slot is given up.
    stand(stream.as_fd()).map_or(1, |()| 0)
}

/// Waits for the end of the stream or, after SIGTERM, until no other process is in the scope.
fn stand(stream: BorrowedFd<'_>) -> io::Result<()> {
    sys::block_signals()?;
    prctl::set_dumpable(false)?;
    prctl::set_name(c"sluice-anchor")?;
    setsid()?;
    let mut term = SigSet::empty();
    term.add(Signal::SIGTERM);
    let signals = SignalFd::with_flags(&term, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let mut is_told = false;
    loop {
        let mut fds = vec![PollFd::new(stream, PollFlags::POLLIN)];
        if !is_told {
            fds.push(PollFd::new(signals.as_fd(), PollFlags::POLLIN));
        }
        sys::poll_until(&mut fds, is_told.then(|| Instant::now() + ANCHOR_ROUND))?;
        if fds[0].any() == Some(true) {
            if sys::read(stream, &mut [0])? == 0 {
                return Ok(());
            }
            sys::write(stream, &[READY])?;
        }
        if !is_told && fds[1].any() == Some(true) {
            is_told = true;
            // A broker that is gone needs no message.
            sys::send_now(stream, &[TERMINATED]).ok();
        }
        if is_told && is_alone()? {
            return Ok(());
        }
    }
}

/// Whether this process is the only one in the scope.
fn is_alone() -> io::Result<bool> {
    let own = Cgroup::own()?;
    let Some(scope) = own.path().strip_suffix(ANCHOR_GROUP).map(|scope| scope.trim_end_matches('/')) else {
        return Ok(false);
    };
    Ok(Cgroup::open(scope)?.processes()? == [getpid()])
}

/// An anchor as the broker holds it.
#[derive(Debug)]
pub(in crate::spawn) struct Anchor {
    pid: Pid,
    stream: OwnedFd,
}

/// An anchor that was just made, outside of any scope.
#[derive(Debug)]
pub(in crate::spawn) struct NewAnchor {
    /// The process.
    pub(in crate::spawn) anchor: Anchor,
    /// Its pidfd, for the manager.
    pub(in crate::spawn) pidfd: OwnedFd,
}

impl NewAnchor {
    /// Waits for the nursery's answer on the stream of an anchor that it was asked for.
    /// Errors: `TimedOut`, `BrokenPipe` (the nursery makes none), the kernel's, where it made no process.
    pub(super) fn receive(stream: OwnedFd) -> io::Result<Self> {
        let ProcessAnswer { pid, pidfd } = ProcessAnswer::receive(stream.as_fd())?;
        Ok(Self { anchor: Anchor { pid, stream }, pidfd })
    }
}

impl Anchor {
    /// Its pid, which is no other process's until it is reaped.
    pub(in crate::spawn) fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it lives, does not stand still, and was sent no SIGTERM.
    pub(in crate::spawn) fn stands(&self) -> bool {
        let mut look = [PollFd::new(self.stream(), PollFlags::POLLIN)];
        let is_silent = sys::poll_until(&mut look, Some(Instant::now())).is_ok_and(|is_told| !is_told);
        let changes =
            WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        is_silent && matches!(waitid(Id::Pid(self.pid), changes), Ok(WaitStatus::StillAlive))
    }

    /// Waits until it is ready for what may come: signals, and processes that trace. Errors: `TimedOut`,
    /// `BrokenPipe` (it has ended), `Interrupted` (it was sent SIGTERM).
    fn await_ready(&self) -> io::Result<()> {
        sys::send_now(self.stream(), &[READY])?;
        let mut look = [PollFd::new(self.stream(), PollFlags::POLLIN)];
        if !sys::poll_until(&mut look, Some(Instant::now() + SEND_WAIT))? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut answer = [0];
        match sys::receive_now(self.stream(), &mut answer)? {
            1 if answer == [READY] => Ok(()),
            1 => Err(io::ErrorKind::Interrupted.into()),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Whether it was sent SIGTERM, which a manager does that stops the scope.
    pub(in crate::spawn) fn was_terminated(&self) -> bool {
        sys::unread_bytes(self.stream()).is_ok_and(|bytes| bytes > 0)
    }

    /// Readable when it was sent SIGTERM, or has ended.
    pub(in crate::spawn) fn stream(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Moves it into its group in the scope that the manager put it in, and gives the group.
    pub(in crate::spawn) fn settle(&self, scope: &Cgroup) -> io::Result<Cgroup> {
        self.await_ready()?;
        let group = scope.create(ANCHOR_GROUP)?;
        group.set("cgroup.procs", &self.pid.to_string())?;
        Ok(group)
    }

    /// Ends it, and waits for that, at most [`KILL_ROUND`]. Gives its pid, to be reaped.
    pub(in crate::spawn) fn dismiss(self) -> Pid {
        // By SIGKILL: a command may have stopped it. One that has ended needs no signal.
        if let Ok(pidfd) = sys::open_pidfd(self.pid) {
            sys::send_signal(pidfd.as_fd(), Signal::SIGKILL).ok();
            let mut end = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            sys::poll_until(&mut end, Some(Instant::now() + KILL_ROUND)).ok();
        }
        self.pid
    }
}
