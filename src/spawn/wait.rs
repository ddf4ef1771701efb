//! One command from its start to its end, and the end of all that it started.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::audit::{Captured, Cause, Outcome};
use crate::limits::{DESCRIPTION_DELAY, DRAIN_MAX, KILL_GRACE, RELAY_PATIENCE, TERM_GRACE};
use crate::rules::{Background, OnHangup};
use crate::sd::{Account, Kills};
use crate::sys::{self, End};
use crate::wire::Status;

use super::handle::{Launcher, Reaped, Told};
use super::kin::{Ended, Kin};
use super::launcher::Failure;
use super::members::Members;
use super::plan::Plan;
use super::reaper::Left;
use super::relay::Relay;
use super::rounds::{end_all, reap, wait_for_any};
use super::stop::Stop;
use super::tree::{signal_below, signal_tree};

/// What a call is watched for.
pub struct Call<'a> {
    /// The broker's children.
    pub kin: &'a Kin,
    /// The caller's connection.
    pub connection: BorrowedFd<'a>,
    /// The broker's stop.
    pub stop: Stop<'a>,
    /// When the rule's timeout fires.
    pub deadline: Option<Instant>,
    /// What a caller that goes away means.
    pub on_hangup: OnHangup,
    /// What becomes of what the command leaves.
    pub background: Background,
    /// What moves its captured streams.
    pub relay: Option<&'a Relay>,
    /// Done once, when a command in a scope has run for [`DESCRIPTION_DELAY`].
    pub lasts: &'a dyn Fn(),
}

/// Has `launcher` become the command, and sees it and all that it started to the end.
/// Errors: the command ran, but how it ended cannot be known.
pub fn supervise(launcher: &Launcher, plan: &Plan, call: &Call<'_>) -> io::Result<Outcome> {
    let end_it = |_: &io::Error| {
        if let Some(scope) = launcher.scope() {
            scope.cgroup().kill().ok();
        }
        kill_outright(launcher, call);
    };
    see_through(launcher, plan, call).inspect_err(end_it)
}

/// The last resort, with what is at hand already: a broker that has no descriptor left must still end its calls. What
/// is gone needs no signal.
fn kill_outright(launcher: &Launcher, call: &Call<'_>) {
    if let Some(members) = members(launcher, call) {
        members.kill().ok();
    }
    if launcher.is_reaper() {
        // It tells how the command ended, unless that has stopped it, and goes by itself.
        signal_below(launcher.pid(), Signal::SIGKILL);
        sys::send_signal(launcher.pidfd(), Signal::SIGCONT).ok();
        return;
    }
    signal_tree(launcher.pid(), Signal::SIGKILL);
    sys::send_signal(launcher.pidfd(), Signal::SIGKILL).ok();
}

fn see_through(launcher: &Launcher, plan: &Plan, call: &Call<'_>) -> io::Result<Outcome> {
    call.kin.adopt(launcher.pid());
    let launched = launcher.launch(plan);
    if launched.is_err() {
        // It has no whole plan and never runs; what is left is to see it end. One that is gone needs no signal.
        sys::send_signal(launcher.pidfd(), Signal::SIGKILL).ok();
    }
    let mut kills = kills(launcher);
    let lasts = launcher.scope().map(|_| Instant::now() + DESCRIPTION_DELAY);
    let cause = watch(Some(launcher.end()), call, kills.as_mut(), lasts)?;
    // Read before its end is known to the manager, which removes what is empty.
    let mut account = account(launcher);
    account.oom |= kills.is_some_and(|kills| kills.heard());
    let give_up = Instant::now() + TERM_GRACE;
    if let Some(cause) = cause
        && !end_command(launcher, call, give_up)?
    {
        call.kin.give_up(launcher.pid());
        let (cause, captured) = deliver(Some(cause), call)?;
        let rest = Rest { left: 1, keeps: false };
        return Ok(outcome(End::Signaled(Signal::SIGKILL as i32), cause, rest, account, captured));
    }
    let reaped = if launcher.is_reaper() { launcher.await_reaped()? } else { Reaped::Unknown };
    let (end, failure, is_cut_off, (rest, account)) = if let Reaped::Told(told) = reaped {
        let Told { end, left, failure, is_cut_off } = told;
        (end, failure, is_cut_off, settle_below(launcher, left, account, cause, call, give_up)?)
    } else {
        if launcher.is_reaper() {
            sys::send_signal(launcher.pidfd(), Signal::SIGKILL).ok();
        }
        let members = members(launcher, call);
        let (is_cut_off, ended) = reap(launcher, members, call.kin, give_up, call.stop)?;
        let Ended { end, used, left } = ended;
        // Where the manager was quicker all the same: everything has ended then.
        let account = if launcher.scope().is_some() { account.or_used(used) } else { account };
        let settled = settle(launcher, left, account, cause, call, give_up)?;
        (end, launcher.failure(), is_cut_off, settled)
    };
    let cut_off = (is_cut_off && cause.is_none()).then(|| Failure::cut_off(account.oom));
    let failure = failure.or(cut_off);
    let (cause, captured) = deliver(cause, call)?;
    let failure = launched.err().map(|source| Failure::of_plan(&source)).or(failure);
    if let Some(failure) = failure {
        return Ok(Outcome::NotStarted { step: failure.step.as_str(), errno: failure.errno });
    }
    Ok(outcome(end, cause, rest, account, captured))
}

/// Those of the call in its scope, where it has one.
fn members<'a>(launcher: &'a Launcher, call: &Call<'_>) -> Option<Members<'a>> {
    let relay = call.relay.and_then(Relay::lodger);
    launcher.scope().map(|scope| Members::new(scope.cgroup(), relay))
}

fn account(launcher: &Launcher) -> Account {
    launcher.scope().map(|scope| scope.cgroup().account()).unwrap_or_default()
}

/// The manager is sometimes quicker to remove a unit whose last process was killed, so that is heard when it happens.
fn kills(launcher: &Launcher) -> Option<Kills> {
    launcher.scope().filter(|scope| scope.name().is_some()).map(|scope| scope.cgroup().kills())
}

/// What is there of a call when its command has ended.
struct Rest {
    /// Processes that could not be ended.
    left: usize,
    /// Others are let go on.
    keeps: bool,
}

fn outcome(end: End, cause: Option<Cause>, rest: Rest, account: Account, captured: Captured) -> Outcome {
    let Rest { left, keeps } = rest;
    match end {
        End::Exited(code) => {
            let status = Status::exited(code);
            Outcome::Ran { status, signal: None, cause, left, keeps, account, captured }
        }
        End::Signaled(signal) => {
            let status = Status::signaled(signal);
            Outcome::Ran { status, signal: Some(signal), cause, left, keeps, account, captured }
        }
    }
}

/// Waits until the command behind `pidfd` has ended by itself, or, when it is told of none, until all that it wrote has
/// been given; or for the reason to end the call.
fn watch(
    pidfd: Option<BorrowedFd<'_>>,
    call: &Call<'_>,
    mut kills: Option<&mut Kills>,
    mut lasts: Option<Instant>,
) -> io::Result<Option<Cause>> {
    loop {
        if call.relay.is_some_and(Relay::is_lost) {
            return Ok(Some(Cause::CaptureLost));
        }
        if pidfd.is_none() && call.relay.is_none_or(Relay::is_calm) {
            return Ok(None);
        }
        let until = lasts.into_iter().chain(call.deadline).min();
        match next_event(pidfd, call, kills.as_deref_mut(), until)? {
            Event::Ended => return Ok(None),
            Event::Cause(cause) => return Ok(Some(cause)),
            Event::News => {}
            Event::Late if call.deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                return Ok(Some(Cause::Timeout));
            }
            Event::Late => {
                lasts = None;
                (call.lasts)();
            }
        }
    }
}

/// What happens to a call.
enum Event {
    /// Its command ended.
    Ended,
    /// There is a reason to end it.
    Cause(Cause),
    /// Its relay, or the kernel of its memory, has something to say.
    News,
    /// Nothing did in time.
    Late,
}

fn next_event(
    pidfd: Option<BorrowedFd<'_>>,
    call: &Call<'_>,
    kills: Option<&mut Kills>,
    until: Option<Instant>,
) -> io::Result<Event> {
    let mut looked_at = vec![PollFd::new(call.stop.stopping, PollFlags::POLLIN)];
    looked_at.extend(pidfd.map(|pidfd| PollFd::new(pidfd, PollFlags::POLLIN)));
    looked_at.extend(call.relay.and_then(Relay::poll_fd));
    if call.on_hangup == OnHangup::Kill {
        // No events asked for: only the hangup, which is always told. A second request stays unread.
        looked_at.push(PollFd::new(call.connection, PollFlags::empty()));
    }
    let reasons = looked_at.len();
    looked_at.extend(kills.as_deref().and_then(Kills::poll_fd));
    if !sys::poll_until(&mut looked_at, until)? {
        return Ok(Event::Late);
    }
    let mut ready: Vec<bool> = looked_at.iter().map(|fd| fd.any() == Some(true)).collect();
    if let (true, Some(kills)) = (ready.split_off(reasons) == [true], kills) {
        kills.hear();
    }
    let mut ready = ready.into_iter();
    let is_stopping = ready.next() == Some(true);
    if pidfd.is_some() && ready.next() == Some(true) {
        return Ok(Event::Ended);
    }
    if is_stopping {
        return Ok(Event::Cause(Cause::Stop));
    }
    let Some(relay) = call.relay.filter(|relay| !relay.is_gone() && ready.next() == Some(true)) else {
        let is_hangup = ready.next() == Some(true);
        return Ok(if is_hangup { Event::Cause(Cause::Hangup) } else { Event::News });
    };
    relay.hear();
    Ok(Event::News)
}

/// Waits until what the command wrote is captured and its caller has it, as long as the call may last. One that is
/// being ended waits for a caller that goes on reading, and not for another.
fn deliver(cause: Option<Cause>, call: &Call<'_>) -> io::Result<(Option<Cause>, Captured)> {
    let Some(relay) = call.relay else { return Ok((cause, Captured::default())) };
    let cause = match cause {
        None => {
            relay.settle();
            watch(None, call, None, None)?
        }
        cause => cause,
    };
    if cause.is_none() && call.background == Background::Keep && !relay.is_over() {
        return Ok((cause, relay.captured_so_far()));
    }
    let until = Instant::now() + DRAIN_MAX;
    relay.finish(until);
    relay.wait_over(Some(until + RELAY_PATIENCE), call.stop.hurry)?;
    relay.cut_off();
    Ok((cause, relay.captured()))
}

/// SIGTERM to all in the scope, or to the command and all below it, time to obey, then SIGKILL. Gives whether the
/// command has ended: one that runs as another user now cannot be killed.
fn end_command(launcher: &Launcher, call: &Call<'_>, give_up: Instant) -> io::Result<bool> {
    match members(launcher, call) {
        // Those who could not be asked are killed all the same, below.
        Some(members) => members.signal(Signal::SIGTERM).unwrap_or_default(),
        None if launcher.is_reaper() => signal_below(launcher.pid(), Signal::SIGTERM),
        None => signal_tree(launcher.pid(), Signal::SIGTERM),
    }
    if wait_for_any(&[launcher.end()], call.stop, give_up, true)? {
        return Ok(true);
    }
    // By its pid too: a command that left its scope is still the launcher's process.
    kill_outright(launcher, call);
    let mut ended = [PollFd::new(launcher.end(), PollFlags::POLLIN)];
    sys::poll_until(&mut ended, Some(Instant::now() + KILL_GRACE))
}

/// Ends what is below the reaper of a command that has ended, or lets it go on where its rule says so.
fn settle_below(
    launcher: &Launcher,
    left: Left,
    account: Account,
    cause: Option<Cause>,
    call: &Call<'_>,
    give_up: Instant,
) -> io::Result<(Rest, Account)> {
    let reaper = launcher.pid();
    let members = members(launcher, call).filter(|members| members.is_populated().unwrap_or(true));
    if left == Left::Something && call.background == Background::Keep && cause.is_none() {
        call.kin.keep_reaper(reaper, members.map(|members| members.cgroup()))?;
        return Ok((Rest { left: 0, keeps: true }, account));
    }
    let kill_from = if cause.is_some() { give_up } else { Instant::now() + TERM_GRACE };
    let stay = match members {
        Some(members) if left == Left::Something => members.end(cause.is_none(), kill_from, call.stop)?,
        _ => 0,
    };
    let account = account.or(launcher.scope().map(|scope| scope.cgroup().account()).unwrap_or_default());
    // What moved itself out of the scope is still below the reaper.
    let left = end_all(launcher.left_below()?, || launcher.left_below(), kill_from, call.stop)?;
    if left > 0 {
        call.kin.give_up(reaper);
        return Ok((Rest { left: left.max(stay), keeps: false }, account));
    }
    let mut ended = [PollFd::new(launcher.pidfd(), PollFlags::POLLIN)];
    if !sys::poll_until(&mut ended, Some(Instant::now() + KILL_GRACE))? {
        sys::send_signal(launcher.pidfd(), Signal::SIGKILL)?;
        sys::poll_until(&mut ended, Some(Instant::now() + KILL_GRACE))?;
    }
    let Some(left) = call.kin.reap_reaper(reaper, launcher.pidfd())? else {
        call.kin.give_up(reaper);
        return Ok((Rest { left: stay.max(1), keeps: false }, account));
    };
    let left = end_all(left, || call.kin.left_of(reaper), kill_from, call.stop)?;
    Ok((Rest { left: left.max(stay), keeps: false }, account))
}

/// Ends what the command left, or lets it go on where its rule says so.
fn settle(
    launcher: &Launcher,
    left: Vec<Pid>,
    account: Account,
    cause: Option<Cause>,
    call: &Call<'_>,
    give_up: Instant,
) -> io::Result<(Rest, Account)> {
    let command = launcher.pid();
    // A look at it fails where it is gone, or where no descriptor is left: then what may be there is ended all the same.
    let members = members(launcher, call).filter(|members| members.is_populated().unwrap_or(true));
    if call.background == Background::Keep && cause.is_none() {
        let scope = members.map(|members| members.cgroup());
        return Ok((Rest { left: 0, keeps: call.kin.keep(command, scope) }, account));
    }
    let kill_from = if cause.is_some() { give_up } else { Instant::now() + TERM_GRACE };
    let Some(members) = members else {
        // What moved itself out of the scope is still found by its descent.
        let left = end_all(left, || call.kin.left_of(command), kill_from, call.stop)?;
        return Ok((Rest { left, keeps: false }, account));
    };
    let stay = members.end(cause.is_none(), kill_from, call.stop)?;
    let account = account.or(members.cgroup().account());
    let left = end_all(call.kin.left_of(command)?, || call.kin.left_of(command), kill_from, call.stop)?;
    Ok((Rest { left: left.max(stay), keeps: false }, account))
}
