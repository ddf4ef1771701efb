//! A launcher as the broker holds it: what it is given, what it reports, and how it is let go of.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::limits::{CLOSER_BATCH, KILL_GRACE, KILL_ROUND, SEND_WAIT, TAKING_MAX};
use crate::refusal::{DescriptorFault, Refusal};
use crate::rules::StdinMode;
use crate::spawn::contain::scope::CallScope;
use crate::spawn::reap::call_reaper::{ReaperChildren, ReaperReport};
use crate::spawn::reap::proc_tree::left_below;
use crate::spawn::reap::reaper::Reaper;
use crate::spawn::stop::StopSignal;
use crate::sys::{self, ProcessEnd, UnfitStdio};

use super::child::{CloseMode, FIT, StdioSource};
use super::failure::LaunchFailure;
use super::plan::{CommandStdio, LaunchPlan};

/// A process that waits for its plan. Dropped without one, it ends by itself.
#[derive(Debug)]
pub struct Launcher {
    pid: Pid,
    pidfd: OwnedFd,
    stream: UnixStream,
    scope: Option<CallScope>,
    /// The process that will be the command, where this one is its reaper.
    command: Option<Pid>,
}

/// How a command with a reaper ended.
#[derive(Debug)]
pub(in crate::spawn) enum ReapedCommand {
    /// As its reaper tells it, which goes on where something is left.
    Told(Told),
    /// The reaper was killed, or does nothing any more.
    Unknown,
}

/// What a reaper tells of its command.
#[derive(Debug)]
pub(in crate::spawn) struct Told {
    pub(in crate::spawn) end: ProcessEnd,
    pub(in crate::spawn) left: ReaperChildren,
    /// Why it did not become the command.
    pub(in crate::spawn) failure: Option<LaunchFailure>,
    /// A signal ended it before it became the command.
    pub(in crate::spawn) is_cut_off: bool,
}

impl Launcher {
    /// One that was just made.
    pub(in crate::spawn) fn new(
        pid: Pid,
        pidfd: OwnedFd,
        stream: UnixStream,
        scope: Option<CallScope>,
    ) -> Self {
        Self { pid, pidfd, stream, scope, command: None }
    }

    /// The process, before and after it becomes the command, or its reaper.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The process that will be the command.
    pub fn command(&self) -> Pid {
        self.command.unwrap_or(self.pid)
    }

    /// Whether the command has a reaper, which this process is.
    pub(in crate::spawn) fn is_reaper(&self) -> bool {
        self.command.is_some()
    }

    /// What becomes readable when the command has ended.
    pub(in crate::spawn) fn end(&self) -> BorrowedFd<'_> {
        if self.is_reaper() { self.stream() } else { self.pidfd() }
    }

    /// Has it become the reaper of the command, which another process will be. Before anything else is sent
    /// to it.
    /// Errors: no process could be made, or not in time, the broker stops.
    pub fn begin_reaper(&mut self, stop: StopSignal<'_>) -> Result<(), Refusal> {
        send(self.stream(), StdioSource::Reaper, &[]).map_err(Refusal::no_launcher)?;
        let until = Instant::now() + TAKING_MAX;
        loop {
            match self.report().map_err(|_| Refusal::LauncherEnded)?.map(ReaperReport::decode) {
                Some(Some(ReaperReport::Began(pid))) => {
                    self.command = Some(pid);
                    return Ok(());
                }
                Some(_) => return Err(Refusal::LauncherEnded),
                None if await_word(self.stream(), until, None, stop)? => {}
                None => return Err(self.given_up()),
            }
        }
    }

    /// The next report, if one is there. Errors: `UnexpectedEof` (the processes behind the stream have
    /// ended).
    fn report(&self) -> io::Result<Option<[u8; ReaperReport::BYTES]>> {
        let mut report = [0; ReaperReport::BYTES];
        match sys::receive_now(self.stream.as_fd(), &mut report) {
            Ok(ReaperReport::BYTES) => Ok(Some(report)),
            Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(source) if source.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(source) => Err(source),
        }
    }

    /// How the command of a reaper ended, once [`Self::end`] is readable.
    pub(in crate::spawn) fn await_reaped(&self) -> io::Result<ReapedCommand> {
        let until = Instant::now() + KILL_GRACE;
        let (mut failure, mut is_cut_off) = (None, false);
        loop {
            match self.report() {
                Ok(Some(report)) => match ReaperReport::decode(report) {
                    Some(ReaperReport::Ended(end, left)) => {
                        return Ok(ReapedCommand::Told(Told { end, left, failure, is_cut_off }));
                    }
                    Some(ReaperReport::CutOff) => is_cut_off = true,
                    // Told by the process that should have become the command, ahead of its end.
                    Some(ReaperReport::Began(_)) | None => failure = LaunchFailure::decode(report),
                },
                Ok(None) => {
                    let mut look = [PollFd::new(self.stream(), PollFlags::POLLIN)];
                    if !sys::poll_until(&mut look, Some(until))? {
                        return Ok(ReapedCommand::Unknown);
                    }
                }
                Err(_) => return Ok(ReapedCommand::Unknown),
            }
        }
    }

    /// What is left below the reaper, or nothing when it has ended: it does so when nothing is left.
    pub(in crate::spawn) fn left_below(&self) -> io::Result<Vec<Pid>> {
        left_below(self.pid, self.pidfd())
    }

    /// Its handle.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The scope that it is in, if it is in one.
    pub fn scope(&self) -> Option<&CallScope> {
        self.scope.as_ref()
    }

    /// It is in a scope from now on.
    pub(in crate::spawn) fn enter(&mut self, scope: CallScope) {
        self.scope = Some(scope);
    }

    /// Where it is given what becomes the command's stdin, stdout and stderr, by [`equip`]. Readable when it
    /// has something to say, or has ended.
    pub fn stream(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Has it take the descriptors of the request that waits on `connection`, of which it gets a copy: they
    /// never come to this process. Until [`Self::await_stdio`] was answered, nobody else may take or look at
    /// what waits there.
    /// Errors: `ETOOMANYREFS`, `BrokenPipe` (it has ended).
    pub fn send_connection(&self, connection: BorrowedFd<'_>, stdin: StdinMode) -> io::Result<()> {
        let source = match stdin {
            StdinMode::Caller => StdioSource::Connection,
            StdinMode::Null => StdioSource::ConnectionWithoutStdin,
        };
        send(self.stream(), source, &[connection])
    }

    /// Waits until it has the descriptors of its request, as long as somebody wants the command. Then, and
    /// when they are not fit for one, its copy of the connection is gone.
    /// Errors: they are not fit for a command, they are not there in time, the broker stops, the caller left,
    /// or the launcher has ended. Then it has no use, and may end whenever its descriptors let it. One that
    /// did not even begin to take them is no fault of theirs, and is killed.
    pub fn await_stdio(&self, caller: Option<BorrowedFd<'_>>, stop: StopSignal<'_>) -> Result<(), Refusal> {
        let until = Instant::now() + TAKING_MAX;
        let mut report = [0; UnfitStdio::BYTES];
        loop {
            match sys::receive_now(self.stream.as_fd(), &mut report) {
                Ok(UnfitStdio::BYTES) if report == FIT => return Ok(()),
                Ok(length) => {
                    let unfit = UnfitStdio::decode(report).filter(|_| length == report.len());
                    return Err(
                        unfit.map_or(Refusal::LauncherEnded, |unfit| Refusal::Descriptors(unfit.into()))
                    );
                }
                Err(source) if source.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Refusal::LauncherEnded),
            }
            if !await_word(self.stream(), until, caller, stop)? {
                let is_still = state(self.command()).is_some_and(|state| matches!(state, 'T' | 't'));
                let has_begun = has_heard(self.stream()) && !is_still;
                return Err(if has_begun {
                    Refusal::Descriptors(DescriptorFault::Late)
                } else {
                    self.given_up()
                });
            }
        }
    }

    /// It does nothing, not even end: nothing of the caller's keeps it.
    fn given_up(&self) -> Refusal {
        self.kill();
        Refusal::LauncherSilent
    }

    /// Has it close a connection, of which it gets a copy, and does not wait for that.
    /// Errors: `ETOOMANYREFS`, `BrokenPipe` (it has ended).
    pub fn close(&self, connection: &OwnedFd, how: CloseMode) -> io::Result<()> {
        sys::send(self.stream.as_fd(), &[how as u8], &[connection.as_fd()]).map(drop)
    }

    /// How many it has closed since it was last asked. Errors: `BrokenPipe` (it has ended).
    pub fn closed(&self) -> io::Result<usize> {
        match sys::receive_now(self.stream.as_fd(), &mut [0; CLOSER_BATCH]) {
            Ok(0) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(source) if source.kind() == io::ErrorKind::WouldBlock => Ok(0),
            said => said,
        }
    }

    /// Whether it has a processor, or waits for one and nothing else.
    pub fn is_running(&self) -> bool {
        state(self.pid) == Some('R')
    }

    /// Once it has ended, and before it is reaped: whether a signal ended it before it became the command. Of
    /// a reaper it says nothing. `None` while its end cannot be seen.
    pub(in crate::spawn) fn is_cut_off(&self) -> Option<bool> {
        let was_signaled = sys::was_signaled(self.pidfd())?;
        Some(!self.is_reaper() && was_signaled && sys::is_before_exec(self.pid))
    }

    /// Ends it, as soon as it lets itself be ended.
    pub fn kill(&self) {
        // One that is gone needs no signal.
        sys::send_signal(self.pidfd(), Signal::SIGKILL).ok();
    }

    /// Hangs up on it, and does not wait until it has ended.
    pub fn let_go(self) -> EndingLauncher {
        EndingLauncher { pid: self.pid, pidfd: self.pidfd }
    }

    /// Hangs up on it, and waits until it has ended, or the broker stops: one without a command has nothing
    /// else to do, but what descriptors it took may keep it.
    pub fn dismiss(self, reaper: &Reaper, stop: StopSignal<'_>) {
        let Self { pid, pidfd, stream, scope, .. } = self;
        drop(stream);
        let mut looked_at = [pidfd.as_fd(), stop.stopping].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // A wait that fails is over: it is reaped in passing, with a later call.
        sys::poll_until(&mut looked_at, None).ok();
        reaper.reap_unused(pid);
        drop(scope);
    }

    /// Has it become the command, with what it was equipped with. What fails from here on is told by
    /// [`Self::failure`].
    pub fn launch(&self, plan: &LaunchPlan) -> io::Result<()> {
        (&self.stream).write_all(&plan.encode())
    }

    /// Once it has ended: why it did not become the command, if it did not.
    pub fn failure(&self) -> Option<LaunchFailure> {
        LaunchFailure::read(&self.stream)
    }

    /// Waits until the command has ended after all, or the broker stops.
    pub fn outlast(self, stop: StopSignal<'_>) {
        let mut looked_at = [self.pidfd.as_fd(), stop.stopping].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // A wait that fails is over.
        sys::poll_until(&mut looked_at, None).ok();
    }

    /// Whether it still waits: one that was killed while parked must not get a call.
    pub(in crate::spawn) fn is_alive(&self) -> bool {
        let mut look = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        sys::poll_until(&mut look, Some(Instant::now())).is_ok_and(|ended| !ended)
    }
}

/// Gives a launcher, at its stream, what becomes the command's stdin, stdout and stderr. It wakes, and is
/// ready when the plan comes. Errors: `ETOOMANYREFS`, `BrokenPipe` (it has ended).
pub(in crate::spawn) fn equip(stream: BorrowedFd<'_>, CommandStdio(stdio): &CommandStdio) -> io::Result<()> {
    send(stream, StdioSource::Given, &stdio.each_ref().map(AsFd::as_fd))
}

fn send(stream: BorrowedFd<'_>, source: StdioSource, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let give_up = Some(Instant::now() + SEND_WAIT);
    sys::send_patiently(stream, &[source as u8], descriptors, give_up).map(drop)
}

/// Waits until whoever takes a request's descriptors says something, as long as somebody wants the command.
/// `false` when it does not in time. Errors: the broker stops, the caller left.
pub(in crate::spawn) fn await_word(
    from: BorrowedFd<'_>,
    until: Instant,
    caller: Option<BorrowedFd<'_>>,
    stop: StopSignal<'_>,
) -> Result<bool, Refusal> {
    let mut looked_at = vec![PollFd::new(from, PollFlags::POLLIN)];
    looked_at.push(PollFd::new(stop.stopping, PollFlags::POLLIN));
    looked_at.extend(caller.map(|caller| PollFd::new(caller, PollFlags::empty())));
    if !sys::poll_until(&mut looked_at, Some(until)).map_err(Refusal::no_launcher)? {
        return Ok(false);
    }
    match looked_at.iter().position(|fd| fd.any() == Some(true)) {
        Some(1) => Err(Refusal::Stopping),
        Some(2) => Err(Refusal::Left),
        _ => Ok(true),
    }
}

/// Whether the process at the other end has received all that it was sent. Where it has, and says nothing,
/// the descriptors that it was told to take keep it; where it has not, it does not run.
pub(in crate::spawn) fn has_heard(stream: BorrowedFd<'_>) -> bool {
    sys::untaken_bytes(stream).is_ok_and(|bytes| bytes == 0)
}

/// The state of a process: `R` has a processor or waits for one, `T` and `t` are stopped. `/proc/PID/stat`,
/// `proc_pid_stat(5)`.
fn state(process: Pid) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// A launcher without a command, that ends.
#[derive(Debug)]
pub struct EndingLauncher {
    pid: Pid,
    pidfd: OwnedFd,
}

impl EndingLauncher {
    /// Readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Whether it has ended; then it is reaped.
    pub fn is_over(&self, reaper: &Reaper) -> bool {
        let mut look = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        let is_over = sys::poll_until(&mut look, Some(Instant::now())).unwrap_or(false);
        if is_over {
            reaper.reap_unused(self.pid);
        }
        is_over
    }
}

/// Lets go of launchers that nobody needs: each sees the end of its stream, ends, and is reaped.
pub(in crate::spawn) fn dismiss(launchers: impl IntoIterator<Item = Launcher>, reaper: &Reaper) {
    let hang_up = |Launcher { pid, pidfd, stream, scope, .. }| {
        drop(stream);
        (pid, pidfd, scope)
    };
    for (pid, pidfd, scope) in launchers.into_iter().map(hang_up).collect::<Vec<_>>() {
        let mut end = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        // One that does not end in time is reaped with the next call.
        sys::poll_until(&mut end, Some(Instant::now() + KILL_ROUND)).ok();
        reaper.reap_unused(pid);
        drop(scope);
    }
}
