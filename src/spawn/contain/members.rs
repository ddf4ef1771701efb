//! The processes of a call in its cgroup, without the call's relay: when the others are ended, the relay
//! still delivers what they wrote.

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::cgroup::Cgroup;
use crate::limits::{KILL_GRACE, KILL_ROUND, RELAY_SPARED_MAX, SCOPE_ROUND};
use crate::sys;

use crate::spawn::stop::StopSignal;

/// The processes of one call.
#[derive(Clone, Copy, Debug)]
pub(in crate::spawn) struct CallMembers<'a> {
    cgroup: &'a Cgroup,
    relay: Option<Pid>,
}

impl<'a> CallMembers<'a> {
    /// The processes in `cgroup`, without the call's relay if that is in the cgroup too.
    pub(in crate::spawn) fn new(cgroup: &'a Cgroup, relay: Option<Pid>) -> Self {
        Self { cgroup, relay }
    }

    /// Whether there is a process besides the relay.
    pub(in crate::spawn) fn is_populated(&self) -> io::Result<bool> {
        if self.relay.is_none() { self.cgroup.is_populated() } else { Ok(!self.list()?.is_empty()) }
    }

    /// Sends a signal to each process.
    pub(in crate::spawn) fn signal(&self, signal: Signal) -> io::Result<()> {
        self.cgroup.signal_others(signal, self.relay)
    }

    /// Kills each process: all at once with `cgroup.kill`, where no relay has to be spared.
    pub(in crate::spawn) fn kill(&self) -> io::Result<()> {
        self.relay.map_or_else(|| self.cgroup.kill(), |relay| self.cgroup.kill_others(relay))
    }

    /// Sends SIGTERM to all processes if `ask` says so, and SIGKILL from `kill_from` on. Gives the number of
    /// processes that could not be ended. Processes that cannot be ended one by one are killed together with
    /// the relay.
    pub(in crate::spawn) fn end(
        &self,
        ask: bool,
        kill_from: Instant,
        stop: StopSignal<'_>,
    ) -> io::Result<usize> {
        self.end_until(ask, kill_from, kill_from.max(Instant::now()) + KILL_GRACE, stop)
    }

    /// Like [`Self::end`], but gives up at `give_up` at the latest.
    pub(in crate::spawn) fn end_until(
        &self,
        ask: bool,
        kill_from: Instant,
        give_up: Instant,
        stop: StopSignal<'_>,
    ) -> io::Result<usize> {
        if ask {
            // Where they cannot be listed, the kill below ends them all the same.
            self.signal(Signal::SIGTERM).ok();
        }
        while !stop.is_hurried()? && Instant::now() < kill_from {
            if self.wait_empty(kill_from.min(Instant::now() + SCOPE_ROUND))? {
                return Ok(0);
            }
        }
        let now = Instant::now();
        let (sparing, give_up) = (now + RELAY_SPARED_MAX, give_up.min(now + KILL_GRACE));
        while Instant::now() < give_up {
            if Instant::now() < sparing {
                self.kill()?
            } else {
                self.cgroup.kill()?
            }
            if self.wait_empty(give_up.min(Instant::now() + SCOPE_ROUND))? {
                return Ok(0);
            }
        }
        Ok(self.list()?.len())
    }

    /// Waits until no process is left, or `until`. Gives whether none is left.
    fn wait_empty(&self, until: Instant) -> io::Result<bool> {
        if self.relay.is_none() {
            return self.cgroup.wait_empty(until);
        }
        loop {
            let left = self.list()?;
            if left.is_empty() || Instant::now() >= until {
                return Ok(left.is_empty());
            }
            // While the relay is in the cgroup, `cgroup.events` does not change when the other processes end.
            // So the end of one process is waited for, and only briefly: another may start a child that ends
            // later.
            let end = left.first().and_then(|pid| sys::open_pidfd(*pid).ok());
            let mut ended: Vec<_> =
                end.iter().map(|pidfd| PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)).collect();
            sys::poll_until(&mut ended, Some(until.min(Instant::now() + KILL_ROUND)))?;
        }
    }

    fn list(&self) -> io::Result<Vec<Pid>> {
        let mut list = self.cgroup.processes()?;
        list.retain(|pid| Some(*pid) != self.relay);
        Ok(list)
    }
}
