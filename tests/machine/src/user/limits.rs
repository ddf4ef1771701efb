//! Limits of a rule as the kernel keeps them, not only as the manager shows them. They need the controllers
//! of memory, processes and processors in the user's manager, so a virtual machine runs them wherever a
//! container has none; `inside` chooses.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Gate, SOON, directory, within};

const SHELL: &str = "sh -c #script\n  allow_any = script\n";

/// What SIGTERM, 2 s and SIGKILL take, with room.
const GONE_MAX: Duration = Duration::from_secs(3);

const MIB: u64 = 1 << 20;

/// Fills as much memory as it gets.
const GLUTTON: &str = "tail /dev/zero";

/// A process that the script leaves behind: as long as there is one, the manager does not take the scope's
/// account away.
const WITNESS: &str = "(trap '' TERM; exec sleep 1000) >/dev/null 2>&1 & ";

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
    gate.call(["sh", "-c", &format!("{WITNESS}exec {GLUTTON}")]).exited(128 + 9);
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

#[test]
fn a_scope_that_is_gone_with_its_only_process_is_not_said_to_have_had_memory_enough() {
    let gate = limited("  MemoryMax = 32M\n  MemorySwapMax = 0\n");
    gate.call(["sh", "-c", &format!("exec {GLUTTON}")]).exited(128 + 9);
    let exit = exit(&gate);
    assert!(exit["oom"] == true || exit["memory_peak"].is_null(), "{exit}");
}

/// One process of several takes too much: whether the script, which waits for it, goes on is its rule's
/// matter.
fn outlives(policy: &str) -> bool {
    let gate = limited(&format!("  MemoryMax = 32M\n  MemorySwapMax = 0\n  OOMPolicy = {policy}\n"));
    let ended = gate.call(["sh", "-c", &format!("{WITNESS}{GLUTTON}; sleep 1; echo on")]);
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
    gate.call(["sh", "-c", &format!("{WITNESS}{script}")]).exited(0);
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
