//! What a broker holds and uses, from `/proc`.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde::Serialize;

use crate::memory::{SLEEPER, tree};
use crate::sample::count;

/// What a broker's own process holds beside memory.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Footprint {
    /// Its threads.
    pub threads: usize,
    /// Its descriptors; only root sees those of a process that cannot be dumped.
    pub descriptors: Option<usize>,
}

impl Footprint {
    /// What the process holds now.
    pub fn of(pid: u32) -> io::Result<Self> {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok().map(Iterator::count);
        Ok(Self { threads: tasks(pid)?.count(), descriptors })
    }
}

/// Processor time that the broker and its helpers use within `time`, in microseconds of a second.
pub(super) fn busy_us(pid: u32, time: Duration) -> io::Result<f64> {
    let before = ran_ns(pid)?;
    thread::sleep(time);
    let ran = ran_ns(pid)?.saturating_sub(before);
    Ok(count(usize::try_from(ran).unwrap_or(usize::MAX)) / 1e3 / time.as_secs_f64())
}

/// Nanoseconds that they ran so far, commands excluded.
fn ran_ns(pid: u32) -> io::Result<u64> {
    let helpers = tree(pid)?.into_iter().filter(|process| process.name != SLEEPER);
    let tasks = helpers.filter_map(|process| tasks(process.pid).ok()).flatten();
    // One that has ended meanwhile has no time to tell.
    Ok(tasks
        .filter_map(|task| fs::read_to_string(task.join("schedstat")).ok())
        .map(|text| first(&text))
        .sum())
}

fn first(text: &str) -> u64 {
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn tasks(pid: u32) -> io::Result<impl Iterator<Item = std::path::PathBuf>> {
    Ok(fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"))?.flatten().map(|task| task.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_finds_itself() {
        let own = Footprint::of(std::process::id()).expect("/proc is there");
        assert!(own.threads > 0 && own.descriptors.is_some_and(|count| count >= 3), "{own:?}");
        assert!(ran_ns(std::process::id()).expect("/proc is there") > 0);
    }
}
