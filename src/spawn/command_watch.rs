//! What happens to a running call until its command has ended, or there is a reason to end it.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::audit::EndCause;
use crate::cgroup::OomWatch;
use crate::limits::{DESCRIPTION_DELAY, KILL_ROUND, SIGNAL_INTERVAL, STOP_AFTER, TERM_GRACE};
use crate::rules::{BackgroundMode, HangupAction};
use crate::spawn::contain::members::CallMembers;
use crate::spawn::contain::scope::CallScope;
use crate::spawn::process::launcher::Launcher;
use crate::spawn::reap::reaper::Reaper;
use crate::spawn::stream::relay::Relay;
use crate::sys;
use crate::wire::v2::FORWARDED_SIGNALS;

use super::caller_line::{CallerLine, CallerNews};
use super::forward::{ForwardResult, forward, stop};
use super::stop::StopSignal;

/// The events that a running call is watched for, and the rule's settings on how to act on them.
pub struct SupervisedCall<'a> {
    /// The broker's children.
    pub reaper: &'a Reaper,
    /// The caller.
    pub caller: CallerLine<'a>,
    /// The broker's stop.
    pub stop: StopSignal<'a>,
    /// When the rule's timeout fires.
    pub deadline: Option<Instant>,
    /// What to do when the caller closes its connection.
    pub on_hangup: HangupAction,
    /// Whether processes that the command leaves are ended or go on.
    pub background: BackgroundMode,
    /// The process that moves the call's captured streams, if the rule captures any.
    pub relay: Option<&'a Relay>,
    /// Called once, when the command was told its plan: the time while it begins.
    pub begun: &'a dyn Fn(),
    /// Called once, when a command has run for [`DESCRIPTION_DELAY`].
    pub lasts: &'a dyn Fn(),
    /// Called when processes that the command left go on in its scope.
    pub keeps: &'a dyn Fn(),
}

impl SupervisedCall<'_> {
    /// The call's processes in its group, where it has one.
    pub(super) fn members<'l>(&self, launcher: &'l Launcher) -> Option<CallMembers<'l>> {
        let relay = self.relay.and_then(Relay::process_inside);
        launcher.scope().map(|scope| CallMembers::new(scope.cgroup(), relay))
    }
}

/// What a call is watched for.
pub(super) struct CommandWatch<'a> {
    /// Readable when the command has ended; `None` when it has, and its relay still delivers.
    end: Option<BorrowedFd<'a>>,
    members: Option<CallMembers<'a>>,
    /// Tells of processes killed for want of memory, where that ends the call.
    kills: Option<OomWatch>,
    /// The scope, until a manager stops it or its anchor ends.
    scope: Option<&'a CallScope>,
    /// When the call counts as one that lasts.
    lasts: Option<Instant>,
    /// The command, for signals that the caller has forwarded to it.
    command: Option<Pid>,
    /// Signals for a process that is not the command yet.
    held: Vec<Signal>,
    /// When the command is stopped that catches SIGTSTP, unless its caller has it go on before.
    stop_at: Option<Instant>,
    /// Whether the caller is gone, and the call goes on (`on_hangup = keep`).
    is_alone: bool,
    /// When the processes of the call are killed that were sent SIGTERM by a manager, or after an OOM kill.
    kill_at: Option<Instant>,
}

impl<'a> CommandWatch<'a> {
    /// The watch of a command.
    pub(super) fn new(launcher: &'a Launcher, call: &SupervisedCall<'_>) -> Self {
        let scope = launcher.scope();
        Self {
            end: Some(launcher.end()),
            members: call.members(launcher),
            kills: scope.and_then(CallScope::fatal_kills),
            scope,
            lasts: Some(Instant::now() + DESCRIPTION_DELAY),
            command: Some(launcher.command()),
            held: Vec::new(),
            stop_at: None,
            is_alone: false,
            kill_at: None,
        }
    }

    /// The watch of a relay that still delivers what a command wrote.
    pub(super) fn of_relay() -> Self {
        Self {
            end: None,
            members: None,
            kills: None,
            scope: None,
            lasts: None,
            command: None,
            held: Vec::new(),
            stop_at: None,
            is_alone: false,
            kill_at: None,
        }
    }

    /// Waits until the command has ended by itself (`None`), or until there is a reason to end the call.
    /// Without a command, waits until the relay has delivered all that it wrote.
    pub(super) fn watch(mut self, call: &SupervisedCall<'_>) -> io::Result<Option<EndCause>> {
        loop {
            if call.relay.is_some_and(Relay::is_lost) {
                return Ok(Some(EndCause::CaptureLost));
            }
            if self.end.is_none() && call.relay.is_none_or(Relay::is_calm) {
                return Ok(None);
            }
            let held = (!self.held.is_empty()).then(|| Instant::now() + SIGNAL_INTERVAL);
            let own = [self.lasts, call.deadline, self.kill_at, self.stop_at, held];
            let until = own.into_iter().flatten().min();
            match self.next_event(call, until)? {
                CallEvent::Ended => return Ok(None),
                CallEvent::Cause(cause) => return Ok(Some(cause)),
                CallEvent::News => {}
                CallEvent::Stopped => self.kill_at = self.kill_at.or(Some(Instant::now() + TERM_GRACE)),
                CallEvent::Late if call.deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                    return Ok(Some(EndCause::Timeout));
                }
                CallEvent::Late => self.act_late(call)?,
            }
        }
    }

    /// Does what is due.
    fn act_late(&mut self, call: &SupervisedCall<'_>) -> io::Result<()> {
        let now = Instant::now();
        self.forward_held();
        if self.stop_at.is_some_and(|stop_at| stop_at <= now) {
            self.stop_at = None;
            self.command.into_iter().for_each(stop);
        }
        if self.lasts.is_some_and(|lasts| lasts <= now) {
            self.lasts = None;
            (call.lasts)();
        }
        if self.kill_at.is_some_and(|kill_at| kill_at <= now) {
            self.kill_at = Some(now + KILL_ROUND);
            self.members.map_or(Ok(()), |members| members.kill())?;
        }
        Ok(())
    }

    fn next_event(&mut self, call: &SupervisedCall<'_>, until: Option<Instant>) -> io::Result<CallEvent> {
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let hears = call.caller.has_signals() || call.on_hangup == HangupAction::Kill;
        let watched = [
            (WatchedFd::CommandEnd, self.end.map(readable)),
            (WatchedFd::Stop, Some(readable(call.stop.stopping))),
            (WatchedFd::Relay, call.relay.and_then(Relay::poll_fd)),
            (WatchedFd::Caller, (hears && !self.is_alone).then(|| call.caller.news())),
            (WatchedFd::OomKills, self.kills.as_ref().and_then(OomWatch::poll_fd)),
            (WatchedFd::Scope, self.scope.and_then(CallScope::stopped).map(readable)),
        ];
        let (kinds, mut fds): (Vec<_>, Vec<_>) =
            watched.into_iter().filter_map(|(kind, fd)| Some((kind, fd?))).unzip();
        if !sys::poll_until(&mut fds, until)? {
            return Ok(CallEvent::Late);
        }
        let is_ready = |(kind, fd): (WatchedFd, PollFd<'_>)| (fd.any() == Some(true)).then_some(kind);
        let ready = kinds.into_iter().zip(fds).find_map(is_ready);
        Ok(match ready {
            Some(WatchedFd::CommandEnd) => CallEvent::Ended,
            Some(WatchedFd::Stop) => CallEvent::Cause(EndCause::Stop),
            Some(WatchedFd::Relay) => {
                call.relay.inspect(|relay| relay.hear());
                CallEvent::News
            }
            Some(WatchedFd::Caller) => self.hear_caller(call),
            Some(WatchedFd::OomKills) => self.hear_kill()?,
            Some(WatchedFd::Scope) => {
                let is_stopped = self.scope.take().is_some_and(CallScope::is_stopped);
                if is_stopped { CallEvent::Stopped } else { CallEvent::News }
            }
            None => CallEvent::News,
        })
    }

    /// Does what the caller wants, or ends the call of a caller that is gone.
    fn hear_caller(&mut self, call: &SupervisedCall<'_>) -> CallEvent {
        match call.caller.hear() {
            CallerNews::Gone if call.on_hangup == HangupAction::Kill => {
                return CallEvent::Cause(EndCause::Hangup);
            }
            CallerNews::Gone => self.is_alone = true,
            CallerNews::Signal(signal) if self.held.len() < FORWARDED_SIGNALS.len() => {
                self.held.push(signal);
                self.forward_held();
            }
            CallerNews::Signal(_) | CallerNews::Nothing => {}
        }
        CallEvent::News
    }

    /// Forwards signals in their order, as soon as the launcher has become the command.
    fn forward_held(&mut self) {
        let Some(command) = self.command else { return self.held.clear() };
        let mut sent = 0;
        for signal in &self.held {
            match forward(command, *signal) {
                ForwardResult::TooEarly => break,
                ForwardResult::Stops => self.stop_at = Some(Instant::now() + STOP_AFTER),
                ForwardResult::Sent if *signal == Signal::SIGCONT => self.stop_at = None,
                ForwardResult::Sent => {}
            }
            sent += 1;
        }
        self.held.drain(..sent);
    }

    /// Ends the call where the kernel has killed one of its processes for want of memory.
    fn hear_kill(&mut self) -> io::Result<CallEvent> {
        let Some(kills) = &mut self.kills else { return Ok(CallEvent::News) };
        kills.hear();
        if !kills.heard() {
            return Ok(CallEvent::News);
        }
        self.members.map_or(Ok(()), |members| members.signal(Signal::SIGTERM))?;
        Ok(CallEvent::Stopped)
    }
}

/// An event in a running call.
enum CallEvent {
    /// Its command ended.
    Ended,
    /// There is a reason to end the call.
    Cause(EndCause),
    /// The relay has sent a message, or the kernel has counted an OOM kill that ends nothing else.
    News,
    /// The processes of the call are being ended, by a manager that stops the scope, or after an OOM kill.
    Stopped,
    /// None of these in time.
    Late,
}

/// The meaning of a polled descriptor; when several are ready, the first in this order counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WatchedFd {
    CommandEnd,
    Stop,
    Relay,
    Caller,
    OomKills,
    Scope,
}
