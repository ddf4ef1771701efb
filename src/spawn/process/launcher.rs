//! A launcher as the broker holds it: sending it descriptors and its plan, reading its reports, and
//! dismissing it.

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
use crate::spawn::caller_line::CallerLine;
use crate::spawn::contain::scope::CallScope;
use crate::spawn::reap::call_reaper::{ReaperChildren, ReaperReport};
use crate::spawn::reap::proc_tree::left_below;
use crate::spawn::reap::reaper::Reaper;
use crate::spawn::stop::StopSignal;
use crate::sys::{self, ProcessEnd, UnfitStdio};

use super::child::{CloseMode, FIT, StdioSource};
use super::failure::LaunchFailure;
use super::plan::{self, CommandStdio, LaunchPlan, PLAN_LENGTH_BYTES};
use super::secret::LaunchSecrets;

/// A process that waits for its plan. Dropping this before a plan was sent closes its stream, and the process
/// ends.
#[derive(Debug)]
pub struct Launcher {
    pid: Pid,
    pidfd: OwnedFd,
    stream: UnixStream,
    scope: Option<CallScope>,
    /// The process that will be the command, where the launcher became its reaper.
    command: Option<Pid>,
}

/// How a command with a reaper ended.
#[derive(Debug)]
pub(in crate::spawn) enum ReapedCommand {
    /// The reaper's report. The reaper goes on while processes are left below it.
    Told(Told),
    /// Unknown, because the reaper was killed, or no longer answers.
    Unknown,
}

/// A reaper's report of its command's end.
#[derive(Debug)]
pub(in crate::spawn) struct Told {
    pub(in crate::spawn) end: ProcessEnd,
    pub(in crate::spawn) left: ReaperChildren,
    /// The failed step, if the process did not become the command.
    pub(in crate::spawn) failure: Option<LaunchFailure>,
    /// Whether a signal ended the process before it became the command.
    pub(in crate::spawn) is_cut_off: bool,
}

impl Launcher {
    /// A launcher that was just made.
    pub(in crate::spawn) fn new(
        pid: Pid,
        pidfd: OwnedFd,
        stream: UnixStream,
        scope: Option<CallScope>,
    ) -> Self {
        Self { pid, pidfd, stream, scope, command: None }
    }

    /// The launcher's pid, which it keeps when it becomes the command, or the command's reaper.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The process that will be the command.
    pub fn command(&self) -> Pid {
        self.command.unwrap_or(self.pid)
    }

    /// Whether this process is the command's reaper, not the command.
    pub(in crate::spawn) fn is_reaper(&self) -> bool {
        self.command.is_some()
    }

    /// The descriptor that becomes readable when the command has ended.
    pub(in crate::spawn) fn end(&self) -> BorrowedFd<'_> {
        if self.is_reaper() { self.stream() } else { self.pidfd() }
    }

    /// Has the launcher make another process, which will be the command, and become that command's reaper.
    /// Called before anything else is sent to the launcher.
    /// Errors: no process could be made, or not in time; the broker stops.
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

    /// How a command with a reaper ended; called once [`Self::end`] is readable.
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
                    // Sent, before it ended, by the process that should have become the command.
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

    /// The processes left below the reaper; none when the reaper has ended, which it does when none is left.
    pub(in crate::spawn) fn left_below(&self) -> io::Result<Vec<Pid>> {
        left_below(self.pid, self.pidfd())
    }

    /// The launcher's pidfd.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The scope that it is in, if it is in one.
    pub fn scope(&self) -> Option<&CallScope> {
        self.scope.as_ref()
    }

    /// The stream on which [`equip`] sends the launcher the command's stdin, stdout and stderr. Readable when
    /// the launcher has sent a report, or has ended.
    pub fn stream(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Has the launcher, which gets a copy of `connection`, take the descriptors of the request that waits
    /// there: they never enter this process. Until [`Self::await_stdio`] has returned, no other code may
    /// receive or peek at the messages on `connection`.
    /// Errors: `ETOOMANYREFS`, `BrokenPipe` (it has ended).
    pub fn send_connection(&self, connection: BorrowedFd<'_>, stdin: StdinMode) -> io::Result<()> {
        let source = match stdin {
            StdinMode::Caller => StdioSource::Connection,
            StdinMode::Null => StdioSource::ConnectionWithoutStdin,
        };
        send(self.stream(), source, &[connection])
    }

    /// Waits until the launcher has the descriptors of its request, as long as the caller stays and the
    /// broker does not stop. When this succeeds, or says that the descriptors are unfit, the launcher's copy
    /// of the connection is closed.
    /// Errors: the descriptors are not fit for a command, or are not there in time; the broker stops; the
    /// caller left; the launcher has ended. After an error the launcher is of no use, and may end late, as
    /// closing the caller's descriptors can block. A launcher that did not begin to take the descriptors is
    /// killed, and the refusal does not blame them.
    pub fn await_stdio(&self, caller: Option<CallerLine<'_>>, stop: StopSignal<'_>) -> Result<(), Refusal> {
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

    /// Kills a launcher that does not answer although no descriptor of the caller's blocks it.
    fn given_up(&self) -> Refusal {
        self.kill();
        Refusal::LauncherSilent
    }

    /// Has the launcher close its copy of a connection, and does not wait for that.
    /// Errors: `ETOOMANYREFS`, `BrokenPipe` (it has ended).
    pub fn close(&self, connection: &OwnedFd, how: CloseMode) -> io::Result<()> {
        sys::send(self.stream.as_fd(), &[how as u8], &[connection.as_fd()]).map(drop)
    }

    /// The number of connections that it has closed since the last call. Errors: `BrokenPipe` (it has ended).
    pub fn closed(&self) -> io::Result<usize> {
        match sys::receive_now(self.stream.as_fd(), &mut [0; CLOSER_BATCH]) {
            Ok(0) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(source) if source.kind() == io::ErrorKind::WouldBlock => Ok(0),
            said => said,
        }
    }

    /// Whether the process runs on a processor, or waits for nothing but a processor (state `R`).
    pub fn is_running(&self) -> bool {
        state(self.pid) == Some('R')
    }

    /// Whether a signal ended the process before it became the command; called when it has ended and before
    /// it is reaped. Always `false` for a reaper. `None` while the end cannot be seen, because another
    /// process traces it.
    pub(in crate::spawn) fn is_cut_off(&self) -> Option<bool> {
        let was_signaled = sys::was_signaled(self.pidfd())?;
        Some(!self.is_reaper() && was_signaled && sys::is_before_exec(self.pid))
    }

    /// Sends it SIGKILL. A process that is blocked in the kernel ends later.
    pub fn kill(&self) {
        // A launcher that is gone needs no signal.
        sys::send_signal(self.pidfd(), Signal::SIGKILL).ok();
    }

    /// Closes its stream, and does not wait until it has ended.
    pub fn let_go(self) -> EndingLauncher {
        EndingLauncher { pid: self.pid, pidfd: self.pidfd }
    }

    /// Closes its stream, and waits until it has ended or the broker stops. A launcher without a command ends
    /// at once, unless closing the descriptors that it took blocks.
    pub fn dismiss(self, reaper: &Reaper, stop: StopSignal<'_>) {
        let Self { pid, pidfd, stream, scope, .. } = self;
        drop(stream);
        let mut looked_at = [pidfd.as_fd(), stop.stopping].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // If poll(2) fails, the launcher is reaped with a later call.
        sys::poll_until(&mut looked_at, None).ok();
        reaper.reap_unused(pid);
        drop(scope);
    }

    /// Sends the plan with its secrets, with which the launcher becomes the command. [`Self::failure`] gives
    /// the step that fails from here on.
    pub fn launch(&self, plan: &LaunchPlan, secrets: &LaunchSecrets) -> io::Result<()> {
        let (bytes, descriptors) = (plan.encode(secrets), plan::descriptors(plan));
        if descriptors.is_empty() {
            return (&self.stream).write_all(bytes.as_slice());
        }
        let (length, rest) = bytes.as_slice().split_at(PLAN_LENGTH_BYTES);
        sys::send_patiently(self.stream(), length, &descriptors, Some(Instant::now() + SEND_WAIT))?;
        (&self.stream).write_all(rest)
    }

    /// Why the launcher did not become the command, if it did not; called once it has ended.
    pub fn failure(&self) -> Option<LaunchFailure> {
        LaunchFailure::read(&self.stream)
    }

    /// Waits until a command that could not be killed has ended, or the broker stops.
    pub fn outlast(self, stop: StopSignal<'_>) {
        let mut looked_at = [self.pidfd.as_fd(), stop.stopping].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        // If poll(2) fails, there is no further wait.
        sys::poll_until(&mut looked_at, None).ok();
    }

    /// Whether the process has not ended: a launcher that was killed while parked must not get a call.
    pub(in crate::spawn) fn is_alive(&self) -> bool {
        let mut look = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        sys::poll_until(&mut look, Some(Instant::now())).is_ok_and(|ended| !ended)
    }
}

/// Sends a launcher, on its stream, the command's stdin, stdout and stderr. The launcher then waits for the
/// plan. Errors: `ETOOMANYREFS`, `BrokenPipe` (it has ended).
pub(in crate::spawn) fn equip(stream: BorrowedFd<'_>, CommandStdio(stdio): &CommandStdio) -> io::Result<()> {
    send(stream, StdioSource::Given, &stdio.each_ref().map(AsFd::as_fd))
}

fn send(stream: BorrowedFd<'_>, source: StdioSource, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let give_up = Some(Instant::now() + SEND_WAIT);
    sys::send_patiently(stream, &[source as u8], descriptors, give_up).map(drop)
}

/// Waits for a report from the launcher or relay that takes a request's descriptors, as long as the caller
/// stays and the broker does not stop. `false` when no report comes in time. Errors: the broker stops, the
/// caller left.
pub(in crate::spawn) fn await_word(
    from: BorrowedFd<'_>,
    until: Instant,
    caller: Option<CallerLine<'_>>,
    stop: StopSignal<'_>,
) -> Result<bool, Refusal> {
    let mut looked_at = vec![PollFd::new(from, PollFlags::POLLIN)];
    looked_at.push(PollFd::new(stop.stopping, PollFlags::POLLIN));
    looked_at.extend(caller.map(CallerLine::hangup));
    if !sys::poll_until(&mut looked_at, Some(until)).map_err(Refusal::no_launcher)? {
        return Ok(false);
    }
    match looked_at.iter().position(|fd| fd.any() != Some(false)) {
        Some(1) => Err(Refusal::Stopping),
        Some(2) => Err(Refusal::Left),
        _ => Ok(true),
    }
}

/// Whether the process at the other end has received all messages to it. If it has and does not answer, the
/// descriptors that it was told to take block it; if it has not, the process does not run.
pub(in crate::spawn) fn has_heard(stream: BorrowedFd<'_>) -> bool {
    sys::untaken_bytes(stream).is_ok_and(|bytes| bytes == 0)
}

/// The state of a process: `R` has a processor or waits for one, `T` and `t` are stopped. `/proc/PID/stat`,
/// `proc_pid_stat(5)`.
fn state(process: Pid) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// A launcher that got no command, whose stream was closed, and which is about to end.
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

    /// Whether it has ended; if so, reaps it.
    pub fn is_over(&self, reaper: &Reaper) -> bool {
        let mut look = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        let is_over = sys::poll_until(&mut look, Some(Instant::now())).unwrap_or(false);
        if is_over {
            reaper.reap_unused(self.pid);
        }
        is_over
    }
}

/// Dismisses launchers that are not needed: each sees the end of its stream, ends, and is reaped.
pub(in crate::spawn) fn dismiss(launchers: impl IntoIterator<Item = Launcher>, reaper: &Reaper) {
    let hang_up = |Launcher { pid, pidfd, stream, scope, .. }| {
        drop(stream);
        (pid, pidfd, scope)
    };
    for (pid, pidfd, scope) in launchers.into_iter().map(hang_up).collect::<Vec<_>>() {
        let mut end = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        // A launcher that does not end in time is reaped with a later call.
        sys::poll_until(&mut end, Some(Instant::now() + KILL_ROUND)).ok();
        reaper.reap_unused(pid);
        drop(scope);
    }
}
