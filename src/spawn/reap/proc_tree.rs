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

/// The children of one thread of this process. Orphans come to the main thread; all others are those of
/// `parent_thread.rs`.
#[derive(Debug)]
pub(super) struct ChildList(File);

impl ChildList {
    /// The list's file, to be asked again and again.
    pub(in crate::spawn) fn of(thread: Pid) -> io::Result<Self> {
        File::open(format!("/proc/{}/task/{thread}/children", getpid())).map(Self)
    }

    /// Those of now. Exact as long as nobody reaps a child meanwhile: the kernel's list only grows then.
    pub(in crate::spawn) fn list(&self) -> io::Result<Vec<Pid>> {
        let (mut list, mut part) = (Vec::new(), [0; CHILDREN_BYTES]);
        loop {
            let read = sys::read_at(self.0.as_fd(), list.len() as u64, &mut part)?;
            list.extend_from_slice(&part[..read]);
            // The kernel gives whole numbers, and as many as fit.
            if read + NUMBER_BYTES_MAX < part.len() {
                return Ok(pids(&String::from_utf8_lossy(&list)));
            }
        }
    }
}

/// What the kernel gives of such a list at once.
const CHILDREN_BYTES: usize = 4096;
/// The longest pid, and what is between two.
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

/// Sends `signal` to `root`, which nobody reaps meanwhile, and every process below it. One that is gone
/// meanwhile is passed over: the rounds of `supervise.rs` go on until nothing is left.
pub(in crate::spawn) fn signal_tree(root: Pid, signal: Signal) {
    let below = handles_below(root);
    let root = sys::open_pidfd(root).ok();
    root.iter().chain(&below).for_each(|pidfd| drop(sys::send_signal(pidfd.as_fd(), signal)));
}

/// The same without `root` itself.
pub(in crate::spawn) fn signal_below(root: Pid, signal: Signal) {
    handles_below(root).iter().for_each(|pidfd| drop(sys::send_signal(pidfd.as_fd(), signal)));
}

/// A process's parent may reap it after it was listed, and another process have its number then: that one has
/// another parent. What has come to another parent by itself is found by the next round.
fn handles_below(root: Pid) -> Vec<OwnedFd> {
    let handle = |(pid, parent)| {
        let pidfd = sys::open_pidfd(pid).ok()?;
        (parent_of(pid) == Some(parent)).then_some(pidfd)
    };
    descendants(root).into_iter().filter_map(handle).collect()
}

fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses, and may hold some.
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

/// What is left below a reaper, or nothing when it has ended. Its list of children may lack one while it
/// reaps: of one that lives and shows none, another look tells, and one that was stopped is given up.
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
