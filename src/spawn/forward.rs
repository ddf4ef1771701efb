//! Signals that a caller has forwarded to its command's process group. The command leads a group of its own
//! (`setsid(2)`), and its pid is given to no other process before it is reaped. Where a call reaper reaps it,
//! the broker hears of that a moment later; a signal in that moment reaches another group only if the kernel
//! has gone through all pids meanwhile.

use std::fs;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::sys;

/// Forwards a signal to the process group of a command. Returns false where the process is not the command
/// yet: then it is to be tried again.
pub(super) fn forward(command: Pid, signal: Signal) -> bool {
    if sys::is_before_exec(command) {
        return false;
    }
    // A group that is gone, or that belongs to another user by now, gets no signal.
    killpg(command, signal).ok();
    // The kernel does not stop a group by SIGTSTP that no process of its session could continue, and no shell
    // is in the command's session; so SIGSTOP does, which the caller's SIGCONT ends.
    if signal == Signal::SIGTSTP && stops_by_default(command) {
        killpg(command, Signal::SIGSTOP).ok();
    }
    true
}

/// Whether SIGTSTP is neither caught nor ignored by a process. `/proc/PID/status`, `proc_pid_status(5)`.
fn stops_by_default(process: Pid) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{process}/status")) else { return false };
    let has = |field: &str| {
        let set = status.lines().find_map(|line| line.strip_prefix(field));
        let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or_default();
        set >> (Signal::SIGTSTP as u32 - 1) & 1 == 1
    };
    !has("SigCgt:") && !has("SigIgn:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_does_with_sigtstp_is_read() {
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().expect("it starts");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        while sys::is_before_exec(pid) {}
        assert!(stops_by_default(pid));
        let mut shell = std::process::Command::new("/bin/sh");
        let mut ignoring = shell.args(["-c", "trap '' TSTP; exec sleep 60"]).spawn().expect("it starts");
        let pid = Pid::from_raw(i32::try_from(ignoring.id()).expect("a pid"));
        let name = || fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        while name() != "sleep\n" {}
        assert!(!stops_by_default(pid));
        for child in [&mut child, &mut ignoring] {
            child.kill().expect("it is there");
            child.wait().expect("it ends");
        }
    }
}
