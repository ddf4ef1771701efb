//! The broker's side of the nursery: launchers that wait for a call.
//!
//! The queue of the nursery's channel is the pool itself: whoever needs a launcher receives a message. There is no lock
//! on that way, and a call that finds the queue empty waits in the kernel. Others are asked for when a call has been
//! answered, or by one that takes one of the last: a nursery at work takes the processor from the call it works beside.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};
use nix::unistd::Pid;

use crate::limits::{
    KILL_ROUND, LAUNCHERS_ASKED_MAX, LAUNCHERS_MISSING_MAX, LAUNCHERS_PARKED, NURSERY_WAIT, SEND_WAIT,
};
use crate::sys;

use super::kin::Kin;
use super::launcher::Failure;
use super::plan::{Plan, Stdio};
use super::scope::Scope;

/// A process that waits for its plan. Dropped without one, it ends by itself.
#[derive(Debug)]
pub struct Launcher {
    pid: Pid,
    pidfd: OwnedFd,
    stream: UnixStream,
    scope: Option<Scope>,
}

/// Launchers ahead of need.
#[derive(Debug)]
pub struct Pool {
    current: Mutex<Current>,
    changed: Condvar,
    /// Launchers that were taken and not asked for again.
    missing: AtomicUsize,
}

/// The nursery that serves now.
#[derive(Debug)]
struct Current {
    channel: Option<Arc<OwnedFd>>,
}

impl Pool {
    /// A pool without a nursery: [`Self::attach`] gives it one.
    pub fn new() -> Self {
        Self {
            current: Mutex::new(Current { channel: None }),
            changed: Condvar::new(),
            missing: AtomicUsize::new(0),
        }
    }

    /// Takes launchers from the nursery behind `channel` from now on, and has the first ones made.
    pub fn attach(&self, channel: OwnedFd) -> io::Result<()> {
        sys::send(channel.as_fd(), &[0; LAUNCHERS_PARKED], &[])?;
        self.missing.store(0, Ordering::SeqCst);
        self.current().channel = Some(Arc::new(channel));
        self.changed.notify_all();
        Ok(())
    }

    /// Forgets a nursery that is gone; calls wait until there is another.
    pub fn detach(&self) {
        self.current().channel = None;
    }

    /// A launcher that is alive. Waits for one to be made, but not for ever, however often a nursery is replaced.
    /// Errors: `TimedOut` (no nursery makes one).
    pub fn take(&self) -> io::Result<Launcher> {
        let give_up = Instant::now() + NURSERY_WAIT;
        loop {
            let channel = self.channel(give_up)?;
            if self.missing.fetch_add(1, Ordering::SeqCst) >= LAUNCHERS_MISSING_MAX {
                self.ask(channel.as_fd());
            }
            match receive(channel.as_fd())? {
                Some(launcher) if launcher.is_alive() => return Ok(launcher),
                Some(_) => {}
                None => self.lose(&channel),
            }
        }
    }

    /// Has those made that were taken. What cannot be asked for now is asked for with the next one.
    pub fn refill(&self) {
        let channel = self.current().channel.clone();
        if let Some(channel) = channel.filter(|_| self.missing.load(Ordering::SeqCst) > 0) {
            self.ask(channel.as_fd());
        }
    }

    fn ask(&self, channel: BorrowedFd<'_>) {
        let missing = self.missing.swap(0, Ordering::SeqCst);
        let asked = missing.min(LAUNCHERS_ASKED_MAX);
        // A nursery that is gone shows at the next receive.
        let sent = asked > 0 && sys::send(channel, &vec![0; asked], &[]).is_ok();
        self.missing.fetch_add(missing - if sent { asked } else { 0 }, Ordering::SeqCst);
    }

    /// Has a launcher made inside a scope's cgroup, and does not wait for it.
    /// Errors: `TimedOut` (no nursery makes one).
    pub(super) fn order(&self, scope: Scope) -> io::Result<Ordered> {
        let (stream, far) = sys::stream_pair()?;
        let descriptors = [scope.cgroup().directory(), far.as_fd()];
        let give_up = Instant::now() + NURSERY_WAIT;
        loop {
            let (channel, until) = (self.channel(give_up)?, Some(Instant::now() + SEND_WAIT));
            match sys::send_patiently(channel.as_fd(), &[0], &descriptors, until) {
                Err(source) if is_gone(&source) => self.lose(&channel),
                sent => return sent.map(|_| Ordered { stream, scope }),
            }
        }
    }

    fn channel(&self, give_up: Instant) -> io::Result<Arc<OwnedFd>> {
        let waits = |current: &mut Current| current.channel.is_none();
        let left = give_up.saturating_duration_since(Instant::now());
        let (current, _) = self
            .changed
            .wait_timeout_while(self.current(), left, waits)
            .unwrap_or_else(PoisonError::into_inner);
        let channel = current.channel.clone().filter(|_| !left.is_zero());
        channel.ok_or_else(|| io::ErrorKind::TimedOut.into())
    }

    fn lose(&self, channel: &Arc<OwnedFd>) {
        let mut current = self.current();
        if current.channel.as_ref().is_some_and(|now| Arc::ptr_eq(now, channel)) {
            current.channel = None;
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

fn is_gone(source: &io::Error) -> bool {
    matches!(source.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// A launcher that is being made.
#[derive(Debug)]
pub(super) struct Ordered {
    stream: OwnedFd,
    scope: Scope,
}

impl Ordered {
    /// Waits until it is there.
    /// Errors: `TimedOut`, `BrokenPipe` (the nursery makes none any more), what the kernel gave instead of a process.
    pub(super) fn arrive(self) -> io::Result<Launcher> {
        let Self { stream, scope } = self;
        let mut look = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
        if !sys::poll_until(&mut look, Some(Instant::now() + NURSERY_WAIT))? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let answer = sys::receive(stream.as_fd(), 4)?;
        let number = answer.bytes.try_into().map_err(|_| io::ErrorKind::BrokenPipe)?;
        let number = i32::from_le_bytes(number);
        if number < 0 {
            return Err(io::Error::from_raw_os_error(-number));
        }
        let [pidfd] = answer.descriptors.try_into().map_err(|_| nix::errno::Errno::EMFILE)?;
        Ok(Launcher { pid: Pid::from_raw(number), pidfd, stream: stream.into(), scope: Some(scope) })
    }
}

/// Lets go of launchers that nobody needs: each sees the end of its stream, ends, and is reaped.
pub(super) fn dismiss(launchers: impl IntoIterator<Item = Launcher>, kin: &Kin) {
    let hang_up = |Launcher { pid, pidfd, stream, scope }| {
        drop(stream);
        (pid, pidfd, scope)
    };
    for (pid, pidfd, scope) in launchers.into_iter().map(hang_up).collect::<Vec<_>>() {
        let mut end = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        // One that does not end in time is reaped with the next call.
        sys::poll_until(&mut end, Some(Instant::now() + KILL_ROUND)).ok();
        kin.reap_unused(pid);
        drop(scope);
    }
}

/// The next launcher from the channel; `None` when the nursery is gone.
fn receive(channel: BorrowedFd<'_>) -> io::Result<Option<Launcher>> {
    let message = match sys::receive(channel, 4) {
        Err(source) if source.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
        message => message?,
    };
    let Ok(pid) = message.bytes.try_into() else { return Ok(None) };
    let descriptors: Result<[OwnedFd; 2], _> = message.descriptors.try_into();
    let Ok([pidfd, stream]) = descriptors else { return Err(nix::errno::Errno::EMFILE.into()) };
    Ok(Some(Launcher {
        pid: Pid::from_raw(i32::from_le_bytes(pid)),
        pidfd,
        stream: stream.into(),
        scope: None,
    }))
}

impl Launcher {
    /// The process, before and after it becomes the command.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Its handle.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The scope that it is in, if it is in one.
    pub fn scope(&self) -> Option<&Scope> {
        self.scope.as_ref()
    }

    /// It is in a scope from now on.
    pub(super) fn enter(&mut self, scope: Scope) {
        self.scope = Some(scope);
    }

    /// Has it become the command. What fails from here on is told by [`Self::failure`].
    pub fn launch(&self, plan: &Plan, stdio: &Stdio) -> io::Result<()> {
        let bytes = plan.encode();
        let Stdio([stdin, stdout, stderr]) = stdio;
        let descriptors = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let give_up = Some(Instant::now() + SEND_WAIT);
        let sent = sys::send_patiently(self.stream.as_fd(), &bytes, &descriptors, give_up)?;
        let mut stream = &self.stream;
        stream.write_all(&bytes[sent..])
    }

    /// Once it has ended: why it did not become the command, if it did not.
    pub fn failure(&self) -> Option<Failure> {
        Failure::read(&self.stream)
    }

    /// Whether it still waits: one that was killed while parked must not get a call.
    pub(super) fn is_alive(&self) -> bool {
        let mut look = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        sys::poll_until(&mut look, Some(Instant::now())).is_ok_and(|ended| !ended)
    }
}
