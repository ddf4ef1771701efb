//! Control groups as the kernel shows them.

use std::fs;
use std::path::PathBuf;

use super::process::Pid;

/// The group of a process in the unified hierarchy.
pub(crate) fn group(pid: Pid) -> String {
    let text = fs::read_to_string(format!("/proc/{}/cgroup", pid.0)).expect("it runs");
    text.lines().find_map(|line| line.strip_prefix("0::")).expect("there is a unified hierarchy").to_owned()
}

/// The directory of that group.
pub(crate) fn directory(pid: Pid) -> PathBuf {
    format!("/sys/fs/cgroup{}", group(pid)).into()
}
