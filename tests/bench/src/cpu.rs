//! Processor time of those who have a part in a call, from `/proc/PID/stat`: what a call costs the machine,
//! beside what its caller waits for.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use nix::unistd::Uid;
use serde::Serialize;

use crate::sample::count;
use crate::subject::Subject;

/// What one tick of `/proc/PID/stat` is: `USER_HZ` is 100 on every machine that Linux runs on today.
const TICK_US: f64 = 10_000.0;

/// Processor time of one call, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Shares {
    /// The systemd manager of this user.
    pub manager: f64,
    /// Its message bus.
    pub bus: f64,
    /// The journal.
    pub journal: f64,
    /// The broker itself.
    pub broker: f64,
    /// Its nursery.
    pub nursery: f64,
    /// The adapters of version 2.
    pub adapters: f64,
    /// Launchers, and the commands that they become.
    pub commands: f64,
}

/// What `/proc/PID/stat` tells of a process.
#[derive(Debug)]
struct Stat {
    pid: u32,
    name: String,
    parent: u32,
    group: u32,
    ticks: u64,
    /// Of children that have ended.
    childrens_ticks: u64,
    is_ours: bool,
}

/// Has `calls` calls made, one after the other, and divides what they took.
pub fn shares(subject: &Subject, broker: u32, calls: usize) -> io::Result<Shares> {
    let before = ticks(broker)?;
    (0..calls).try_for_each(|_| subject.once())?;
    std::thread::sleep(crate::calls::REST);
    let after = ticks(broker)?;
    let one = |at: usize| {
        f64::from(u32::try_from(after[at].saturating_sub(before[at])).unwrap_or(u32::MAX)) * TICK_US
            / count(calls)
    };
    Ok(Shares {
        manager: one(0),
        bus: one(1),
        journal: one(2),
        broker: one(3),
        nursery: one(4),
        adapters: one(5),
        commands: one(6),
    })
}

/// Ticks until now, in the order of [`Shares`].
fn ticks(broker: u32) -> io::Result<[u64; 7]> {
    let pids = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let all: Vec<Stat> = pids.filter_map(stat).collect();
    let sum = |is: &dyn Fn(&Stat) -> bool| all.iter().filter(|one| is(one)).map(|one| one.ticks).sum();
    let commands = all.iter().filter(|one| one.pid == broker).map(|one| one.childrens_ticks).sum();
    Ok([
        sum(&|one| one.name == "systemd" && one.is_ours),
        sum(&|one| one.name.starts_with("dbus-") && one.is_ours),
        sum(&|one| one.name == "systemd-journal"),
        sum(&|one| one.pid == broker),
        // It leads a group, of which its launchers are.
        sum(&|one| one.parent == broker && one.group == one.pid),
        sum(&|one| one.name == "sluice-adapter" && one.is_ours),
        commands,
    ])
}

/// `None` when it has ended meanwhile.
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let is_ours = fs::metadata(format!("/proc/{pid}")).ok()?.uid() == Uid::current().as_raw();
    let (start, rest) = text.rsplit_once(')')?;
    let name = start.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    let process = |at: usize| number(at).and_then(|number| u32::try_from(number).ok());
    let (ticks, childrens_ticks) = (number(11)? + number(12)?, number(13)? + number(14)?);
    Some(Stat { pid, name, parent: process(1)?, group: process(2)?, ticks, childrens_ticks, is_ours })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_finds_itself() {
        let own = stat(std::process::id()).expect("/proc is there");
        assert!(own.is_ours && own.parent > 0, "{own:?}");
    }
}
