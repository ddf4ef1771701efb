//! The process tree, from `/proc/PID/task/TID/children` (`CONFIG_PROC_CHILDREN`, which every distribution
//! sets).

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid};

use crate::limits::{KILL_GRACE, KILL_ROUND};
use crate::sys;

/// The children of one thread of this process. Orphans are the main thread's children; launchers and
/// nurseries are the parent thread's (`parent_thread.rs`).
#[derive(Debug)]
pub(super) struct ChildList(File);

impl ChildList {
    /// Opens the list's file, which is read anew by each [`Self::list`].
    pub(in crate::spawn) fn of(thread: Pid) -> io::Result<Self> {
        File::open(format!("/proc/{}/task/{thread}/children", getpid())).map(Self)
    }

    /// The present children. Exact as long as no child is reaped meanwhile: without reaping, the kernel's
    /// list only grows.
    pub(in crate::spawn) fn list(&self) -> io::Result<Vec<Pid>> {
        let (mut list, mut part) = (Vec::new(), [0; CHILDREN_BYTES]);
        loop {
            let read = sys::read_at(self.0.as_fd(), list.len() as u64, &mut part)?;
            list.extend_from_slice(&part[..read]);
            // The kernel writes whole numbers, as many as fit in the buffer.
            if read + NUMBER_BYTES_MAX < part.len() {
                return Ok(pids(&String::from_utf8_lossy(&list)));
            }
        }
    }
}

/// The size of one read of such a list.
const CHILDREN_BYTES: usize = 4096;
/// The longest pid, and the separator.
const NUMBER_BYTES_MAX: usize = 12;

/// Every process below `root`, each with its parent, parents first, as far as it can be seen.
fn descendants(root: Pid) -> Vec<(Pid, Pid)> {
    let of = |parent: Pid| children(parent).into_iter().map(move |child| (child, parent));
    let mut found: Vec<_> = of(root).collect();
    let mut next = 0;
    while let Some(&(pid, _)) = found.get(next) {
        found.extend(of(pid));
        next += 1;
    }
    found
}

/// Sends `signal` to `root`, which must not be reaped meanwhile, and to every process below it. A process
/// that ends meanwhile is passed over: the rounds of `rounds.rs` go on until no process is left.
pub(in crate::spawn) fn signal_tree(root: Pid, signal: Signal) {
    let below = handles_below(root);
    let root = sys::open_pidfd(root).ok();
    root.iter().chain(&below).for_each(|pidfd| drop(sys::send_signal(pidfd.as_fd(), signal)));
}

/// Sends `signal` to every process below `root`, but not to `root`.
pub(in crate::spawn) fn signal_below(root: Pid, signal: Signal) {
    handles_below(root).iter().for_each(|pidfd| drop(sys::send_signal(pidfd.as_fd(), signal)));
}

/// Pidfds of the processes below `root`. A process may be reaped after it was listed, and its number given to
/// another process; that other process has a different parent, so the parent is checked. A listed process
/// that meanwhile became another parent's child is found in the next round.
fn handles_below(root: Pid) -> Vec<OwnedFd> {
    let handle = |(pid, parent)| {
        let pidfd = sys::open_pidfd(pid).ok()?;
        (parent_of(pid) == Some(parent)).then_some(pidfd)
    };
    descendants(root).into_iter().filter_map(handle).collect()
}

fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the process's name, stands in parentheses and may contain parentheses.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok().map(Pid::from_raw)
}

/// The children of all threads of `pid`, as far as they can be seen.
pub(super) fn children(pid: Pid) -> Vec<Pid> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists =
        threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| pids(&list)).collect()
}

fn pids(list: &str) -> Vec<Pid> {
    list.split_ascii_whitespace().filter_map(|word| word.parse().ok().map(Pid::from_raw)).collect()
}

/// The children left below a call reaper; none when the reaper has ended. The kernel's list may miss a child
/// while the reaper reaps, so a reaper that is alive and shows no child is looked at again, until
/// [`KILL_GRACE`] is over: it may have been stopped.
pub(in crate::spawn) fn left_below(reaper: Pid, pidfd: BorrowedFd<'_>) -> io::Result<Vec<Pid>> {
    let until = Instant::now() + KILL_GRACE;
    loop {
        let left = children(reaper);
        let mut ended = [PollFd::new(pidfd, PollFlags::POLLIN)];
        let round = if left.is_empty() { until.min(Instant::now() + KILL_ROUND) } else { Instant::now() };
        if sys::poll_until(&mut ended, Some(round))? || Instant::now() >= until {
            return Ok(Vec::new());
        }
        if !left.is_empty() {
            return Ok(left);
        }
    }
}
