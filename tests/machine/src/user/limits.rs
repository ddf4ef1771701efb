//! Limits of a rule as the kernel keeps them, not only as the manager shows them. They need the controllers
//! of memory, processes and processors in the user's manager, so a virtual machine runs them wherever a
//! container has none; `inside` chooses.

use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Gate, Manager, SOON, directory, within};

const SHELL: &str = "sh -c #script\n  allow_any = script\n";

/// What SIGTERM, 2 s and SIGKILL take, with room.
const GONE_MAX: Duration = Duration::from_secs(3);

const MIB: u64 = 1 << 20;

/// What an anchor may cost.
const ANCHOR_BYTES_MAX: u64 = 512 << 10;

/// Fills as much memory as it gets.
const GLUTTON: &str = "tail /dev/zero";

/// A gate whose scripts run under these lines. A machine that has just booted may take longer for its first
/// scope than a call waits.
fn limited(lines: &str) -> Gate {
    let gate = Gate::new(&format!("{SHELL}{lines}")).start();
    within(SOON, "a first scope", || (gate.call(["sh", "-c", ":"]).code() == Some(0)).then_some(()));
    gate
}

/// The record of the last call's end.
fn exit(gate: &Gate) -> Value {
    gate.records("exit").pop().expect("the call has ended")
}

/// A number of a record.
#[track_caller]
fn number(record: &Value, field: &str) -> u64 {
    record[field].as_u64().unwrap_or_else(|| panic!("no {field} in {record}"))
}

#[test]
fn a_call_gets_no_more_memory_than_its_rule_allows_and_the_records_say_why_it_ended() {
    let gate = limited("  MemoryMax = 32M\n  MemorySwapMax = 0\n");
    gate.call(["sh", "-c", &format!("exec {GLUTTON}")]).exited(128 + 9);
    let exit = exit(&gate);
    assert!(exit["oom"] == true && exit["signal"] == 9, "{exit}");
    let peak = number(&exit, "memory_peak");
    assert!(peak > 16 * MIB && peak <= 32 * MIB, "{exit}");
    let is_end = |field: Option<&str>| field == Some("137");
    let entry = gate.journal().has("the call's end", |entry| is_end(entry.get_field("SLUICE_STATUS")));
    assert_eq!(entry.get_field("SLUICE_SIGNAL"), Some("9"));
    assert_eq!(entry.get_field("SLUICE_REASON"), Some("oom"));
    let message = entry.get_field("MESSAGE").unwrap_or_default();
    assert!(message.contains("was ended by signal 9, out of memory, after"), "{message}");
    // It was the call's end, and nobody else's.
    gate.call(["sh", "-c", "echo here"]).exited(0).printed("here\n");
    assert_eq!(gate.property("NRestarts"), "0");
}

/// One process of several takes too much: whether the script, which waits for it, goes on is its rule's
/// matter.
fn outlives(policy: &str) -> bool {
    let gate = limited(&format!("  MemoryMax = 32M\n  MemorySwapMax = 0\n  OOMPolicy = {policy}\n"));
    let ended = gate.call(["sh", "-c", &format!("{GLUTTON}; sleep 1; echo on")]);
    assert_eq!(exit(&gate)["oom"], true, "{ended}");
    ended.stdout() == "on\n"
}

#[test]
fn one_process_or_all_end_for_lack_of_memory_as_the_rule_has_it() {
    assert!(outlives("continue"));
    assert!(!outlives("kill"));
    assert!(!outlives("stop"));
}

#[test]
fn a_record_tells_what_a_call_used() {
    let gate = limited("");
    let script = "head -c 32M /dev/zero | tail -c 24M >/dev/null";
    gate.call(["sh", "-c", script]).exited(0);
    let exit = exit(&gate);
    assert!(number(&exit, "memory_peak") > 24 * MIB && exit["oom"].is_null(), "{exit}");
    number(&exit, "cpu_ms");
}

#[test]
fn a_fork_bomb_has_no_more_tasks_than_its_rule_allows_and_is_gone_after_its_timeout() {
    let gate = limited("  TasksMax = 20\n  timeout = 5s\n");
    let bomb = "B='trap \"\" TERM; while :; do setsid sh -c \"$0\" \"$0\" & done'; sh -c \"$B\" \"$B\" &";
    let mut call = gate.begin(&["sh", "-c", &format!("echo $$; {bomb} exec sleep 1000")]);
    let path = directory(call.pid());
    let file = |name: &str| fs::read_to_string(path.join(name)).unwrap_or_default();
    assert_eq!(file("pids.max"), "20\n");
    let refused = || file("pids.events").trim_start_matches("max ").trim_end().parse().unwrap_or(0u64);
    within(SOON, "the kernel refuses it a process", || (refused() > 0).then_some(()));
    assert!(file("pids.current").trim_end().parse().is_ok_and(|tasks: u64| tasks <= 20));
    assert_eq!(call.code(), Some(124));
    within(GONE_MAX, "the end of all of it", || (!path.exists()).then_some(()));
    let exit = exit(&gate);
    assert!(exit["timed_out"] == true && exit["left"].is_null(), "{exit}");
    assert!(number(&exit, "duration_ms") < 5000 + 3000, "{exit}");
    gate.call(["sh", "-c", "echo here"]).exited(0).printed("here\n");
}

#[test]
fn a_call_gets_no_more_of_a_processor_than_its_rule_allows() {
    let gate = limited("  CPUQuota = 10%\n  timeout = 3s\n");
    gate.call(["sh", "-c", "while :; do :; done & while :; do :; done"]).exited(124);
    let exit = exit(&gate);
    let (used, wall) = (number(&exit, "cpu_ms"), number(&exit, "duration_ms"));
    // A tenth; two processors would have given it two hundredths of that many times more.
    assert!(used * 100 >= wall * 5 && used * 100 <= wall * 15, "{exit}");
}

#[test]
fn a_call_runs_no_longer_than_systemd_is_told() {
    let gate = limited("  RuntimeMaxSec = 1s\n");
    gate.call(["sh", "-c", "exec sleep 1000"]).exited(128 + 15);
    let wall = number(&exit(&gate), "duration_ms");
    assert!((900..10_000).contains(&wall), "{wall} ms");
}

/// A slice that is full, or nearly, while there are calls: each runs or is refused, and none hangs.
#[test]
fn a_full_slice_hangs_no_call_and_all_is_well_when_there_is_room_again() {
    let gate = limited("");
    let slice = format!("sluice-{}.slice", gate.name().replace('-', "\\x2d"));
    let allow = |tasks: &str| {
        let property = format!("TasksMax={tasks}");
        Manager::User.systemctl(&["set-property", "--runtime", &slice, &property]).exited(0);
    };
    for tasks in ["1", "2", "3", "5", "8"] {
        allow(tasks);
        thread::scope(|threads| {
            let caller =
                || (0..4).map(|_| gate.call(["sh", "-c", "sleep .01 & wait; echo here"])).collect::<Vec<_>>();
            let callers: Vec<_> = (0..4).map(|_| threads.spawn(caller)).collect();
            for ended in callers.into_iter().flat_map(|caller| caller.join().expect("it does not panic")) {
                // 132: no process or no scope can be had; 2: the shell is refused its own child.
                assert!([Some(0), Some(2), Some(132)].contains(&ended.code()), "{tasks}: {ended}");
            }
        });
    }
    allow("infinity");
    let call = || gate.call(["sh", "-c", "echo here"]).code();
    within(SOON, "a call that runs", || (call() == Some(0)).then_some(()));
    assert!((0..10).all(|_| call() == Some(0)));
}

/// Every short call has its account, its peak of memory too, and none has an earlier call's.
#[test]
fn each_short_calls_account_has_its_own_peak_of_memory() {
    let gate = limited("");
    for _ in 0..20 {
        gate.call(["sh", "-c", "head -c 24M /dev/zero | tail -c 20M >/dev/null"]).exited(0);
        let large = number(&exit(&gate), "memory_peak");
        gate.call(["sh", "-c", ":"]).exited(0);
        let small = number(&exit(&gate), "memory_peak");
        assert!(large > 20 * MIB && small < 8 * MIB, "{large} and {small}");
        number(&exit(&gate), "cpu_ms");
    }
}

/// A call that is killed for want of memory says so, each time.
#[test]
fn an_end_for_lack_of_memory_is_told_every_time() {
    let gate = limited("  MemoryMax = 16M\n  MemorySwapMax = 0\n");
    for _ in 0..20 {
        gate.call(["sh", "-c", &format!("exec {GLUTTON}")]).exited(128 + 9);
        let exit = exit(&gate);
        assert!(exit["oom"] == true && exit["memory_peak"].is_u64() && exit["cpu_ms"].is_u64(), "{exit}");
    }
}

#[test]
fn an_anchor_takes_next_to_no_memory() {
    let gate = limited("");
    let mut call = gate.begin(&["sh", "-c", "echo $$; exec sleep 1000"]);
    let anchor = directory(call.pid()).with_file_name("anchor");
    let current = fs::read_to_string(anchor.join("memory.current")).expect("the group has the controller");
    let current: u64 = current.trim_end().parse().expect("a number");
    assert!(current < ANCHOR_BYTES_MAX, "{current}");
    call.kill();
}
