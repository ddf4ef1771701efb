//! Ends the processes that a call left, in rounds: SIGTERM, then SIGKILL, until no process is left or the
//! time is up. Also reaps a command that another process traces.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::limits::{KILL_GRACE, KILL_ROUND};
use crate::spawn::contain::members::CallMembers;
use crate::spawn::process::launcher::Launcher;
use crate::spawn::reap::proc_tree::signal_tree;
use crate::spawn::reap::reaper::{Ended, Reaper};
use crate::sys;

use super::stop::StopSignal;

/// Reaps the command, which has ended or was just killed, and says whether it was cut off before it began.
/// While another process traces the command, the kernel shows its end to the tracer first, and nothing tells
/// the broker when the tracer has waited for it: a tracer that waits lets go at once; a tracer that does not
/// wait may be a process that the command left, so those processes are ended meanwhile. Errors: the tracer
/// has not let go in time.
pub(super) fn reap(
    launcher: &Launcher,
    members: Option<CallMembers<'_>>,
    reaper: &Reaper,
    kill_from: Instant,
    stop: StopSignal<'_>,
) -> io::Result<(bool, Ended)> {
    let (pid, pidfd) = (launcher.pid(), launcher.pidfd());
    if let Some(reaped) = try_reap(launcher, reaper)? {
        return Ok(reaped);
    }
    let give_up = kill_from + KILL_GRACE;
    sys::poll_until(&mut [PollFd::new(pidfd, PollFlags::POLLIN)], Some(give_up))?;
    let rest = || wait_for_any(&[], stop, Instant::now() + KILL_ROUND, false);
    let (mut asked, mut members, mut rounds) = (Vec::new(), members, 0);
    loop {
        if let Some(reaped) = try_reap(launcher, reaper)? {
            return Ok(reaped);
        }
        if Instant::now() >= give_up {
            reaper.give_up(pid);
            return Err(io::Error::new(io::ErrorKind::TimedOut, "another process traces it"));
        }
        rounds += 1;
        let left = reaper.left_of(pid)?;
        if rounds == 1 || (left.is_empty() && members.is_none()) {
            rest()?;
        } else if let Some(members) = members.take() {
            members.end(true, kill_from, stop)?;
        } else {
            end_round(&left, &mut asked, kill_from, stop)?;
        }
    }
}

fn try_reap(launcher: &Launcher, reaper: &Reaper) -> io::Result<Option<(bool, Ended)>> {
    let Some(is_cut_off) = launcher.is_cut_off() else { return Ok(None) };
    let ended = reaper.reap(launcher.pid(), launcher.pidfd())?;
    Ok(ended.map(|ended| (is_cut_off, ended)))
}

/// Sends SIGTERM to each process once, and SIGKILL from `kill_from` on, in rounds until no process is left.
/// Gives the number of processes that could not be ended.
pub(super) fn end_all(
    left: Vec<Pid>,
    look_again: impl Fn() -> io::Result<Vec<Pid>>,
    kill_from: Instant,
    stop: StopSignal<'_>,
) -> io::Result<usize> {
    end_all_until(left, look_again, kill_from, kill_from + KILL_GRACE, stop)
}

/// Like [`end_all`], but gives up at `give_up` at the latest.
pub(super) fn end_all_until(
    mut left: Vec<Pid>,
    look_again: impl Fn() -> io::Result<Vec<Pid>>,
    kill_from: Instant,
    give_up: Instant,
    stop: StopSignal<'_>,
) -> io::Result<usize> {
    let (mut asked, give_up) = (Vec::new(), give_up.min(kill_from + KILL_GRACE));
    while !left.is_empty() && Instant::now() < give_up {
        end_round(&left, &mut asked, kill_from, stop)?;
        left = look_again()?;
    }
    Ok(left.len())
}

/// Signals each process of `left` and its descendants, and waits until one has ended or the time is up.
fn end_round(left: &[Pid], asked: &mut Vec<Pid>, kill_from: Instant, stop: StopSignal<'_>) -> io::Result<()> {
    let kill = Instant::now() >= kill_from || stop.is_hurried()?;
    let handles: Vec<OwnedFd> = left.iter().filter_map(|pid| sys::open_pidfd(*pid).ok()).collect();
    for &pid in left {
        if kill {
            signal_tree(pid, Signal::SIGKILL);
        } else if !asked.contains(&pid) {
            asked.push(pid);
            signal_tree(pid, Signal::SIGTERM);
        }
    }
    let handles: Vec<_> = handles.iter().map(AsFd::as_fd).collect();
    let until = if kill { Instant::now() + KILL_ROUND } else { kill_from };
    wait_for_any(&handles, stop, until, !kill).map(drop)
}

/// Waits until one of the processes has ended (`true`), the time is up, or, with `hurry_counts`, the broker
/// is to stop at once.
pub(super) fn wait_for_any(
    pidfds: &[BorrowedFd<'_>],
    stop: StopSignal<'_>,
    until: Instant,
    hurry_counts: bool,
) -> io::Result<bool> {
    let mut looked_at: Vec<_> = pidfds.iter().map(|pidfd| PollFd::new(*pidfd, PollFlags::POLLIN)).collect();
    if hurry_counts {
        looked_at.push(PollFd::new(stop.hurry, PollFlags::POLLIN));
    }
    sys::poll_until(&mut looked_at, Some(until))?;
    Ok(looked_at[..pidfds.len()].iter().any(|fd| fd.any() == Some(true)))
}
