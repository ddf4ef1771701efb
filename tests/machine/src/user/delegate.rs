//! A gate that asks no manager: each call is in a group below the broker's own unit, and gone whole when it
//! ends.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::harness::{
    GONE_MAX, Gate, Manager, Pid, Running, SOON, STOPPING, directory, escaped, gone, group, within,
};

const RULES: &str = "defaults:\n  scope = delegate\n\nsh -c #script\n  allow_any = script\n";

/// What `sluicify` exits with when the command could not be started.
const NOT_STARTED: i32 = 132;

/// The group of the last call, as its start record names it.
fn recorded(gate: &Gate) -> String {
    let start = gate.records("start").pop().expect("a call has started");
    start["scope"].as_str().and_then(|scope| scope.strip_prefix("cgroup:")).expect("a group").to_owned()
}

/// The directory of a group.
fn place(group: &str) -> PathBuf {
    Path::new("/sys/fs/cgroup").join(group.trim_start_matches('/'))
}

#[track_caller]
fn removed(group: &str) {
    within(GONE_MAX, "the group is removed", || (!place(group).exists()).then_some(()));
}

#[test]
fn a_command_is_in_a_group_of_its_own_below_the_brokers_unit() {
    let gate = Gate::new(RULES).enable();
    let mut call = gate.begin(&["sh", "-c", "echo $$; exec sleep 1000"]);
    let command = call.pid();
    let unit = gate.property("ControlGroup");
    let calls = format!("{unit}/calls-{}/", gate.name().replace('-', "\\x2d"));
    assert!(group(command).starts_with(&calls) && group(command) == recorded(&gate), "{}", group(command));
    assert_eq!(group(gate.broker()), format!("{unit}/broker"));
    let alone = fs::read_to_string(directory(command).join("cgroup.procs")).expect("it is there");
    assert_eq!(alone, format!("{}\n", command.0));
    let group = group(command);
    call.kill();
    gone(&[command]);
    removed(&group);
}

#[test]
fn no_moment_of_a_command_is_spent_in_the_brokers_group() {
    let gate = Gate::new(&format!("{RULES}\ncat /proc/self/cgroup\n")).enable();
    for _ in 0..20 {
        let groups = gate.call(["cat", "/proc/self/cgroup"]).exited(0).stdout();
        let group = groups.lines().find_map(|line| line.strip_prefix("0::")).expect("a group");
        assert_eq!(group, recorded(&gate));
    }
}

#[test]
fn a_reload_of_the_manager_moves_nothing() {
    let gate = Gate::new(RULES).enable();
    let mut call = gate.begin(&["sh", "-c", "echo $$; exec sleep 1000"]);
    let command = call.pid();
    let before = (group(command), group(gate.broker()));
    Manager::User.systemctl(&["daemon-reload"]).exited(0);
    Manager::User.systemctl(&["set-property", "--runtime", &gate.service_unit(), "CPUWeight=90"]).exited(0);
    Manager::User.systemctl(&["daemon-reload"]).exited(0);
    assert_eq!((group(command), group(gate.broker())), before);
    gate.call(["sh", "-c", "echo here"]).exited(0).printed("here\n");
    call.kill();
    gate.systemctl("revert").exited(0);
}

#[test]
fn nothing_is_left_of_a_call_that_ended() {
    let gate = Gate::new(RULES).enable();
    let (call, pids) = escaped(&gate, "exit 3");
    assert_eq!(call.code(), Some(3));
    gone(&pids);
    removed(&recorded(&gate));
    let exit = gate.records("exit").pop().expect("the call has ended");
    assert!(exit["status"] == 3 && exit["cpu_ms"].is_u64(), "{exit}");
}

#[test]
fn nothing_is_left_after_a_timeout() {
    let gate = Gate::new(&format!("{RULES}  timeout = 1s\n")).enable();
    let (call, pids) = escaped(&gate, "wait");
    assert_eq!(call.code(), Some(124));
    gone(&pids);
    removed(&recorded(&gate));
}

#[test]
fn nothing_is_left_after_a_stop() {
    let gate = Gate::new(RULES).enable();
    let (call, pids) = escaped(&gate, "wait");
    let unit = gate.property("ControlGroup");
    gate.systemctl("stop").exited(0);
    gone(&pids);
    assert_eq!(call.code(), Some(STOPPING));
    assert!(!place(&unit).exists());
    assert_eq!(gate.records("exit")[0]["stopped"], true);
}

#[test]
fn nothing_is_left_when_the_broker_is_killed() {
    let gate = Gate::new(RULES).enable();
    let (call, pids) = escaped(&gate, "wait");
    let group = recorded(&gate);
    gate.broker().signal(Signal::SIGKILL);
    assert_ne!(call.code(), Some(0));
    gone(&pids);
    gate.call(["sh", "-c", "echo again"]).exited(0).printed("again\n");
    removed(&group);
}

#[test]
fn what_a_command_makes_below_its_group_ends_with_the_call() {
    let gate = Gate::new(RULES).enable();
    let script = "
        cd /sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup) && mkdir -p a/b c
        sh -c 'echo 0 > a/b/cgroup.procs; trap \"\" TERM; echo $$; sleep 1000' &
        sh -c 'echo 0 > c/cgroup.procs; echo $$; exec sleep 1000' &
        sleep 1000";
    let mut call = gate.begin(&["sh", "-c", script]);
    let pids = [call.pid(), call.pid()];
    call.kill();
    gone(&pids);
    removed(&recorded(&gate));
}

#[test]
fn what_a_rule_keeps_stays_in_its_group_until_it_ends() {
    let gate = Gate::new(&format!("{RULES}  background = keep\n")).enable();
    let mut call = gate.begin(&["sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"]);
    let kept = call.pid();
    assert_eq!(call.code(), Some(0));
    let first = recorded(&gate);
    assert_eq!(group(kept), first);
    kept.signal(Signal::SIGTERM);
    removed(&first);
    let (call, pids) = escaped(&gate, "exit 0");
    assert_eq!(call.code(), Some(0));
    assert!(pids.iter().all(|pid| pid.runs()));
    gate.systemctl("stop").exited(0);
    gone(&pids);
}

#[test]
fn a_fork_bomb_ends_with_its_call() {
    let gate = Gate::new(&format!("{RULES}  timeout = 1s\n")).enable();
    let bomb = "trap '' TERM; i=0; while [ $i -lt 200 ]; do setsid sleep 1000 & i=$((i + 1)); done; wait";
    gate.call(["sh", "-c", bomb]).exited(124);
    removed(&recorded(&gate));
    gate.call(["sh", "-c", "echo here"]).exited(0).printed("here\n");
}

/// Whether the broker's group has all these controllers.
fn has(gate: &Gate, controllers: &[&str]) -> bool {
    let file = place(&gate.property("ControlGroup")).join("cgroup.controllers");
    let own = fs::read_to_string(file).expect("a group lists its controllers");
    controllers.iter().all(|controller| own.split_whitespace().any(|own| own == *controller))
}

/// A call for whose limits there is no controller did not run, and its record names one of these.
#[track_caller]
fn refused(gate: &Gate, controllers: &[&str]) {
    gate.call(["sh", "-c", "exit 4"]).exited(132);
    let reject = gate.records("reject").pop().expect("the refusal is on record");
    let detail = reject["detail"].as_str().expect("it says why");
    let named = |controller: &&str| detail.contains(&format!("no controller `{controller}`"));
    assert!(reject["reason"] == "no_scope" && controllers.iter().any(named), "{reject}");
}

#[test]
fn a_rules_limits_are_those_of_its_group() {
    let limits = "  MemoryMax = 64M\n  MemoryHigh = 32M\n  TasksMax = 33\n  CPUQuota = 50%\n  CPUWeight = 50\n  OOMPolicy = kill\n";
    let gate = Gate::new(&format!("{RULES}{limits}")).start();
    let controllers = ["memory", "pids", "cpu"];
    if !has(&gate, &controllers) {
        return refused(&gate, &controllers);
    }
    let mut call = gate.begin(&["sh", "-c", "echo $$; exec sleep 1000"]);
    let group = directory(call.pid());
    let files = ["memory.max", "memory.high", "pids.max", "cpu.max", "cpu.weight", "memory.oom.group"];
    let text = files.map(|file| fs::read_to_string(group.join(file)).expect("the controller is there"));
    assert_eq!(text, ["67108864\n", "33554432\n", "33\n", "50000 100000\n", "50\n", "1\n"]);
    call.kill();
}

#[test]
fn a_limit_without_its_controller_refuses_the_call() {
    let gate = Gate::new(&format!("{RULES}  IOWeight = 50\n")).start();
    if has(&gate, &["io"]) {
        gate.call(["sh", "-c", "exit 4"]).exited(4);
        return;
    }
    refused(&gate, &["io"]);
}

#[test]
fn an_end_for_lack_of_memory_is_told_as_such() {
    let gate = Gate::new(&format!("{RULES}  MemoryMax = 32M\n  MemorySwapMax = 0\n")).start();
    if !has(&gate, &["memory"]) {
        return refused(&gate, &["memory"]);
    }
    gate.call(["sh", "-c", "exec tail /dev/zero"]).exited(128 + 9);
    let exit = gate.records("exit").pop().expect("the call has ended");
    assert!(exit["oom"] == true && exit["memory_peak"].is_u64(), "{exit}");
}

#[test]
fn a_unit_that_keeps_its_group_has_none_for_calls() {
    let gate = Gate::new(RULES).service("Delegate=no").enable();
    gate.call(["sh", "-c", "exit 0"]).exited(132);
    gate.journal().says("is not delegated to it (Delegate=); with `scope = delegate`, calls are refused");
    assert_eq!(group(gate.broker()), gate.property("ControlGroup"), "the broker stays where it was put");
}

#[test]
fn a_launcher_that_was_killed_while_it_waited_gets_no_call() {
    let gate = Gate::new(RULES).enable();
    gate.call(["sh", "-c", "exit 0"]).exited(0);
    let calls = place(&recorded(&gate)).parent().expect("it is below others").to_owned();
    let parked = || {
        let groups = fs::read_dir(&calls).expect("a group can be listed").flatten();
        let lists = groups.filter_map(|group| fs::read_to_string(group.path().join("cgroup.procs")).ok());
        let pids: Vec<Pid> = lists.filter_map(|list| list.trim().parse().ok().map(Pid)).collect();
        (!pids.is_empty()).then_some(pids)
    };
    let parked = within(GONE_MAX, "some are parked", parked);
    parked.iter().for_each(|pid| pid.signal(Signal::SIGKILL));
    gone(&parked);
    gate.call(["sh", "-c", "echo here"]).exited(0).printed("here\n");
}

#[test]
fn launchers_that_are_no_longer_needed_leave_neither_groups_nor_zombies() {
    let gate = Gate::new(RULES).enable();
    let mut calls: Vec<_> = (0..4).map(|_| gate.begin(&["sh", "-c", "echo $$; exec sleep 1000"])).collect();
    for call in &mut calls {
        call.pid();
    }
    calls.into_iter().for_each(Running::kill);
    let calls = place(&recorded(&gate)).parent().expect("it is below others").to_owned();
    let parked = || {
        fs::read_dir(&calls).expect("a group can be listed").flatten().filter(|entry| entry.path().is_dir())
    };
    within(SOON, "more are parked than a quiet socket keeps", || (parked().count() > 3).then_some(()));
    within(SOON, "a quiet socket keeps three", || (parked().count() == 3).then_some(()));
    let broker = gate.broker().0;
    let children = fs::read_to_string(format!("/proc/{broker}/task/{broker}/children")).expect("it runs");
    for child in children.split_whitespace() {
        let status =
            fs::read_to_string(format!("/proc/{child}/status")).expect("a child is there until it is reaped");
        assert!(!status.contains("State:\tZ"), "{status}");
    }
}

/// A broker for which these system calls do not exist.
fn without(gate: Gate, calls: &str) -> Gate {
    let filter = format!("NoNewPrivileges=yes\nSystemCallFilter=~{calls}\nSystemCallErrorNumber=ENOSYS");
    gate.service(&filter).enable()
}

#[test]
fn without_clone3_a_call_that_needs_a_group_is_refused_and_another_runs() {
    let gate = without(Gate::new(RULES), "clone3");
    gate.call(["sh", "-c", "echo here"]).exited(NOT_STARTED).printed("");
    let reject = gate.records("reject").pop().expect("the refusal is on record");
    assert_eq!(reject["reason"], "no_scope", "{reject}");
    let gate = without(Gate::new(&RULES.replace("delegate", "off")), "clone3");
    gate.call(["sh", "-c", "echo here"]).exited(0).printed("here\n");
}

#[test]
fn a_broker_that_can_make_no_process_does_not_start_and_says_why() {
    let gate = without(Gate::new(RULES), "clone clone3 fork vfork");
    gate.systemctl("start").failed();
    gate.journal().says("no process can be made");
}
