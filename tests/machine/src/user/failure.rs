//! A broker that dies, hangs, or cannot start: systemd sees it, says it, and mends what it can.

use nix::sys::signal::Signal;

use crate::harness::{Gate, Pid, SOON, within};

/// Waits until systemd, and no call, has started another broker.
#[track_caller]
fn started_again(gate: &Gate, broker: Pid) {
    // A reload of the manager by another test meanwhile counts as a restart more.
    within(SOON, "a restart", || (gate.property("NRestarts") != "0").then_some(()));
    gate.becomes("ActiveState", "active");
    assert_ne!(gate.broker(), broker);
}

const WRONG: &str = "echo hi\n  timeout = soon\n";

/// Where the error is.
fn place(gate: &Gate) -> String {
    format!("{}:2:13: error: ", gate.rules_file().display())
}

#[test]
fn rules_with_an_error_show_where_and_refuse_callers() {
    let gate = Gate::new(WRONG).enable();
    gate.systemctl("start").exited(0);
    gate.systemctl("status").said(&["active (running)", "no rules in force", &place(&gate)]);
    gate.journal().says(&place(&gate));
    let status = format!("systemctl --user status {} says why", gate.service_unit());
    gate.call(["echo", "hi"]).exited(129).said(&["no rules are in force here", &status]);
    gate.journal().says("a request on ");
}

#[test]
fn who_mends_the_rules_just_calls_again() {
    let gate = Gate::new(WRONG).enable();
    for _ in 0..20 {
        gate.call(["echo", "hi"]).exited(129);
    }
    gate.becomes("ActiveState", "active");
    gate.write_rules("echo hi\n");
    gate.call(["echo", "hi"]).exited(0).printed("hi\n");
    gate.systemctl("status").said(&["1 rule, "]);
    assert_eq!(gate.property("NRestarts"), "0");
}

#[test]
fn rules_that_are_not_written_yet_are_waited_for() {
    let gate = Gate::new("echo hi\n").enable();
    std::fs::remove_file(gate.rules_file()).expect("the rules are there");
    gate.call(["echo", "hi"]).exited(129);
    gate.systemctl("status").said(&["cannot be read: No such file"]);
    gate.write_rules("echo hi\n");
    gate.call(["echo", "hi"]).exited(0).printed("hi\n");
}

#[test]
fn rules_that_are_mended_can_be_reloaded() {
    let gate = Gate::new(WRONG).enable();
    gate.call(["echo", "hi"]).exited(129);
    gate.systemctl("reload").failed();
    gate.write_rules("echo hi\n");
    gate.systemctl("reload").exited(0);
    gate.call(["echo", "hi"]).exited(0).printed("hi\n");
}

#[test]
fn brokers_that_crash_again_and_again_leave_the_gate_open() {
    let gate = Gate::new("echo hi\n").enable();
    for _ in 0..8 {
        gate.call(["echo", "hi"]).exited(0).printed("hi\n");
        gate.broker().signal(Signal::SIGKILL);
    }
    gate.call(["echo", "hi"]).exited(0).printed("hi\n");
}

#[test]
fn a_killed_broker_is_started_again() {
    let gate = Gate::new("echo hi\n").start();
    let broker = gate.broker();
    broker.signal(Signal::SIGKILL);
    started_again(&gate, broker);
    gate.call(["echo", "hi"]).exited(0).printed("hi\n");
}

#[test]
fn a_killed_broker_leaves_nothing_running() {
    let gate = Gate::new("sh -c #script\n  allow_any = script\n").start();
    let script = "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!; kill -9 $PPID; wait";
    let call = gate.call(["sh", "-c", script]);
    let pid = call.stdout().trim().parse().map(Pid).expect("the script printed a pid");
    within(SOON, "the end of what the command started", || (!pid.runs()).then_some(()));
    gate.becomes("ActiveState", "active");
}

#[test]
fn a_stuck_broker_is_started_again_by_its_watchdog() {
    let gate = Gate::new("echo hi\n").service("WatchdogSec=1s").start();
    let broker = gate.broker();
    broker.signal(Signal::SIGSTOP);
    started_again(&gate, broker);
    gate.call(["echo", "hi"]).exited(0).printed("hi\n");
    assert!(!broker.runs());
}

#[test]
fn an_idle_broker_keeps_its_watchdog_content() {
    let gate = Gate::new("echo hi\n").service("WatchdogSec=200ms").start();
    let broker = gate.broker();
    let fed = gate.property("WatchdogTimestampMonotonic");
    // Five feedings, of which each had to come in time.
    (0..5).fold(fed, |fed, _| {
        let next = || Some(gate.property("WatchdogTimestampMonotonic")).filter(|next| *next != fed);
        within(SOON, "the watchdog is fed", next)
    });
    assert_eq!(gate.broker(), broker);
}
