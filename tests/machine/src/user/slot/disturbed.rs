//! A manager that is reloaded, executed again or cut off its bus, while there are calls.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Ended, Gate, Manager, SOON, gone, with_own_manager, within};

use super::{SHELL, SLEEPER, fine, place, places, show};

/// How many callers there are.
const CALLERS: usize = 8;

/// How long they call.
const LOAD: Duration = Duration::from_secs(4);

/// More scopes than ten calls and some tries to find the manager ask for.
const SCOPES_MAX: u32 = 100;

/// A pause of the one who disturbs.
const PAUSE: Duration = Duration::from_millis(150);

/// What forty calls take that do not wait for a bus, where `timeout` looks every tenth of a second.
const CUT_OFF_MAX: Duration = Duration::from_secs(10);

/// Calls without a pause while `disturb` is done again and again; gives how they ended.
fn under_load(gate: &Gate, disturb: impl Fn()) -> Vec<Ended> {
    let over = AtomicBool::new(false);
    thread::scope(|threads| {
        let caller = || {
            let mut answers = Vec::new();
            while !over.load(Ordering::Relaxed) {
                answers.push(gate.call(["sh", "-c", "echo here"]));
            }
            answers
        };
        let callers: Vec<_> = (0..CALLERS).map(|_| threads.spawn(caller)).collect();
        let until_over = UntilOver(&over);
        let end = Instant::now() + LOAD;
        while Instant::now() < end {
            disturb();
            thread::sleep(PAUSE);
        }
        drop(until_over);
        callers.into_iter().flat_map(|caller| caller.join().expect("a caller does not panic")).collect()
    })
}

/// Dropped, it tells callers to make no further call; also when the test fails.
struct UntilOver<'a>(&'a AtomicBool);

impl Drop for UntilOver<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Every call ran, in a scope.
#[track_caller]
fn all_ran(gate: &Gate, answers: &[Ended]) {
    let failed: Vec<_> = answers.iter().filter(|answer| answer.code() != Some(0)).collect();
    assert!(failed.is_empty(), "{} of {} calls failed, such as {}", failed.len(), answers.len(), failed[0]);
    assert!(answers.len() > 2 * CALLERS, "{} calls", answers.len());
    let scopes = places(gate);
    assert!(scopes.iter().all(|place| place.scope.ends_with(".scope")), "{scopes:?}");
}

#[test]
fn no_call_fails_while_the_manager_is_reloaded() {
    with_own_manager(|| {
        let gate = Gate::new(SHELL).enable();
        fine(&gate);
        let answers = under_load(&gate, || drop(Manager::User.systemctl(&["daemon-reload"]).exited(0)));
        all_ran(&gate, &answers);
        fine(&gate);
    });
}

#[test]
fn no_call_fails_while_the_manager_is_executed_again() {
    with_own_manager(|| {
        let gate = Gate::new(SHELL).enable();
        fine(&gate);
        let broker = gate.broker();
        let answers = under_load(&gate, || drop(Manager::User.systemctl(&["daemon-reexec"]).exited(0)));
        all_ran(&gate, &answers);
        fine(&gate);
        assert_eq!(gate.broker(), broker);
    });
}

#[test]
fn a_running_call_outlives_the_managers_second_execution_and_ends_with_its_scope() {
    with_own_manager(|| {
        let gate = Gate::new(SHELL).enable();
        let mut call = gate.begin(&SLEEPER);
        let command = call.pid();
        let scope = place(&gate).scope;
        Manager::User.systemctl(&["daemon-reexec"]).exited(0);
        Manager::User.systemctl(&["daemon-reload"]).exited(0);
        assert!(command.runs() && show(&scope, "ActiveState") == "active");
        Manager::User.systemctl(&["stop", &scope]).exited(0);
        gone(&[command]);
        assert_eq!(call.code(), Some(128 + 15));
        fine(&gate);
    });
}

/// Cuts the manager and the broker off their bus.
fn cut() {
    Manager::User.systemctl(&["stop", "dbus.socket", "dbus.service", "dbus-broker.service"]);
}

fn mend() {
    // The manager counts starts that follow on each other.
    Manager::User.systemctl(&["reset-failed", "dbus.socket", "dbus.service", "dbus-broker.service"]);
    Manager::User.systemctl(&["start", "dbus.socket"]).exited(0);
}

#[test]
fn calls_go_on_in_slots_while_the_bus_is_away() {
    with_own_manager(|| {
        let gate = Gate::new(SHELL).enable();
        (0..4).for_each(|_| fine(&gate));
        cut();
        let before = places(&gate).len();
        let began = Instant::now();
        (0..40).for_each(|_| fine(&gate));
        assert!(began.elapsed() < CUT_OFF_MAX, "took {:?}", began.elapsed());
        // A call that is described in vain is a call all the same.
        gate.call(["sh", "-c", "sleep .1; echo here"]).exited(0).printed("here\n");
        // Spare ones, which were there or asked for, may have been free until now.
        let first = places(&gate)[before..].iter().filter(|place| place.number() == 1).count();
        assert!(first <= 4, "{first} scopes were made without a bus");
        mend();
        (0..4).for_each(|_| fine(&gate));
        new_scopes(&gate);
    });
}

/// New scopes can be had: those that there are, are stopped, and calls run.
#[track_caller]
fn new_scopes(gate: &Gate) {
    let old = place(gate);
    let call = || {
        gate.call([
            "sh",
            "-c",
            "kill -TERM $(cat /sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)/../anchor/cgroup.procs)",
        ])
    };
    within(SOON, "a scope that was made later", || {
        call();
        let place = place(gate);
        (place.number() == 1 && place.id != old.id).then_some(())
    });
    fine(gate);
}

#[test]
fn a_bus_that_comes_and_goes_under_load_fails_no_call() {
    with_own_manager(|| {
        let gate = Gate::new(SHELL).enable();
        // So many slots that no call has to wait for one.
        let warm = under_load(&gate, || ());
        all_ran(&gate, &warm);
        let answers = under_load(&gate, || {
            cut();
            thread::sleep(PAUSE);
            mend();
        });
        all_ran(&gate, &answers);
        new_scopes(&gate);
    });
}

/// A scope that the manager makes and in which nothing can be made is no reason to ask for another at once.
#[test]
fn scopes_that_cannot_be_used_are_not_made_again_and_again() {
    let gate = Gate::new(SHELL).enable();
    fine(&gate);
    let slice = place(&gate).directory.parent().expect("a scope is in a slice").to_owned();
    let allow = |depth: &str| fs::write(slice.join("cgroup.max.depth"), depth).expect("it is the user's");
    allow("1");
    let calls = (0..10).map(|_| gate.call(["sh", "-c", "echo here"]));
    let refused = calls.filter(|ended| ended.code() == Some(132)).count();
    thread::sleep(LOAD);
    allow("max");
    within(SOON, "a call that runs", || {
        (gate.call(["sh", "-c", "echo here"]).code() == Some(0)).then_some(())
    });
    let scope = place(&gate).scope;
    let number = scope.trim_end_matches(".scope").rsplit('-').next().and_then(|number| number.parse().ok());
    assert!(refused > 0 && number.is_some_and(|number: u32| number < SCOPES_MAX), "{refused}, {scope}");
}
