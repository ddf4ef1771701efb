//! A broker of no unit, killed: nothing binds its calls' scopes to it, so the next broker ends what is left in them.

use std::process::Command;

use nix::sys::signal::Signal;

use crate::harness::{ByHand, Gate, Manager, Pid, SOON, escaped, gone, group, within};

const SHELL: &str =
    "defaults:\n  scope = require\n\nsh -c #script\n  allow_any = script\n  on_hangup = keep\n";

/// A call that left three processes behind when its broker was killed.
fn left_behind(gate: &Gate) -> [Pid; 3] {
    let broker = ByHand::start(gate);
    let (call, pids) = escaped(gate, "wait");
    broker.kill();
    call.kill();
    assert!(pids.iter().all(|pid| pid.runs()), "what is left ends by itself: this tests nothing");
    pids
}

#[test]
fn what_a_killed_broker_left_in_a_scope_is_ended_by_the_next_one() {
    let gate = Gate::new(SHELL);
    let pids = left_behind(&gate);
    let broker = ByHand::start(&gate);
    assert!(pids.iter().all(|pid| !pid.runs()), "they run on beside a broker that is ready");
    let lost = &gate.records("lost")[0];
    assert!(lost["call"] == 1 && lost["reason"] == "killed" && lost["left"].is_null(), "{lost}");
    assert!(lost["ended"].as_u64().is_some_and(|ended| ended >= 3), "{lost}");
    broker.kill();
    ByHand::start(&gate).kill();
    assert_eq!(gate.records("lost").len(), 1, "it is said once");
}

#[test]
fn a_unit_that_somebody_made_in_its_place_is_let_be() {
    let gate = Gate::new(SHELL);
    let pids = left_behind(&gate);
    let place = group(pids[0]);
    pids.iter().for_each(|pid| pid.signal(Signal::SIGKILL));
    gone(&pids);
    let (rest, unit) = place.rsplit_once('/').expect("a group has a path");
    let slice = rest.rsplit_once('/').expect("a scope is in a slice").1;
    let loaded = || Manager::User.systemctl(&["show", "--value", "-p", "LoadState", unit]).stdout();
    within(SOON, "the scope is unloaded", || (loaded().trim_end() == "not-found").then_some(()));
    let words = ["--user", "--scope", "--quiet", "--unit", unit, "--slice", slice, "sleep", "100"];
    let mut other = Command::new("systemd-run").args(words).spawn().expect("systemd is installed");
    let pid = Pid(i32::try_from(other.id()).expect("a pid"));
    within(SOON, "a scope of the same name", || (group(pid) == place).then_some(()));
    let broker = ByHand::start(&gate);
    assert!(pid.runs(), "it is no call's");
    let lost = &gate.records("lost")[0];
    assert!(lost["call"] == 1 && lost["ended"].is_null(), "{lost}");
    broker.kill();
    other.kill().expect("a child of ours can be killed");
    other.wait().expect("a child can be waited for");
}
