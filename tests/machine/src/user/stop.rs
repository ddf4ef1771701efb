//! The stop of the unit, and of a caller: every call has its end, and its record.

use std::time::{Duration, Instant};

use journald::JournalEntry;

use crate::harness::{GONE_MAX, Gate, Pid, Running, SOON, STOPPING, within};

/// What systemd waits for a call that does not want to end: the grace, and room for a busy machine.
const STOP_MAX: Duration = Duration::from_secs(10);

/// How long a broker waits for what it asked to end, before it kills that.
const TERM_GRACE: Duration = Duration::from_secs(2);

/// A call that ends when it is ended, and its command.
fn sleeper(gate: &Gate) -> (Running, Pid) {
    let mut call = gate.begin(&["sh", "-c", "echo $$; exec sleep 1000"]);
    let command = call.pid();
    (call, command)
}

#[test]
fn a_stop_ends_a_running_call_and_records_why() {
    let gate = Gate::new("sh -c 'echo $$; exec sleep 1000'\n").enable();
    let (call, command) = sleeper(&gate);
    gate.systemctl("stop").exited(0);
    assert!(!command.runs());
    assert_eq!(call.code(), Some(STOPPING));
    let exit = &gate.records("exit")[0];
    assert!(exit["stopped"] == true && exit["signal"] == 15, "{exit}");
    assert_eq!(gate.records("close").len(), 1);
}

#[test]
fn a_stop_with_scopes_in_the_making_leaves_no_complaint() {
    let gate = Gate::new("true\n").enable();
    for _ in 0..10 {
        gate.systemctl("reset-failed").exited(0);
        gate.systemctl("start").exited(0);
        let crowd: Vec<_> = (0..16).map(|_| gate.begin(&["true"])).collect();
        gate.systemctl("stop").exited(0);
        // Whoever came too late is answered by the broker that this starts.
        assert!(crowd.into_iter().all(|call| call.code().is_some()));
    }
    let mut journal = gate.journal();
    let closed = |entry: &JournalEntry| entry.get_field("SLUICE_KIND") == Some("close");
    within(SOON, "the last close", || {
        (journal.entries().iter().filter(|entry| closed(entry)).count() == 10).then_some(())
    });
    assert!(!journal.text().contains("scope"), "{}", journal.text());
}

#[test]
fn a_killed_caller_ends_its_call() {
    let gate = Gate::new("sh -c 'echo $$; exec sleep 1000'\n").enable();
    let (call, command) = sleeper(&gate);
    call.kill();
    within(SOON, "the command's end", || (!command.runs()).then_some(()));
    let exit = within(SOON, "the record of it", || gate.records("exit").pop());
    assert_eq!(exit["hangup"], true, "{exit}");
}

#[test]
fn a_command_that_ignores_the_stop_is_killed_by_the_broker() {
    let script = "trap '' TERM; echo $$; while :; do sleep 1; done";
    let gate = Gate::new("sh -c #script\n  allow_any = script\n").enable();
    let mut call = gate.begin(&["sh", "-c", script]);
    let command = call.pid();
    let began = Instant::now();
    gate.systemctl("stop").exited(0);
    assert!(began.elapsed() < STOP_MAX, "it is not left to TimeoutStopSec=");
    within(SOON, "the command's end", || (!command.runs()).then_some(()));
    assert_eq!(call.code(), Some(STOPPING));
    assert_eq!(gate.records("exit")[0]["signal"], 9);
    gate.becomes("Result", "success");
}

/// Ten calls, of which every other one does not end when it is asked to: they are given one grace, all at
/// once.
#[test]
fn a_stop_takes_one_grace_however_many_calls_do_not_obey() {
    for scope in ["require", "delegate", "off"] {
        let rules = format!("defaults:\n  scope = {scope}\n\nsh -c #script\n  allow_any = script\n");
        let gate = Gate::new(&rules).enable();
        let scripts =
            ["echo $$; exec sleep 1000", "trap '' TERM; echo $$; while :; do sleep 1; done"].iter().cycle();
        let mut calls: Vec<_> = scripts.take(10).map(|script| gate.begin(&["sh", "-c", script])).collect();
        let commands: Vec<_> = calls.iter_mut().map(Running::pid).collect();
        let began = Instant::now();
        gate.systemctl("stop").exited(0);
        let took = began.elapsed();
        assert!(took < TERM_GRACE + GONE_MAX, "{scope}: {took:?}");
        assert!(commands.iter().all(|command| !command.runs()), "{scope}");
        assert!(calls.into_iter().all(|call| call.code() == Some(STOPPING)), "{scope}");
        let exits = gate.records("exit");
        let signals = |number| exits.iter().filter(|exit| exit["signal"] == number).count();
        assert_eq!((exits.len(), signals(15), signals(9)), (10, 5, 5), "{exits:?}");
        assert!(exits.iter().all(|exit| exit["stopped"] == true && exit["left"].is_null()), "{exits:?}");
    }
}
