//! Follows one command from its start to its end, and ends the processes that it started.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::audit::{CallOutcome, CapturedBytes, EndCause};
use crate::cgroup::{CgroupUsage, OomWatch};
use crate::limits::{DESCRIPTION_DELAY, DRAIN_MAX, KILL_GRACE, RELAY_PATIENCE, TERM_GRACE};
use crate::rules::{BackgroundMode, HangupAction};
use crate::spawn::contain::members::CallMembers;
use crate::spawn::process::failure::LaunchFailure;
use crate::spawn::process::launcher::{Launcher, ReapedCommand, Told};
use crate::spawn::process::plan::LaunchPlan;
use crate::spawn::reap::call_reaper::ReaperChildren;
use crate::spawn::reap::proc_tree::{signal_below, signal_tree};
use crate::spawn::reap::reaper::{Ended, Reaper};
use crate::spawn::stream::relay::Relay;
use crate::sys::{self, ProcessEnd};
use crate::wire::Status;

use super::rounds::{end_all, reap, wait_for_any};
use super::stop::StopSignal;

/// The events that a running call is watched for, and the rule's settings on how to act on them.
pub struct SupervisedCall<'a> {
    /// The broker's children.
    pub reaper: &'a Reaper,
    /// The caller's connection.
    pub connection: BorrowedFd<'a>,
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
    /// Called once, when a command in a scope has run for [`DESCRIPTION_DELAY`].
    pub lasts: &'a dyn Fn(),
}

/// Has `launcher` become the command, and follows it and all processes that it started to their end.
/// Errors: the command ran, but how it ended cannot be known.
pub fn supervise(
    launcher: &Launcher,
    plan: &LaunchPlan,
    call: &SupervisedCall<'_>,
) -> io::Result<CallOutcome> {
    let end_it = |_: &io::Error| {
        if let Some(scope) = launcher.scope() {
            scope.cgroup().kill().ok();
        }
        kill_outright(launcher, call);
    };
    see_through(launcher, plan, call).inspect_err(end_it)
}

/// Kills the call with descriptors that are open already: a broker that can open no descriptor any more must
/// still end its calls. Errors are ignored, because a process that is gone needs no signal.
fn kill_outright(launcher: &Launcher, call: &SupervisedCall<'_>) {
    if let Some(members) = members(launcher, call) {
        members.kill().ok();
    }
    if launcher.is_reaper() {
        // Not SIGKILL to the call reaper itself: it still reports how the command ended, and then exits by
        // itself. SIGCONT, because the command may have stopped it.
        signal_below(launcher.pid(), Signal::SIGKILL);
        sys::send_signal(launcher.pidfd(), Signal::SIGCONT).ok();
        return;
    }
    signal_tree(launcher.pid(), Signal::SIGKILL);
    sys::send_signal(launcher.pidfd(), Signal::SIGKILL).ok();
}

fn see_through(launcher: &Launcher, plan: &LaunchPlan, call: &SupervisedCall<'_>) -> io::Result<CallOutcome> {
    call.reaper.adopt(launcher.pid());
    let launched = launcher.launch(plan);
    if launched.is_err() {
        // The launcher has no whole plan and never runs a command; only its end is left to wait for. A
        // launcher that is gone needs no signal.
        sys::send_signal(launcher.pidfd(), Signal::SIGKILL).ok();
    }
    let mut kills = kills(launcher);
    let lasts = launcher.scope().map(|_| Instant::now() + DESCRIPTION_DELAY);
    let cause = watch(Some(launcher.end()), call, kills.as_mut(), lasts)?;
    // Read before the command is reaped: after that the manager sees an empty scope and removes its cgroup.
    let mut account = account(launcher);
    account.oom |= kills.is_some_and(|kills| kills.heard());
    let give_up = Instant::now() + TERM_GRACE;
    if let Some(cause) = cause
        && !end_command(launcher, call, give_up)?
    {
        call.reaper.give_up(launcher.pid());
        let (cause, captured) = deliver(Some(cause), call)?;
        let rest = CallRest { left: 1, keeps: false };
        return Ok(outcome(ProcessEnd::Signaled(Signal::SIGKILL as i32), cause, rest, account, captured));
    }
    let reaped = if launcher.is_reaper() { launcher.await_reaped()? } else { ReapedCommand::Unknown };
    let (end, failure, is_cut_off, (rest, account)) = if let ReapedCommand::Told(told) = reaped {
        let Told { end, left, failure, is_cut_off } = told;
        (end, failure, is_cut_off, settle_below(launcher, left, account, cause, call, give_up)?)
    } else {
        if launcher.is_reaper() {
            sys::send_signal(launcher.pidfd(), Signal::SIGKILL).ok();
        }
        let members = members(launcher, call);
        let (is_cut_off, ended) = reap(launcher, members, call.reaper, give_up, call.stop)?;
        let Ended { end, used, left } = ended;
        // Where the manager removed the cgroup first all the same, every process of the call has ended, and
        // the usage that reaping gave is complete.
        let account = if launcher.scope().is_some() { account.or_used(used) } else { account };
        let settled = settle(launcher, left, account, cause, call, give_up)?;
        (end, launcher.failure(), is_cut_off, settled)
    };
    let cut_off = (is_cut_off && cause.is_none()).then(|| LaunchFailure::cut_off(account.oom));
    let failure = failure.or(cut_off);
    let (cause, captured) = deliver(cause, call)?;
    let failure = launched.err().map(|source| LaunchFailure::of_plan(&source)).or(failure);
    if let Some(failure) = failure {
        return Ok(CallOutcome::NotStarted { step: failure.step.as_str(), errno: failure.errno });
    }
    Ok(outcome(end, cause, rest, account, captured))
}

/// The call's processes in its scope, where it has a scope.
fn members<'a>(launcher: &'a Launcher, call: &SupervisedCall<'_>) -> Option<CallMembers<'a>> {
    let relay = call.relay.and_then(Relay::process_inside);
    launcher.scope().map(|scope| CallMembers::new(scope.cgroup(), relay))
}

fn account(launcher: &Launcher) -> CgroupUsage {
    launcher.scope().map(|scope| scope.cgroup().account()).unwrap_or_default()
}

/// The watch for OOM kills in a scope of the manager's. Sometimes the manager removes a unit, whose last
/// process was killed, before its counters are read, so a kill is noted when it happens.
fn kills(launcher: &Launcher) -> Option<OomWatch> {
    launcher.scope().filter(|scope| scope.name().is_some()).map(|scope| scope.cgroup().kills())
}

/// The processes that a call has left when its command has ended.
struct CallRest {
    /// Processes that could not be ended.
    left: usize,
    /// Whether processes go on, because the rule says `background = keep`.
    keeps: bool,
}

fn outcome(
    end: ProcessEnd,
    cause: Option<EndCause>,
    rest: CallRest,
    account: CgroupUsage,
    captured: CapturedBytes,
) -> CallOutcome {
    let CallRest { left, keeps } = rest;
    match end {
        ProcessEnd::Exited(code) => {
            let status = Status::exited(code);
            CallOutcome::Ran { status, signal: None, cause, left, keeps, account, captured }
        }
        ProcessEnd::Signaled(signal) => {
            let status = Status::signaled(signal);
            CallOutcome::Ran { status, signal: Some(signal), cause, left, keeps, account, captured }
        }
    }
}

/// Waits until the command behind `pidfd` has ended by itself (`None`), or until there is a reason to end the
/// call. Without a `pidfd`, waits until the relay has delivered all that the command wrote.
fn watch(
    pidfd: Option<BorrowedFd<'_>>,
    call: &SupervisedCall<'_>,
    mut kills: Option<&mut OomWatch>,
    mut lasts: Option<Instant>,
) -> io::Result<Option<EndCause>> {
    loop {
        if call.relay.is_some_and(Relay::is_lost) {
            return Ok(Some(EndCause::CaptureLost));
        }
        if pidfd.is_none() && call.relay.is_none_or(Relay::is_calm) {
            return Ok(None);
        }
        let until = lasts.into_iter().chain(call.deadline).min();
        match next_event(pidfd, call, kills.as_deref_mut(), until)? {
            CallEvent::Ended => return Ok(None),
            CallEvent::Cause(cause) => return Ok(Some(cause)),
            CallEvent::News => {}
            CallEvent::Late if call.deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                return Ok(Some(EndCause::Timeout));
            }
            CallEvent::Late => {
                lasts = None;
                (call.lasts)();
            }
        }
    }
}

/// An event in a running call.
enum CallEvent {
    /// Its command ended.
    Ended,
    /// There is a reason to end the call.
    Cause(EndCause),
    /// The relay has sent a message, or the kernel has counted an OOM kill.
    News,
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
}

fn next_event(
    pidfd: Option<BorrowedFd<'_>>,
    call: &SupervisedCall<'_>,
    kills: Option<&mut OomWatch>,
    until: Option<Instant>,
) -> io::Result<CallEvent> {
    let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
    // No events are asked for: poll(2) reports the hangup in any case. A second request stays unread.
    let hangup = || PollFd::new(call.connection, PollFlags::empty());
    let watched = [
        (WatchedFd::CommandEnd, pidfd.map(readable)),
        (WatchedFd::Stop, Some(readable(call.stop.stopping))),
        (WatchedFd::Relay, call.relay.and_then(Relay::poll_fd)),
        (WatchedFd::Caller, (call.on_hangup == HangupAction::Kill).then(hangup)),
        (WatchedFd::OomKills, kills.as_deref().and_then(OomWatch::poll_fd)),
    ];
    let (kinds, mut fds): (Vec<_>, Vec<_>) =
        watched.into_iter().filter_map(|(kind, fd)| Some((kind, fd?))).unzip();
    if !sys::poll_until(&mut fds, until)? {
        return Ok(CallEvent::Late);
    }
    let is_ready = |(kind, fd): (WatchedFd, PollFd<'_>)| (fd.any() == Some(true)).then_some(kind);
    let ready: Vec<_> = kinds.into_iter().zip(fds).filter_map(is_ready).collect();
    if let (true, Some(kills)) = (ready.contains(&WatchedFd::OomKills), kills) {
        kills.hear();
    }
    Ok(match ready.first() {
        Some(WatchedFd::CommandEnd) => CallEvent::Ended,
        Some(WatchedFd::Stop) => CallEvent::Cause(EndCause::Stop),
        Some(WatchedFd::Relay) => {
            call.relay.inspect(|relay| relay.hear());
            CallEvent::News
        }
        Some(WatchedFd::Caller) => CallEvent::Cause(EndCause::Hangup),
        Some(WatchedFd::OomKills) | None => CallEvent::News,
    })
}

/// Waits until the command's output is captured and the caller has it, as long as the call may last. A call
/// that is being ended waits only while its caller goes on reading.
fn deliver(
    cause: Option<EndCause>,
    call: &SupervisedCall<'_>,
) -> io::Result<(Option<EndCause>, CapturedBytes)> {
    let Some(relay) = call.relay else { return Ok((cause, CapturedBytes::default())) };
    let cause = match cause {
        None => {
            relay.settle();
            watch(None, call, None, None)?
        }
        cause => cause,
    };
    if cause.is_none() && call.background == BackgroundMode::Keep && !relay.is_over() {
        return Ok((cause, relay.captured_so_far()));
    }
    let until = Instant::now() + DRAIN_MAX;
    relay.finish(until);
    relay.wait_over(Some(until + RELAY_PATIENCE), call.stop.hurry)?;
    relay.cut_off();
    Ok((cause, relay.captured()))
}

/// Sends SIGTERM to all processes in the scope, or to the command and its descendants, and SIGKILL at
/// `give_up`. Gives whether the command has ended: a command that runs as another user by now cannot be
/// killed.
fn end_command(launcher: &Launcher, call: &SupervisedCall<'_>, give_up: Instant) -> io::Result<bool> {
    match members(launcher, call) {
        // A process that could not be sent SIGTERM is killed below all the same.
        Some(members) => members.signal(Signal::SIGTERM).unwrap_or_default(),
        None if launcher.is_reaper() => signal_below(launcher.pid(), Signal::SIGTERM),
        None => signal_tree(launcher.pid(), Signal::SIGTERM),
    }
    if wait_for_any(&[launcher.end()], call.stop, give_up, true)? {
        return Ok(true);
    }
    // By its pid too: a command that moved itself out of its scope still has the launcher's pid.
    kill_outright(launcher, call);
    let mut ended = [PollFd::new(launcher.end(), PollFlags::POLLIN)];
    sys::poll_until(&mut ended, Some(Instant::now() + KILL_GRACE))
}

/// Ends the processes below the call reaper of a command that has ended, or lets them go on where the rule
/// says so.
fn settle_below(
    launcher: &Launcher,
    left: ReaperChildren,
    account: CgroupUsage,
    cause: Option<EndCause>,
    call: &SupervisedCall<'_>,
    give_up: Instant,
) -> io::Result<(CallRest, CgroupUsage)> {
    let reaper = launcher.pid();
    let members = members(launcher, call).filter(|members| members.is_populated().unwrap_or(true));
    if left == ReaperChildren::Something && call.background == BackgroundMode::Keep && cause.is_none() {
        call.reaper.keep_reaper(reaper, members.map(|members| members.cgroup()))?;
        return Ok((CallRest { left: 0, keeps: true }, account));
    }
    let kill_from = if cause.is_some() { give_up } else { Instant::now() + TERM_GRACE };
    let stay = match members {
        Some(members) if left == ReaperChildren::Something => {
            members.end(cause.is_none(), kill_from, call.stop)?
        }
        _ => 0,
    };
    let account = account.or(launcher.scope().map(|scope| scope.cgroup().account()).unwrap_or_default());
    // A process that moved itself out of the scope is still below the call reaper.
    let left = end_all(launcher.left_below()?, || launcher.left_below(), kill_from, call.stop)?;
    if left > 0 {
        call.reaper.give_up(reaper);
        return Ok((CallRest { left: left.max(stay), keeps: false }, account));
    }
    let mut ended = [PollFd::new(launcher.pidfd(), PollFlags::POLLIN)];
    if !sys::poll_until(&mut ended, Some(Instant::now() + KILL_GRACE))? {
        sys::send_signal(launcher.pidfd(), Signal::SIGKILL)?;
        sys::poll_until(&mut ended, Some(Instant::now() + KILL_GRACE))?;
    }
    let Some(left) = call.reaper.reap_reaper(reaper, launcher.pidfd())? else {
        call.reaper.give_up(reaper);
        return Ok((CallRest { left: stay.max(1), keeps: false }, account));
    };
    let left = end_all(left, || call.reaper.left_of(reaper), kill_from, call.stop)?;
    Ok((CallRest { left: left.max(stay), keeps: false }, account))
}

/// Ends the processes that the command left, or lets them go on where the rule says so.
fn settle(
    launcher: &Launcher,
    left: Vec<Pid>,
    account: CgroupUsage,
    cause: Option<EndCause>,
    call: &SupervisedCall<'_>,
    give_up: Instant,
) -> io::Result<(CallRest, CgroupUsage)> {
    let command = launcher.pid();
    // `is_populated` fails where the cgroup is gone, or where no descriptor can be opened: then processes are
    // taken to be in it, and are ended.
    let members = members(launcher, call).filter(|members| members.is_populated().unwrap_or(true));
    if call.background == BackgroundMode::Keep && cause.is_none() {
        let scope = members.map(|members| members.cgroup());
        return Ok((CallRest { left: 0, keeps: call.reaper.keep(command, scope) }, account));
    }
    let kill_from = if cause.is_some() { give_up } else { Instant::now() + TERM_GRACE };
    let Some(members) = members else {
        // A process that moved itself out of the scope is still found by its descent.
        let left = end_all(left, || call.reaper.left_of(command), kill_from, call.stop)?;
        return Ok((CallRest { left, keeps: false }, account));
    };
    let stay = members.end(cause.is_none(), kill_from, call.stop)?;
    let account = account.or(members.cgroup().account());
    let left = end_all(call.reaper.left_of(command)?, || call.reaper.left_of(command), kill_from, call.stop)?;
    Ok((CallRest { left: left.max(stay), keeps: false }, account))
}
