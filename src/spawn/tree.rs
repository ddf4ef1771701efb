//! The process tree, from `/proc/PID/task/TID/children` (`CONFIG_PROC_CHILDREN`, which every distribution sets).

use std::fs;
use std::io;
use std::os::fd::AsFd;

use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid};

use crate::sys;

/// The processes that were abandoned to this one: the children of its main thread, which has no others.
///
/// Exact as long as nobody reaps a child meanwhile: the kernel's list only grows then.
pub(super) fn orphans() -> io::Result<Vec<Pid>> {
    children_of(getpid())
}

/// The children of one thread of this process; exact likewise.
pub(super) fn children_of(thread: Pid) -> io::Result<Vec<Pid>> {
    let own = getpid();
    fs::read_to_string(format!("/proc/{own}/task/{thread}/children")).map(|list| pids(&list))
}

/// Every process below `root`, parents first, as far as it can be seen.
fn descendants(root: Pid) -> Vec<Pid> {
    let mut found = children(root);
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        found.extend(children(pid));
        next += 1;
    }
    found
}

/// Sends `signal` to `root` and every process below it. One that is gone meanwhile is passed over: the rounds of
/// `wait.rs` go on until nothing is left.
pub(super) fn signal_tree(root: Pid, signal: Signal) {
    for pid in std::iter::once(root).chain(descendants(root)) {
        if let Ok(pidfd) = sys::open_pidfd(pid) {
            drop(sys::send_signal(pidfd.as_fd(), signal));
        }
    }
}

fn children(pid: Pid) -> Vec<Pid> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists =
        threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| pids(&list)).collect()
}

fn pids(list: &str) -> Vec<Pid> {
    list.split_ascii_whitespace().filter_map(|word| word.parse().ok().map(Pid::from_raw)).collect()
}
