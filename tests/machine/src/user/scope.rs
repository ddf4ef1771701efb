//! A call is a unit of its own: seen while it runs, limited as its rule says, and gone whole when it ends.

use std::fs;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::harness::{GONE_MAX, Gate, Manager, SOON, STOPPING, directory, escaped, gone, group, within};

const SHELL: &str = "sh -c #script\n  allow_any = script\n";

/// The scope of the last call, as its start record names it.
fn scope(gate: &Gate) -> String {
    let start = gate.records("start").pop().expect("a call has started");
    start["scope"].as_str().expect("the record names the scope").to_owned()
}

/// The slice of a gate's calls.
fn slice(gate: &Gate) -> String {
    format!("sluice-{}.slice", gate.name().replace('-', "\\x2d"))
}

#[track_caller]
fn show(unit: &str, property: &str) -> String {
    let shown = Manager::User.systemctl(&["show", "--value", "-p", property, unit]).exited(0);
    shown.stdout().trim_end().to_owned()
}

#[test]
fn a_running_call_is_a_unit_with_its_number_and_command() {
    let gate = Gate::new(SHELL).enable();
    let mut call = gate.begin(&["sh", "-c", "echo $$; exec sleep 1000"]);
    let pid = call.pid();
    let scope = scope(&gate);
    let list =
        || Manager::User.systemctl(&["list-units", "--plain", "--no-legend", &scope]).exited(0).stdout();
    // The description comes some milliseconds after the start.
    within(SOON, "a described unit", || list().contains("sluice call 1: sh -c").then_some(()));
    let group = group(pid);
    assert!(group.ends_with(&format!("/sluice.slice/{}/{scope}/call-1", slice(&gate))), "{group}");
    call.kill();
    gone(&[pid]);
    let ready = format!("ready for a call at {}", gate.name().replace('-', "\\x2d"));
    within(SOON, "the scope is ready for another call", || list().contains(&ready).then_some(()));
}

#[test]
fn a_command_is_in_its_scope_from_its_first_moment() {
    let gate = Gate::new("cat /proc/self/cgroup\n").enable();
    for _ in 0..20 {
        let groups = gate.call(["cat", "/proc/self/cgroup"]).exited(0).stdout();
        let group = groups.lines().find(|line| line.starts_with("0::")).expect("a group");
        let start = gate.records("start").pop().expect("a call has started");
        let own = format!("/{}/{}", scope(&gate), start["group"].as_str().expect("a group"));
        assert!(group.ends_with(&own), "{group}");
    }
}

#[test]
fn two_gates_have_two_slices() {
    let gates = [Gate::new(SHELL).enable(), Gate::new(SHELL).enable()];
    let calls = gates.each_ref().map(|gate| gate.begin(&["sh", "-c", "echo $$; exec sleep 1000"]));
    for (gate, mut call) in gates.iter().zip(calls) {
        assert!(group(call.pid()).contains(&slice(gate)));
        call.kill();
    }
}

#[test]
fn nothing_is_left_of_a_call_that_ended() {
    let gate = Gate::new(SHELL).enable();
    let (call, pids) = escaped(&gate, "exit 3");
    assert_eq!(call.code(), Some(3));
    gone(&pids);
    assert_eq!(gate.records("exit")[0]["status"], 3);
}

#[test]
fn nothing_is_left_after_a_timeout() {
    let gate = Gate::new(&format!("{SHELL}  timeout = 1s\n")).enable();
    let (call, pids) = escaped(&gate, "wait");
    assert_eq!(call.code(), Some(124));
    gone(&pids);
    assert_eq!(gate.records("exit")[0]["timed_out"], true);
}

#[test]
fn nothing_is_left_of_a_killed_callers_call() {
    let gate = Gate::new(SHELL).enable();
    let (call, pids) = escaped(&gate, "wait");
    call.kill();
    gone(&pids);
    let exit = within(SOON, "the record of it", || gate.records("exit").pop());
    assert_eq!(exit["hangup"], true, "{exit}");
}

#[test]
fn nothing_is_left_after_a_stop() {
    let gate = Gate::new(SHELL).enable();
    let (call, pids) = escaped(&gate, "wait");
    let began = Instant::now();
    gate.systemctl("stop").exited(0);
    gone(&pids);
    assert!(began.elapsed() < 2 * GONE_MAX, "took {:?}", began.elapsed());
    assert_eq!(call.code(), Some(STOPPING));
    assert_eq!(gate.records("exit")[0]["stopped"], true);
}

#[test]
fn nothing_is_left_when_the_broker_is_killed() {
    let gate = Gate::new(SHELL).enable();
    let (call, pids) = escaped(&gate, "wait");
    gate.broker().signal(Signal::SIGKILL);
    assert_ne!(call.code(), Some(0));
    gone(&pids);
    gate.call(["sh", "-c", "echo again"]).exited(0).printed("again\n");
}

#[test]
fn what_a_rule_keeps_is_a_unit_until_the_stop() {
    let gate = Gate::new(&format!("{SHELL}  background = keep\n")).enable();
    let (call, pids) = escaped(&gate, "exit 0");
    assert_eq!(call.code(), Some(0));
    assert_eq!(show(&scope(&gate), "ActiveState"), "active");
    assert!(pids.iter().all(|pid| pid.runs()));
    gate.systemctl("stop").exited(0);
    gone(&pids);
}

#[test]
fn a_fork_bomb_stays_in_its_call() {
    let gate = Gate::new(&format!("{SHELL}  timeout = 1s\n  TasksMax = 20\n")).enable();
    let bomb = "echo $$; i=0; while [ $i -lt 100 ]; do setsid sleep 1000 & i=$((i + 1)); done; wait";
    let mut call = gate.begin(&["sh", "-c", bomb]);
    call.pid();
    let scope = scope(&gate);
    assert_eq!(show(&scope, "TasksMax"), "20");
    assert!(call.code().is_some_and(|code| code != 0));
    within(GONE_MAX, "the scope's end", || (show(&scope, "ActiveState") == "inactive").then_some(()));
    gate.call(["sh", "-c", "echo here"]).exited(0).printed("here\n");
}

#[test]
fn a_rules_limits_are_the_scopes() {
    let gate = Gate::new(&format!(
        "{SHELL}  MemoryMax = 64M\n  TasksMax = 33\n  CPUQuota = 50%\n  RuntimeMaxSec = 100s\n"
    ));
    let gate = gate.enable();
    let mut call = gate.begin(&["sh", "-c", "echo $$; exec sleep 1000"]);
    call.pid();
    let scope = scope(&gate);
    let shown =
        ["MemoryMax", "TasksMax", "CPUQuotaPerSecUSec", "RuntimeMaxUSec"].map(|name| show(&scope, name));
    assert_eq!(shown, ["67108864", "33", "500ms", "1min 40s"]);
    call.kill();
}

#[test]
fn a_rules_slice_is_the_scopes() {
    let gate = Gate::new(&format!("{SHELL}  Slice = sluice-elsewhere.slice\n")).enable();
    let mut call = gate.begin(&["sh", "-c", "echo $$; exec sleep 1000"]);
    let group = group(call.pid());
    assert!(group.contains("/sluice-elsewhere.slice/"), "{group}");
    call.kill();
}

#[test]
fn an_account_is_kept_as_far_as_there_is_a_controller_for_it() {
    let gate = Gate::new(SHELL).enable();
    let mut call = gate.begin(&["sh", "-c", "echo $$; exec sleep 1000"]);
    let controllers = fs::read_to_string(directory(call.pid()).join("cgroup.controllers"));
    let controllers = controllers.expect("a group lists its controllers");
    call.kill();
    let exit = within(SOON, "the record of it", || gate.records("exit").pop());
    let memory = controllers.split_whitespace().any(|controller| controller == "memory");
    assert_eq!(exit["memory_peak"].is_u64(), memory, "{exit}");
}

#[test]
fn without_a_scope_the_record_says_so() {
    let gate = Gate::new(&format!("defaults:\n  scope = off\n\n{SHELL}")).enable();
    gate.call(["sh", "-c", "exit 0"]).exited(0);
    assert_eq!(scope(&gate), "off");
}

#[test]
fn a_call_that_is_over_at_once_has_its_account() {
    let gate = Gate::new("true\n").enable();
    (0..100).for_each(|_| drop(gate.call(["true"]).exited(0)));
    let exits = gate.records("exit");
    let without: Vec<_> = exits.iter().filter(|exit| !exit["cpu_ms"].is_u64()).collect();
    assert!(
        exits.len() == 100 && without.is_empty(),
        "{} without, such as {:?}",
        without.len(),
        without.first()
    );
}
