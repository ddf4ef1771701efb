//! A slot is used again, and is one call's alone while that call runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::harness::{GONE_MAX, Gate, Pid, Running, SOON, escaped, gone, group, within};

use super::{SHELL, SLEEPER, below, fine, members, place, places, show, unloaded};

/// How many slots a socket may have for calls that come one after the other, of which some are being cleaned.
const SLOTS_MAX: usize = 6;

#[test]
fn calls_one_after_the_other_use_the_same_scopes_in_new_groups() {
    let gate = Gate::new("defaults:\n  scope = require\n\ncat /proc/self/cgroup\n").enable();
    for _ in 0..50 {
        let groups = gate.call(["cat", "/proc/self/cgroup"]).exited(0).stdout();
        let own = groups.lines().find_map(|line| line.strip_prefix("0::")).expect("a group");
        let place = place(&gate);
        assert_eq!(format!("/sys/fs/cgroup{own}"), place.directory.join(&place.group).to_string_lossy());
    }
    let mut numbers: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for place in places(&gate) {
        numbers.entry((place.id, place.scope.clone())).or_default().push(place.number());
    }
    assert!(numbers.len() <= SLOTS_MAX, "{numbers:?}");
    let names: BTreeSet<_> = numbers.keys().map(|(_, scope)| scope).collect();
    assert_eq!(names.len(), numbers.len(), "a name is one scope's: {numbers:?}");
    assert!(numbers.values().all(|used| used.is_sorted_by(|one, next| one < next)), "{numbers:?}");
}

#[test]
fn calls_that_run_together_are_each_alone_in_a_scope() {
    let gate = Gate::new(SHELL).enable();
    for round in 1..=3 {
        let mut calls: Vec<_> = (0..6).map(|_| gate.begin(&SLEEPER)).collect();
        let mut commands: Vec<_> = calls.iter_mut().map(Running::pid).collect();
        let mut running = places(&gate).split_off(6 * (round - 1));
        assert_eq!(running.iter().map(|place| place.id).collect::<BTreeSet<_>>().len(), 6, "{running:?}");
        let mut found = Vec::new();
        for place in &running {
            assert_eq!(show(&place.scope, "ActiveState"), "active");
            assert_eq!(
                below(&place.directory),
                ["anchor", &place.group].map(|name| place.directory.join(name))
            );
            assert_eq!(members(&place.directory), []);
            let anchor = members(&place.directory.join("anchor"));
            assert_eq!(anchor.len(), 1, "{place:?}");
            assert_eq!(name(anchor[0]), "sluice-anchor");
            let own = members(&place.directory.join(&place.group));
            assert_eq!(own.len(), 1, "{place:?}");
            assert_eq!(
                format!("/sys/fs/cgroup{}/", group(own[0])),
                place.directory.join(&place.group).join("").to_string_lossy()
            );
            found.extend(own);
        }
        commands.sort();
        found.sort();
        assert_eq!(found, commands);
        calls.into_iter().for_each(Running::kill);
        gone(&commands);
        running.sort();
        within(SOON, "the records of it", || (gate.records("exit").len() == 6 * round).then_some(()));
    }
    let scopes: BTreeSet<_> = places(&gate).into_iter().map(|place| place.id).collect();
    assert!(scopes.len() <= 3 * 6, "{scopes:?}");
}

/// The name of a process.
fn name(pid: Pid) -> String {
    fs::read_to_string(format!("/proc/{}/comm", pid.0)).unwrap_or_default().trim_end().to_owned()
}

#[test]
fn an_anchor_has_one_thread_and_is_not_traced() {
    let gate = Gate::new(SHELL).enable();
    fine(&gate);
    let anchor = members(&place(&gate).directory.join("anchor"))[0];
    assert_eq!(anchor.parent(), Some(gate.broker()));
    // What is not dumpable belongs to root in /proc, for whoever looks.
    assert!(fs::read_link(format!("/proc/{}/exe", anchor.0)).is_err());
    assert_eq!(anchor.status("Threads"), Some(1));
}

#[test]
fn a_description_is_the_running_calls_and_afterwards_nobodys() {
    let gate = Gate::new(SHELL).enable();
    let ready = "sluice: ready for a call at ";
    for number in 1..=4 {
        let mut call = gate.begin(&SLEEPER);
        let command = call.pid();
        let scope = place(&gate).scope;
        let described = format!("sluice call {number}: sh -c");
        let says = |text: &str| show(&scope, "Description").starts_with(text).then_some(());
        within(SOON, &described, || says(&described));
        call.kill();
        gone(&[command]);
        within(SOON, ready, || says(ready));
        assert_eq!(show(&scope, "ActiveState"), "active");
    }
}

#[test]
fn a_call_by_a_rule_with_limits_has_a_scope_of_its_own() {
    let rules = format!("{SHELL}\ncat /proc/self/cgroup\n  TasksMax = 20\n  MemoryMax = 64M\n");
    let gate = Gate::new(&rules).enable();
    fine(&gate);
    for _ in 0..8 {
        gate.call(["cat", "/proc/self/cgroup"]).exited(0);
        let limited = place(&gate);
        unloaded(&limited.scope);
        assert!(!limited.directory.exists());
        fine(&gate);
    }
    let places = places(&gate);
    let (limited, others): (Vec<_>, Vec<_>) = places.iter().enumerate().partition(|(at, _)| at % 2 == 1);
    for (_, limited) in &limited {
        let uses = places.iter().filter(|place| place.is_beside(limited)).count();
        assert_eq!(uses, 1, "{limited:?}");
    }
    let slots: BTreeSet<_> = others.iter().map(|(_, place)| place.id).collect();
    assert!(slots.len() < others.len(), "none was used again: {places:?}");
}

#[test]
fn what_a_rule_keeps_has_the_slot_until_it_ends() {
    let gate = Gate::new(&format!("{SHELL}  background = keep\n")).enable();
    let (call, pids) = escaped(&gate, "exit 0");
    assert_eq!(call.code(), Some(0));
    let kept = place(&gate);
    for _ in 0..8 {
        fine(&gate);
        assert!(!place(&gate).is_beside(&kept), "{kept:?}");
    }
    let own = format!("{}/{}", kept.directory.display(), kept.group);
    assert!(pids.iter().all(|pid| pid.runs() && format!("/sys/fs/cgroup{}", group(*pid)) == own));
    assert_eq!(show(&kept.scope, "ActiveState"), "active");
    let shown = || show(&kept.scope, "Description");
    within(SOON, "a description that names the call", || {
        shown().starts_with("sluice call 1: ").then_some(())
    });
    pids.iter().for_each(|pid| pid.signal(nix::sys::signal::Signal::SIGKILL));
    gone(&pids);
    within(GONE_MAX, "the scope is removed", || (!kept.directory.exists()).then_some(()));
    unloaded(&kept.scope);
    fine(&gate);
}
