//! Follows one command from its start to its end, and ends the processes that it started.

use std::io;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::audit::{CallOutcome, CapturedBytes, DeniedAccesses, EndCause};
use crate::cgroup::CgroupUsage;
use crate::limits::{DRAIN_MAX, KILL_GRACE, RELAY_PATIENCE, TERM_GRACE};
use crate::rules::BackgroundMode;
use crate::spawn::contain::members::CallMembers;
use crate::spawn::contain::scope::CallScope;
use crate::spawn::process::failure::LaunchFailure;
use crate::spawn::process::launcher::{Launcher, ReapedCommand, Told};
use crate::spawn::process::plan::LaunchPlan;
use crate::spawn::process::secret::LaunchSecrets;
use crate::spawn::reap::call_reaper::ReaperChildren;
use crate::spawn::reap::proc_tree::{signal_below, signal_tree};
use crate::spawn::reap::reaper::Ended;
use crate::sys::{self, ProcessEnd};
use crate::wire::Status;

use super::command_watch::{CommandWatch, SupervisedCall};
use super::rounds::{end_all, reap, wait_for_any};

/// Has `launcher` become the command, and follows it and all processes that it started to their end.
/// Errors: the command ran, but how it ended cannot be known.
pub fn supervise(
    launcher: &Launcher,
    plan: &LaunchPlan,
    secrets: LaunchSecrets,
    call: &SupervisedCall<'_>,
) -> io::Result<CallOutcome> {
    let end_it = |_: &io::Error| {
        if let Some(scope) = launcher.scope() {
            scope.cgroup().kill().ok();
        }
        kill_outright(launcher, call);
    };
    see_through(launcher, plan, secrets, call).inspect_err(end_it)
}

/// Kills the call with descriptors that are open already: a broker that can open no descriptor any more must
/// still end its calls. Errors are ignored, because a process that is gone needs no signal.
fn kill_outright(launcher: &Launcher, call: &SupervisedCall<'_>) {
    if let Some(members) = call.members(launcher) {
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

fn see_through(
    launcher: &Launcher,
    plan: &LaunchPlan,
    secrets: LaunchSecrets,
    call: &SupervisedCall<'_>,
) -> io::Result<CallOutcome> {
    call.reaper.adopt(launcher.pid());
    let launched = launcher.launch(plan, &secrets);
    drop(secrets);
    if launched.is_err() {
        // The launcher has no whole plan and never runs a command; only its end is left to wait for. A
        // launcher that is gone needs no signal.
        sys::send_signal(launcher.pidfd(), Signal::SIGKILL).ok();
    }
    (call.begun)();
    let cause = CommandWatch::new(launcher, call).watch(call)?;
    let give_up = Instant::now() + TERM_GRACE;
    if let Some(cause) = cause
        && !end_command(launcher, call, give_up)?
    {
        call.reaper.give_up(launcher.pid());
        let (cause, captured) = deliver(Some(cause), call)?;
        let rest = CallRest { left: 1, keeps: false, is_over: false };
        let end = ProcessEnd::Signaled(Signal::SIGKILL as i32);
        return Ok(outcome(end, cause, rest, account(launcher), captured));
    }
    let reaped = if launcher.is_reaper() { launcher.await_reaped()? } else { ReapedCommand::Unknown };
    let (end, used, failure, is_cut_off, rest) = if let ReapedCommand::Told(told) = reaped {
        let Told { end, left, failure, is_cut_off } = told;
        let rest = settle_below(launcher, left, cause, call, give_up)?;
        (end, None, failure, is_cut_off, rest)
    } else {
        if launcher.is_reaper() {
            sys::send_signal(launcher.pidfd(), Signal::SIGKILL).ok();
        }
        let members = call.members(launcher);
        let (is_cut_off, ended) = reap(launcher, members, call.reaper, give_up, call.stop)?;
        let Ended { end, used, left } = ended;
        let rest = settle(launcher, left, cause, call, give_up)?;
        (end, Some(used), launcher.failure(), is_cut_off, rest)
    };
    let account = close_group(launcher, &rest, used, call)?;
    let cut_off = (is_cut_off && cause.is_none()).then(|| LaunchFailure::cut_off(account.oom));
    let failure = failure.or(cut_off);
    let (cause, captured) = deliver(cause, call)?;
    let failure = launched.err().map(|source| LaunchFailure::of_plan(&source)).or(failure);
    if let Some(failure) = failure {
        return Ok(CallOutcome::NotStarted { step: failure.step.as_str(), errno: failure.errno });
    }
    Ok(outcome(end, cause, rest, account, captured))
}

fn account(launcher: &Launcher) -> CgroupUsage {
    launcher.scope().map(CallScope::account).unwrap_or_default()
}

/// Reads the account of the call's group, in which nothing runs any more, or what goes on as the rule says;
/// and ends what moved itself elsewhere in the scope.
fn close_group(
    launcher: &Launcher,
    rest: &CallRest,
    used: Option<Duration>,
    call: &SupervisedCall<'_>,
) -> io::Result<CgroupUsage> {
    let Some(scope) = launcher.scope() else { return Ok(CgroupUsage::default()) };
    let account = scope.account();
    if rest.keeps {
        scope.note_kept();
        (call.keeps)();
    } else if !rest.is_over {
        scope.end_strays()?;
    }
    // Where somebody killed all of the scope, its anchor too, the manager may have removed the group first;
    // then every process of the call has ended, and the usage that reaping gave is complete.
    Ok(used.map_or(account, |used| account.or_used(used)))
}

/// The processes that a call has left when its command has ended.
struct CallRest {
    /// Processes that could not be ended.
    left: usize,
    /// Whether processes go on, because the rule says `background = keep`.
    keeps: bool,
    /// Whether nothing was left in the scope when the command had ended.
    is_over: bool,
}

fn outcome(
    end: ProcessEnd,
    cause: Option<EndCause>,
    rest: CallRest,
    account: CgroupUsage,
    captured: CapturedBytes,
) -> CallOutcome {
    let CallRest { left, keeps, .. } = rest;
    // The broker looks for them afterwards.
    let denied = DeniedAccesses::default();
    match end {
        ProcessEnd::Exited(code) => {
            let status = Status::exited(code);
            CallOutcome::Ran { status, signal: None, cause, left, keeps, account, captured, denied }
        }
        ProcessEnd::Signaled(signal) => {
            let status = Status::signaled(signal);
            CallOutcome::Ran { status, signal: Some(signal), cause, left, keeps, account, captured, denied }
        }
    }
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
            CommandWatch::of_relay().watch(call)?
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
    match call.members(launcher) {
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
    cause: Option<EndCause>,
    call: &SupervisedCall<'_>,
    give_up: Instant,
) -> io::Result<CallRest> {
    let reaper = launcher.pid();
    let members = call.members(launcher).filter(|members| members.is_populated().unwrap_or(true));
    if left == ReaperChildren::Something && call.background == BackgroundMode::Keep && cause.is_none() {
        call.reaper.keep_reaper(reaper, members.and(launcher.scope()).map(CallScope::whole))?;
        return Ok(CallRest { left: 0, keeps: true, is_over: false });
    }
    let kill_from = if cause.is_some() { give_up } else { Instant::now() + TERM_GRACE };
    let stay = match members {
        Some(members) if left == ReaperChildren::Something => {
            members.end(cause.is_none(), kill_from, call.stop)?
        }
        _ => 0,
    };
    // A process that moved itself out of the scope is still below the call reaper.
    let left = end_all(launcher.left_below()?, || launcher.left_below(), kill_from, call.stop)?;
    if left > 0 {
        call.reaper.give_up(reaper);
        return Ok(CallRest { left: left.max(stay), keeps: false, is_over: false });
    }
    let mut ended = [PollFd::new(launcher.pidfd(), PollFlags::POLLIN)];
    if !sys::poll_until(&mut ended, Some(Instant::now() + KILL_GRACE))? {
        sys::send_signal(launcher.pidfd(), Signal::SIGKILL)?;
        sys::poll_until(&mut ended, Some(Instant::now() + KILL_GRACE))?;
    }
    let Some(left) = call.reaper.reap_reaper(reaper, launcher.pidfd())? else {
        call.reaper.give_up(reaper);
        return Ok(CallRest { left: stay.max(1), keeps: false, is_over: false });
    };
    let left = end_all(left, || call.reaper.left_of(reaper), kill_from, call.stop)?;
    Ok(CallRest { left: left.max(stay), keeps: false, is_over: false })
}

/// Ends the processes that the command left, or lets them go on where the rule says so.
fn settle(
    launcher: &Launcher,
    left: Vec<Pid>,
    cause: Option<EndCause>,
    call: &SupervisedCall<'_>,
    give_up: Instant,
) -> io::Result<CallRest> {
    let command = launcher.pid();
    // `is_populated` fails where the cgroup is gone, or where no descriptor can be opened: then processes are
    // taken to be in it, and are ended.
    let is_over = call.relay.is_none() && launcher.scope().is_some_and(CallScope::is_over);
    let is_populated = |members: &CallMembers<'_>| !is_over && members.is_populated().unwrap_or(true);
    let members = call.members(launcher).filter(is_populated);
    if call.background == BackgroundMode::Keep && cause.is_none() {
        let scope = members.and(launcher.scope()).map(CallScope::whole);
        return Ok(CallRest { left: 0, keeps: call.reaper.keep(command, scope), is_over: false });
    }
    let kill_from = if cause.is_some() { give_up } else { Instant::now() + TERM_GRACE };
    let Some(members) = members else {
        // A process that moved itself out of the scope is still found by its descent.
        let left = end_all(left, || call.reaper.left_of(command), kill_from, call.stop)?;
        return Ok(CallRest { left, keeps: false, is_over });
    };
    let stay = members.end(cause.is_none(), kill_from, call.stop)?;
    let left = end_all(call.reaper.left_of(command)?, || call.reaper.left_of(command), kill_from, call.stop)?;
    Ok(CallRest { left: left.max(stay), keeps: false, is_over: false })
}
