//! A call that is captured has its relay in its scope, which ends with it as ever: what the command wrote is
//! delivered before.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{GONE_MAX, Gate, Manager, Pid, SOON, directory, gone, within};

/// Scopes of the manager's, and groups of the broker's own.
const KINDS: [&str; 2] = ["require", "delegate"];

fn capturing(scope: &str, more: &str) -> Gate {
    let rules = "sh -c #script\n  allow_any = script\n";
    let files = "  stdoutfile = $HOME/.local/state/sluice/captures/#$socket-#$call\n";
    Gate::new(&format!("defaults:\n  scope = {scope}\n\n{rules}{files}{more}")).enable()
}

fn relays(group: &Path) -> Vec<Pid> {
    let processes = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let pids = processes.lines().filter_map(|line| line.parse().ok()).map(Pid);
    let is_relay = |pid: &Pid| {
        fs::read_to_string(format!("/proc/{}/comm", pid.0)).is_ok_and(|name| name == "sluice-relay\n")
    };
    pids.filter(is_relay).collect()
}

/// The record of the last call's end.
fn exit(gate: &Gate) -> Value {
    gate.records("exit").pop().expect("a call has ended")
}

#[test]
fn a_relay_is_in_the_scope_of_its_call_and_gone_with_it() {
    for kind in KINDS {
        let gate = capturing(kind, "");
        let mut call = gate.begin(&["sh", "-c", "echo $$; exec sleep 1000"]);
        let command = call.pid();
        let group = directory(command);
        let relays = relays(&group);
        assert_eq!(relays.len(), 1, "{kind}");
        call.kill();
        gone(&[command, relays[0]]);
        within(GONE_MAX, "the group is removed", || (!group.exists()).then_some(()));
    }
}

#[test]
fn what_a_command_says_while_it_is_ended_is_delivered() {
    for kind in KINDS {
        let gate = capturing(kind, "  timeout = 500ms\n");
        let ended = gate.call(["sh", "-c", "trap 'echo ended; exit' TERM; echo begun; sleep 1000 & wait"]);
        ended.exited(124).printed("begun\nended\n");
        let exit = exit(&gate);
        assert!(exit["stdout_bytes"] == 12 && exit["truncated"].is_null(), "{exit}");
        // What does not obey.
        let ended = gate.call(["sh", "-c", "trap '' TERM; echo begun; while :; do sleep 1; done"]);
        ended.exited(124).printed("begun\n");
        assert!(self::exit(&gate)["drain_timeout"].is_null());
    }
}

/// Eight processes that are never the same for long: each ignores SIGTERM, makes its successor, and ends.
const FUGITIVES: &str = "B='trap \"\" TERM; setsid sh -c \"$0\" \"$0\" &'; for i in 1 2 3 4 5 6 7 8; do sh -c \"$B\" \"$B\" & done;";

#[test]
fn what_forks_away_for_ever_ends_with_its_call_and_what_was_written_is_delivered() {
    for kind in KINDS {
        let gate = capturing(kind, "  timeout = 1s\n");
        let mut call = gate.begin(&["sh", "-c", &format!("echo $$; {FUGITIVES} exec sleep 1000")]);
        let group = directory(call.pid());
        assert_eq!(call.code(), Some(124));
        within(SOON, "the group is removed", || (!group.exists()).then_some(()));
        let exit = exit(&gate);
        assert!(exit["truncated"].is_null() && exit["left"].is_null(), "{exit}");
        gate.call(["sh", "-c", "echo here"]).exited(0).printed("here\n");
    }
}

#[test]
fn what_a_command_leaves_is_ended_and_a_hundred_of_its_lines_are_delivered() {
    for kind in KINDS {
        let gate = capturing(kind, "");
        let script = "trap '' TERM; (trap '' TERM; setsid sleep 1000) & seq 100; exit 3";
        let ended = gate.call(["sh", "-c", script]).exited(3);
        assert_eq!(ended.stdout().lines().count(), 100);
        let exit = exit(&gate);
        assert!(exit["truncated"].is_null() && exit["drain_timeout"].is_null(), "{exit}");
    }
}

#[test]
fn a_scope_that_is_stopped_ends_what_was_kept_and_its_relay() {
    let gate = capturing("require", "  background = keep\n");
    let mut call = gate.begin(&["sh", "-c", "setsid sleep 1000 & echo $!"]);
    let kept = call.pid();
    let group = directory(kept);
    let relays = relays(&group);
    assert_eq!((call.code(), relays.len()), (Some(0), 1));
    let scope =
        gate.records("start").pop().expect("it started")["scope"].as_str().expect("a name").to_owned();
    Manager::User.systemctl(&["stop", &scope]).exited(0);
    gone(&[kept, relays[0]]);
    within(SOON, "the capture is on record", || {
        let record = gate.records("capture").pop()?;
        (record["drain_timeout"].is_null() && record["truncated"].is_null()).then_some(())
    });
}

#[test]
fn a_relay_that_is_killed_with_its_scope_ends_its_call() {
    let gate = capturing("require", "");
    let mut call = gate.begin(&["sh", "-c", "echo $$; exec sleep 1000"]);
    let relay = relays(&directory(call.pid()))[0];
    relay.signal(Signal::SIGKILL);
    assert_eq!(call.code(), Some(134));
    let exit = exit(&gate);
    assert!(exit["truncated"] == true && exit["drain_timeout"] == true, "{exit}");
}

/// Its relay ends before the command does, which must not keep the broker from hearing anything else.
#[test]
fn a_command_that_closed_what_is_captured_still_ends_with_its_caller() {
    for kind in KINDS {
        let gate = capturing(kind, "");
        let mut call = gate.begin(&["sh", "-c", "echo $$; exec sleep 1000 >/dev/null"]);
        let command = call.pid();
        let group = directory(command);
        within(SOON, "the relay's end", || relays(&group).is_empty().then_some(()));
        call.kill();
        gone(&[command]);
    }
}
