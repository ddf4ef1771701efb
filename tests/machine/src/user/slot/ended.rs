//! Whoever ends a scope ends the call in it, and the next call has another scope.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{ByHand, GONE_MAX, Gate, Manager, Pid, SOON, escaped, gone, within};

use super::{SHELL, SLEEPER, all_members, fine, members, place, places, scopes, show, unloaded};

/// How long a stop of a scope takes in which no command runs.
const IDLE_STOP_MAX: Duration = Duration::from_millis(1500);

/// Runs `systemctl --user VERB… SCOPE` while a call runs there; gives that call's code and its processes.
#[track_caller]
fn ended_by(gate: &Gate, words: &[&str]) -> (Option<i32>, [Pid; 3]) {
    let (call, pids) = escaped(gate, "exec sleep 1000");
    let scope = place(gate).scope;
    // It fails where a process ends before its turn comes.
    Manager::User.systemctl(&[words, &[&scope]].concat());
    let code = call.code();
    (code, pids)
}

/// All of the last call is gone, its record says by which signal it ended, and the next calls have other
/// scopes.
#[track_caller]
fn is_over(gate: &Gate, pids: &[Pid], signal: i32) {
    gone(pids);
    let exit = gate.records("exit").pop().expect("the call has ended");
    assert_eq!(exit["signal"], signal, "{exit}");
    let ended = place(gate);
    for _ in 0..4 {
        fine(gate);
        assert!(!place(gate).is_beside(&ended), "{ended:?}");
    }
    unloaded(&ended.scope);
    assert!(!ended.directory.exists());
}

#[test]
fn a_stop_of_the_scope_ends_the_call() {
    let gate = Gate::new(SHELL).enable();
    for _ in 0..3 {
        let (code, pids) = ended_by(&gate, &["stop"]);
        assert_eq!(code, Some(128 + 15));
        is_over(&gate, &pids, 15);
        let exits = gate.records("exit");
        let exit = exits.iter().find(|exit| exit["signal"] == 15).expect("there is one");
        assert!(exit["cpu_ms"].is_u64(), "{exit}");
    }
}

#[test]
fn a_stop_ends_a_command_that_does_not_heed_it() {
    let gate = Gate::new(SHELL).enable();
    let mut call = gate.begin(&["sh", "-c", "trap '' TERM; echo $$; while :; do sleep 1; done"]);
    let command = call.pid();
    let began = Instant::now();
    Manager::User.systemctl(&["stop", &place(&gate).scope]).exited(0);
    assert!(began.elapsed() < 2 * GONE_MAX, "took {:?}", began.elapsed());
    assert_eq!(call.code(), Some(128 + 9));
    is_over(&gate, &[command], 9);
}

#[test]
fn a_signal_to_the_scope_is_the_calls() {
    let gate = Gate::new(SHELL).enable();
    for (name, number) in [("TERM", 15), ("KILL", 9)] {
        let (code, pids) = ended_by(&gate, &["kill", "--signal", name]);
        assert_eq!(code, Some(128 + number), "{name}");
        is_over(&gate, &pids, number);
    }
}

#[test]
fn a_signal_that_ends_nothing_of_a_call_leaves_it_running() {
    let gate = Gate::new(SHELL).enable();
    let mut call = gate.begin(&["sh", "-c", "trap 'echo 1' HUP; echo $$; while :; do sleep .01; done"]);
    let command = call.pid();
    let scope = place(&gate).scope;
    Manager::User.systemctl(&["kill", "--signal=WINCH", &scope]).exited(0);
    Manager::User.systemctl(&["kill", "--signal=CONT", &scope]).exited(0);
    assert!(command.runs() && show(&scope, "ActiveState") == "active");
    call.kill();
    gone(&[command]);
    fine(&gate);
}

#[test]
fn a_stop_of_slots_that_nobody_has_is_quick_and_new_ones_are_made() {
    let gate = Gate::new(SHELL).enable();
    for _ in 0..8 {
        fine(&gate);
        let idle = within(SOON, "slots", || Some(scopes(&gate)).filter(|scopes| !scopes.is_empty()));
        let units: Vec<_> = idle.iter().filter_map(|path| path.file_name()?.to_str()).collect();
        let began = Instant::now();
        Manager::User.systemctl(&[&["stop"], &units[..]].concat()).exited(0);
        assert!(began.elapsed() < IDLE_STOP_MAX, "took {:?}", began.elapsed());
        fine(&gate);
        let after = place(&gate);
        assert!(!units.contains(&&*after.scope), "{after:?}");
    }
}

#[test]
fn idle_slots_that_are_killed_are_not_used_again() {
    let gate = Gate::new(SHELL).enable();
    for name in ["TERM", "KILL", "TERM", "KILL"] {
        fine(&gate);
        // One that is in the making has nothing to be killed.
        let mut ids = scopes(&gate);
        ids.retain(|path| !members(&path.join("anchor")).is_empty());
        for path in &ids {
            let unit = path.file_name().expect("it has a name").to_string_lossy();
            // One that the broker has just given up is gone.
            Manager::User.systemctl(&["kill", "--signal", name, &unit]);
        }
        // A signal's effect may come when the next call has taken the slot, and has not begun.
        let next = gate.call(["sh", "-c", "echo here"]);
        assert!([Some(0), Some(132)].contains(&next.code()), "{name}: {next}");
        for path in &ids {
            within(GONE_MAX, "nothing is left in it", || all_members(path).is_empty().then_some(()));
        }
        let before = places(&gate).len();
        (0..4).for_each(|_| fine(&gate));
        for place in &places(&gate)[before..] {
            assert!(!ids.contains(&place.directory), "{name}: {place:?}");
        }
    }
}

#[test]
fn a_stop_while_calls_come_fails_only_the_call_that_it_ends() {
    let gate = Gate::new("defaults:\n  scope = require\n\ntrue\n").enable();
    gate.call(["true"]).exited(0);
    std::thread::scope(|threads| {
        let callers: Vec<_> = (0..4)
            .map(|_| threads.spawn(|| (0..60).map(|_| gate.call(["true"])).collect::<Vec<_>>()))
            .collect();
        for _ in 0..12 {
            let scopes = scopes(&gate);
            let units: Vec<_> = scopes.iter().filter_map(|path| path.file_name()?.to_str()).collect();
            Manager::User.systemctl(&[&["stop"], &units[..]].concat());
        }
        for ended in callers.into_iter().flat_map(|caller| caller.join().expect("a caller does not panic")) {
            // Done, ended with its scope, or not begun in it.
            assert!([Some(0), Some(128 + 15), Some(128 + 9), Some(132)].contains(&ended.code()), "{ended}");
        }
    });
    gate.call(["true"]).exited(0);
}

#[test]
fn a_killed_broker_ends_every_slot_and_the_next_one_names_what_was_lost() {
    let gate = Gate::new(SHELL).enable();
    (0..3).for_each(|_| fine(&gate));
    let mut calls: Vec<_> = (0..3).map(|_| gate.begin(&SLEEPER)).collect();
    let commands: Vec<_> = calls.iter_mut().map(|call| call.pid()).collect();
    let slots = within(SOON, "a free slot", || Some(scopes(&gate)).filter(|slots| slots.len() > 3));
    let inside: Vec<_> = slots.iter().flat_map(|slot| all_members(slot)).collect();
    assert!(commands.iter().all(|command| inside.contains(command)), "{slots:?}");
    gate.broker().signal(Signal::SIGKILL);
    gone(&inside);
    for slot in &slots {
        within(SOON, "the scope is removed", || (!slot.exists()).then_some(()));
        unloaded(&slot.file_name().expect("it has a name").to_string_lossy());
    }
    assert!(calls.into_iter().all(|call| call.code() != Some(0)));
    fine(&gate);
    let mut lost: Vec<_> = gate.records("lost").iter().map(|lost| lost["call"].as_u64()).collect();
    lost.sort();
    assert_eq!(lost, [Some(4), Some(5), Some(6)]);
}

#[test]
fn a_killed_broker_of_no_unit_leaves_no_slot() {
    let gate = Gate::new(SHELL);
    let broker = ByHand::start(&gate);
    (0..3).for_each(|_| fine(&gate));
    let slots = scopes(&gate);
    let anchors: Vec<_> = slots.iter().flat_map(|slot| all_members(slot)).collect();
    assert!(!anchors.is_empty(), "{slots:?}");
    broker.kill();
    gone(&anchors);
    for slot in &slots {
        within(SOON, "the scope is removed", || (!slot.exists()).then_some(()));
        unloaded(&slot.file_name().expect("it has a name").to_string_lossy());
    }
    let broker = ByHand::start(&gate);
    fine(&gate);
    broker.kill();
}

#[test]
fn a_stop_of_the_slice_costs_no_call() {
    let gate = Gate::new(SHELL).enable();
    let slice = format!("sluice-{}.slice", gate.name().replace('-', "\\x2d"));
    for _ in 0..5 {
        fine(&gate);
        Manager::User.systemctl(&["stop", &slice]).exited(0);
    }
    fine(&gate);
}
