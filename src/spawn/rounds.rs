//! The end of processes that a call left, in rounds: asked, then killed, until nothing is left or the time is
//! up; and the end of one that another process traces.

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

/// Reaps the command, which has ended, or was just killed, and says whether it was cut off before it began.
/// While a process traces it, its end is that one's to see first, and nobody says when it has: a tracer that
/// looks lets go at once, and one that does not look may be what the command left, which is ended from here
/// on. Errors: somebody else keeps its end.
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

/// SIGTERM to each once, SIGKILL from `kill_from` on, in rounds until nothing is left. Gives how many stay
/// all the same.
pub(super) fn end_all(
    left: Vec<Pid>,
    look_again: impl Fn() -> io::Result<Vec<Pid>>,
    kill_from: Instant,
    stop: StopSignal<'_>,
) -> io::Result<usize> {
    end_all_until(left, look_again, kill_from, kill_from + KILL_GRACE, stop)
}

/// The same, and gives up at this time at the latest.
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

/// Signals each of `left` and what is below it, and waits until one has ended or the time is up.
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

/// Waits until one of the processes has ended (`true`), the time is up or the broker's stop hurries.
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
