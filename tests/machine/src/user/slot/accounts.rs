//! Every call's record has its account, however short the call was: its group is the broker's to remove.

use std::fs;
use std::thread;

use serde_json::Value;

use crate::harness::{Gate, Running, gone};

use super::{SHELL, SLEEPER, place};

/// A call by each of so many callers, again and again; every record of an end has what the group counted.
fn counted(callers: usize, calls: usize) {
    let gate = Gate::new(&format!("{SHELL}\ntrue\n")).enable();
    let has_memory = has_memory(&gate);
    thread::scope(|threads| {
        let caller = || (0..calls / callers).for_each(|_| drop(gate.call(["true"]).exited(0)));
        (0..callers).for_each(|_| drop(threads.spawn(caller)));
    });
    let exits = gate.records("exit");
    let exits = &exits[1..];
    let is_short = |exit: &&Value| {
        let peak = &exit["memory_peak"];
        !exit["cpu_ms"].is_u64() || peak.is_u64() != has_memory || !exit["oom"].is_null()
    };
    let short: Vec<_> = exits.iter().filter(is_short).collect();
    assert!(
        exits.len() == calls / callers * callers && short.is_empty(),
        "{} as {:?}",
        short.len(),
        short.first()
    );
}

/// Whether the groups of calls have the memory controller.
fn has_memory(gate: &Gate) -> bool {
    let mut call: Running = gate.begin(&SLEEPER);
    let command = call.pid();
    let place = place(gate);
    let file = place.directory.join(&place.group).join("cgroup.controllers");
    let controllers = fs::read_to_string(file).expect("a group lists its controllers");
    call.kill();
    gone(&[command]);
    controllers.split_whitespace().any(|controller| controller == "memory")
}

#[test]
fn each_of_many_short_calls_has_its_account() {
    counted(1, 300);
    counted(4, 600);
}

#[test]
#[ignore = "takes a minute: --ignored user::slot"]
fn each_of_ten_thousand_short_calls_has_its_account() {
    counted(4, 10_000);
}

#[test]
fn processor_time_is_that_of_all_that_a_call_started() {
    let gate = Gate::new(SHELL).enable();
    // The shell waits for neither: what the command and its children used is not all.
    let busy = "i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done";
    let script = format!("(setsid sh -c '{busy}; echo done' &) | cat");
    gate.call(["sh", "-c", &script]).exited(0).printed("done\n");
    let used = gate.records("exit")[0]["cpu_ms"].as_u64();
    assert!(used.is_some_and(|used| used > 20), "{used:?}");
    gate.call(["sh", "-c", ":"]).exited(0);
    let used = gate.records("exit")[1]["cpu_ms"].as_u64();
    assert!(used.is_some_and(|used| used < 20), "an account begins with its call: {used:?}");
}
