//! Signals that a caller has forwarded to its command's process group. The command leads a group of its own
//! (`setsid(2)`), and its pid is given to no other process before it is reaped. Where a call reaper reaps it,
//! the broker hears of that a moment later; a signal in that moment reaches another group only if the kernel
//! has gone through all pids meanwhile.

use std::fs;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::sys;

/// What came of a signal that was to be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForwardResult {
    /// The process is not the command yet: it is to be tried again.
    TooEarly,
    /// It was sent.
    Sent,
    /// SIGTSTP was sent to a command that catches it, to put its terminal right and stop: it is to be stopped
    /// ([`stop`]) once it has had the time for that.
    Stops,
}

/// Forwards a signal to the process group of a command.
pub(super) fn forward(command: Pid, signal: Signal) -> ForwardResult {
    if sys::is_before_exec(command) {
        return ForwardResult::TooEarly;
    }
    // A group that is gone, or that belongs to another user by now, gets no signal.
    killpg(command, signal).ok();
    if signal != Signal::SIGTSTP {
        return ForwardResult::Sent;
    }
    match disposition_of_stop(command) {
        StopDisposition::Default => stop(command),
        StopDisposition::Caught => return ForwardResult::Stops,
        StopDisposition::Ignored => {}
    }
    ForwardResult::Sent
}

/// Stops a command's group until the caller's SIGCONT. The kernel does not stop a group by SIGTSTP that no
/// process of its session could continue, and no shell is in the command's session; so SIGSTOP does.
pub(super) fn stop(command: Pid) {
    killpg(command, Signal::SIGSTOP).ok();
}

/// What a process does at SIGTSTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StopDisposition {
    Default,
    Caught,
    Ignored,
}

/// `/proc/PID/status`, `proc_pid_status(5)`. A process that is gone ignores all.
fn disposition_of_stop(process: Pid) -> StopDisposition {
    let Ok(status) = fs::read_to_string(format!("/proc/{process}/status")) else {
        return StopDisposition::Ignored;
    };
    let has = |field: &str| {
        let set = status.lines().find_map(|line| line.strip_prefix(field));
        let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or_default();
        set >> (Signal::SIGTSTP as u32 - 1) & 1 == 1
    };
    match (has("SigCgt:"), has("SigIgn:")) {
        (true, _) => StopDisposition::Caught,
        (false, true) => StopDisposition::Ignored,
        (false, false) => StopDisposition::Default,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_does_with_sigtstp_is_read() {
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().expect("it starts");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        while sys::is_before_exec(pid) {}
        assert_eq!(disposition_of_stop(pid), StopDisposition::Default);
        let mut shell = std::process::Command::new("/bin/sh");
        let mut ignoring = shell.args(["-c", "trap '' TSTP; exec sleep 60"]).spawn().expect("it starts");
        let pid = Pid::from_raw(i32::try_from(ignoring.id()).expect("a pid"));
        let name = || fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        while name() != "sleep\n" {}
        assert_eq!(disposition_of_stop(pid), StopDisposition::Ignored);
        for child in [&mut child, &mut ignoring] {
            child.kill().expect("it is there");
            child.wait().expect("it ends");
        }
    }
}
