//! Resident memory from `/proc/PID/status`, which stays readable when a process hides the rest of its
//! directory.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::caller::Caller;

/// How long the running calls sleep, and how long they may take until all of them run.
const SLEEP_SECONDS: &str = "3";
const ALL_RUN_MAX: Duration = Duration::from_millis(2500);

/// Resident memory of a broker. Pages that processes share are counted in each of them, but processes that
/// live in one memory (`CLONE_VM`) once.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Memory {
    /// The broker's own process.
    pub broker_kib: u64,
    /// Its other processes (those that become commands included), without running commands.
    pub helpers: usize,
    /// Their resident memory.
    pub helpers_kib: u64,
    /// Running commands.
    pub commands: usize,
}

/// A process, as its `status` tells.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    parent: u32,
    pub(crate) name: String,
    resident_kib: u64,
    /// All that the kernel says of its memory: the same of those who live in one.
    memory: String,
}

/// The command that makes a call last.
pub(crate) const SLEEPER: &str = "sleep";

/// What the broker `pid` and everything below it hold now.
pub fn of_broker(pid: u32) -> io::Result<Memory> {
    let mut memory = Memory::default();
    let (tree, mut counted) = (tree(pid)?, HashSet::new());
    for process in &tree {
        match process.name.as_str() {
            _ if process.pid == pid => memory.broker_kib = process.resident_kib,
            SLEEPER => memory.commands += 1,
            _ => {
                memory.helpers += 1;
                memory.helpers_kib += if counted.insert(&process.memory) { process.resident_kib } else { 0 };
            }
        }
    }
    Ok(memory)
}

/// The process `pid` and everything below it.
pub(crate) fn tree(pid: u32) -> io::Result<Vec<Process>> {
    let all = processes()?;
    let mut tree = HashSet::from([pid]);
    let mut known = 0;
    // Parents may be listed after their children: pass until nothing is added.
    while known < tree.len() {
        known = tree.len();
        let born: Vec<_> = all.iter().filter(|one| tree.contains(&one.parent)).map(|one| one.pid).collect();
        tree.extend(born);
    }
    Ok(all.into_iter().filter(|process| tree.contains(&process.pid)).collect())
}

/// What the broker holds while `calls` calls run. `commands` says how many really did.
pub fn while_running(pid: u32, socket: &Path, calls: usize) -> io::Result<Memory> {
    let caller = Caller::new(socket, &["/bin/sleep", SLEEP_SECONDS])?;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..calls).map(|_| scope.spawn(|| caller.call())).collect();
        let memory = settled(pid, calls);
        for thread in threads {
            thread.join().expect("a caller does not panic")?;
        }
        memory
    })
}

fn settled(pid: u32, calls: usize) -> io::Result<Memory> {
    let end = Instant::now() + ALL_RUN_MAX;
    loop {
        let memory = of_broker(pid)?;
        if memory.commands >= calls || Instant::now() >= end {
            return Ok(memory);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The value of one line of `/proc/self/status`, in KiB.
pub fn own_kib(key: &str) -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    Ok(number(&status, key))
}

/// KiB as MiB.
pub fn mib(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
}

fn processes() -> io::Result<Vec<Process>> {
    let pids = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(pids.filter_map(process).collect())
}

/// `None` when it has ended meanwhile.
fn process(pid: u32) -> Option<Process> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let parent = u32::try_from(number(&status, "PPid")).ok()?;
    let name = field(&status, "Name")?.to_owned();
    let memory = status.lines().filter(|line| line.starts_with("Vm") || line.starts_with("Rss")).collect();
    Some(Process { pid, parent, name, resident_kib: number(&status, "VmRSS"), memory })
}

fn field<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim)
}

fn number(status: &str, key: &str) -> u64 {
    let value = field(status, key).unwrap_or_default();
    value.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_finds_itself() {
        let memory = of_broker(std::process::id()).expect("/proc is there");
        assert!(memory.broker_kib > 100, "{memory:?}");
    }
}
