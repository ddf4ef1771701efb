//! A broker of no unit, killed: nothing binds its calls' scopes to it, so the next broker ends what is left
//! in them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::harness::{ByHand, Gate, Manager, Pid, SOON, escaped, gone, group, sluice, within};

const SHELL: &str =
    "defaults:\n  scope = require\n\nsh -c #script\n  allow_any = script\n  on_hangup = keep\n";

const KEEP: &str = "  background = keep\n";

/// Moves a gate's manifest away, and has its broker begin another one, with so many calls carried over.
fn rotate(gate: &Gate, broker: &ByHand, carried: usize) -> PathBuf {
    let (path, old) = (gate.manifest(), gate.manifest().with_extension("jsonl.1"));
    fs::rename(&path, &old).expect("an own file can be renamed");
    broker.reload();
    // The last line of the old file is written after all that the new one begins with.
    let is_left = || fs::read_to_string(&old).is_ok_and(|text| text.contains("{\"kind\":\"close\""));
    within(SOON, "the old file is closed", || is_left().then_some(()));
    assert_eq!(gate.records("carried").len(), carried);
    old
}

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
    let group_of_call = group(pids[0]);
    let (place, _) = group_of_call.rsplit_once("/call-").expect("a group in a scope");
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

/// What a call kept when its broker was killed.
fn kept_behind(gate: &Gate, rotate: impl FnOnce(&ByHand)) -> [Pid; 3] {
    let broker = ByHand::start(gate);
    let (call, pids) = escaped(gate, "exit 0");
    assert_eq!(call.code(), Some(0));
    assert_eq!(gate.records("exit")[0]["keeping"], true);
    rotate(&broker);
    broker.kill();
    assert!(pids.iter().all(|pid| pid.runs()), "what is kept ends by itself: this tests nothing");
    pids
}

/// The next broker ends all of it, and says so once.
fn ends_what_was_kept(gate: &Gate, pids: &[Pid]) {
    let broker = ByHand::start(gate);
    assert!(pids.iter().all(|pid| !pid.runs()), "they run on beside a broker that is ready");
    let kept = &gate.records("kept")[0];
    assert!(kept["call"] == 1 && kept["reason"] == "killed" && kept["left"].is_null(), "{kept}");
    assert!(kept["ended"].as_u64().is_some_and(|ended| ended >= 3), "{kept}");
    assert!(gate.records("lost").is_empty(), "its end was seen");
    broker.kill();
    ByHand::start(gate).kill();
    assert_eq!(gate.records("kept").len(), 1, "it is said once");
}

#[test]
fn what_a_call_kept_is_ended_by_the_broker_after_a_killed_one() {
    let gate = Gate::new(&format!("{SHELL}{KEEP}"));
    let pids = kept_behind(&gate, |_| ());
    ends_what_was_kept(&gate, &pids);
    let manifest = gate.manifest();
    let words = ["log", "--call=1", "--file", manifest.to_str().expect("UTF-8")];
    sluice(&words).exited(0).said(&["\nexit\n", "keeping        true", "\nkept\n", "reason         killed"]);
}

#[test]
fn what_a_call_kept_is_found_in_a_new_file_too() {
    let gate = Gate::new(&format!("{SHELL}{KEEP}"));
    let pids = kept_behind(&gate, |broker| drop(rotate(&gate, broker, 1)));
    ends_what_was_kept(&gate, &pids);
}

#[test]
fn of_what_ended_by_itself_no_file_tells() {
    let gate = Gate::new(&format!("{SHELL}{KEEP}"));
    let pids = kept_behind(&gate, |_| ());
    pids.iter().for_each(|pid| pid.signal(Signal::SIGKILL));
    gone(&pids);
    let broker = ByHand::start(&gate);
    rotate(&gate, &broker, 0);
    broker.kill();
    assert!(gate.records("kept").is_empty());
}

#[test]
fn a_call_that_runs_over_a_rotation_is_ended_by_the_broker_after_a_killed_one() {
    let gate = Gate::new(SHELL);
    let broker = ByHand::start(&gate);
    let (call, pids) = escaped(&gate, "wait");
    let old = rotate(&gate, &broker, 1);
    broker.kill();
    call.kill();
    assert!(pids.iter().all(|pid| pid.runs()), "what is left ends by itself: this tests nothing");
    let broker = ByHand::start(&gate);
    assert!(pids.iter().all(|pid| !pid.runs()), "they run on beside a broker that is ready");
    let lost = &gate.records("lost")[0];
    assert!(lost["call"] == 1 && lost["ended"].as_u64().is_some_and(|ended| ended >= 3), "{lost}");
    broker.kill();
    let manifest = gate.manifest();
    sluice(&["verify", old.to_str().expect("UTF-8"), manifest.to_str().expect("UTF-8")]).exited(0);
}
