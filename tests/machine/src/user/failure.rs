//! A broker that dies, hangs, or cannot start: systemd sees it, says it, and mends what it can.

use nix::sys::signal::Signal;

use crate::harness::{Gate, Journal, Manager, Pid, SOON, within};

/// Waits until systemd, and no call, has started another broker.
#[track_caller]
fn started_again(gate: &Gate, broker: Pid) {
    // A reload of the manager by another test meanwhile counts as a restart more.
    within(SOON, "a restart", || (gate.property("NRestarts") != "0").then_some(()));
    gate.becomes("ActiveState", "active");
    assert_ne!(gate.broker(), broker);
}

#[test]
fn rules_with_an_error_fail_the_start_and_show_where() {
    let gate = Gate::new("echo hi\n  timeout = soon\n").enable();
    gate.systemctl("start").failed();
    let place = format!("{}:2:13: error: ", gate.rules_file().display());
    gate.systemctl("status").said(&["failed", &place]);
    // A process that ends at once may be gone before the journal has looked which unit it was of.
    Journal::filtered("SYSLOG_IDENTIFIER=sluice").says(&place);
    assert_eq!(gate.property("NRestarts"), "0", "no second try mends the rules");
}

#[test]
fn a_caller_is_not_left_waiting_for_a_broker_that_does_not_start() {
    let gate = Gate::new("echo hi\n  timeout = soon\n").enable();
    gate.call(["echo", "hi"]).exited(125).said(&["systemctl --user status 'sluice*' says why"]);
    let place = format!("{}:2:13: error: ", gate.rules_file().display());
    Manager::User.systemctl(&["status", "sluice*"]).said(&[&place]);
    gate.becomes("ActiveState", "failed");
    gate.write_rules("echo hi\n");
    // The tries were too many for the next ten seconds, unless they are forgotten.
    Manager::User.systemctl(&["reset-failed", &gate.service_unit()]).exited(0);
    // It brings back its socket, which systemd had closed to end the tries.
    gate.systemctl("start").exited(0);
    gate.call(["echo", "hi"]).exited(0).printed("hi\n");
}

#[test]
fn mended_rules_start() {
    let gate = Gate::new("echo hi\n  timeout = soon\n").enable();
    gate.systemctl("start").failed();
    gate.write_rules("echo hi\n");
    gate.systemctl("start").exited(0);
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
