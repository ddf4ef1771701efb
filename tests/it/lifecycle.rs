//! How a call ends, and that nothing of it is left when it has: timeouts and background processes. Callers
//! that leave are in `hangup.rs`, the broker's own end is in `stop.rs`.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Broker, Pid, SHELL, SOON, Status, needs, within};

/// The shell rule with further attributes.
fn shell_with(attributes: &str) -> String {
    format!("{SHELL}  {attributes}\n")
}

/// Ends at the latest with the test, whatever the broker does.
struct Mortal(Pid);

impl Drop for Mortal {
    fn drop(&mut self) {
        self.0.signal(Signal::SIGKILL);
    }
}

#[track_caller]
fn is_gone(pid: Pid) {
    within(SOON, &format!("process {} is gone", pid.0), || (!pid.runs()).then_some(()));
}

#[test]
fn a_timeout_ends_the_call() {
    let broker = Broker::new(&shell_with("timeout = 200ms")).start();
    broker
        .sh("exec sleep 60")
        .refused(Status::TIMEOUT)
        .took(Duration::from_millis(200), Duration::from_secs(4))
        .audited(["start", "exit status=-7 timed_out=true signal=15 !hangup !stopped"]);
}

#[test]
fn a_call_within_its_timeout_is_left_alone() {
    let broker = Broker::new(&shell_with("timeout = 30s")).start();
    broker
        .sh("sleep 0.1; echo done")
        .exited(0)
        .printed("done\n")
        .audited(["start", "exit status=0 !timed_out"]);
}

#[test]
fn a_timeout_is_answered_as_such_whatever_the_command_exits_with() {
    let broker = Broker::new(&shell_with("timeout = 200ms")).start();
    broker
        .sh("trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done")
        .refused(Status::TIMEOUT)
        .audited(["start", "exit status=-7 timed_out=true !signal"]);
}

#[test]
fn a_timeout_ends_what_setsid_hid() {
    let broker = Broker::new(&shell_with("timeout = 300ms")).start();
    broker
        .sh("setsid sleep 60 & echo $!; wait")
        .refused(Status::TIMEOUT)
        .printed_pid_is_gone()
        .audited(["start", "exit timed_out=true"]);
}

#[test]
fn a_timeout_ends_what_forked_twice() {
    let broker = Broker::new(&shell_with("timeout = 500ms")).start();
    broker
        .sh("(setsid sh -c '(setsid sleep 60 & echo $!) & wait' & echo $!) ; exec sleep 60")
        .refused(Status::TIMEOUT)
        .printed_pid_is_gone();
}

#[test]
fn a_timeout_ends_a_crowd_that_ignores_it() {
    let broker = Broker::new(&shell_with("timeout = 1s")).start();
    let script =
        "trap '' TERM HUP INT; for n in 1 2 3 4 5 6 7 8 9 10; do setsid sleep 60 & echo $!; done; wait";
    broker
        .sh(script)
        .refused(Status::TIMEOUT)
        .took(Duration::from_secs(3), Duration::from_secs(8))
        .printed_pid_is_gone();
}

/// Each generation is a session of its own, starts the next, and leaves; it ends by itself after a while.
const RUNAWAY: &str = "\
exec python3 -c '
import os, time
end = time.monotonic() + 20
print(os.getpid(), flush=True)
while time.monotonic() < end:
    if os.fork():
        time.sleep(0.002)
        os._exit(0)
    os.setsid()
    open(\"@LAST@\", \"a\").write(str(os.getpid()) + \"\\n\")
'";

#[test]
fn what_forks_away_again_and_again_is_caught() {
    if !needs("python3", "python3") {
        return;
    }
    let broker = Broker::shell();
    let last = broker.dir().join("last");
    let script = RUNAWAY.replace("@LAST@", &last.to_string_lossy());
    broker.sh(&format!("{script} & sleep 0.5")).exited(0);
    let pids = std::fs::read_to_string(&last).expect("it ran");
    let pid = pids.lines().last().and_then(|pid| pid.parse().ok()).map(Pid).expect("it wrote its pid");
    assert!(!pid.runs());
    std::fs::remove_file(&last).expect("an own file can be removed");
    broker.sh("sleep 0.3").exited(0);
    assert!(!last.exists(), "a generation outlives its call");
}

#[test]
fn what_ignores_sigterm_is_killed_two_seconds_later() {
    let broker = Broker::new(&shell_with("timeout = 200ms")).start();
    broker
        .sh("trap '' TERM INT HUP QUIT; echo up; while :; do sleep 0.1; done")
        .refused(Status::TIMEOUT)
        .took(Duration::from_millis(2200), Duration::from_secs(6))
        .audited(["start", "exit status=-7 timed_out=true signal=9"]);
}

#[test]
fn a_command_that_stops_itself_is_ended_by_its_timeout() {
    let broker = Broker::new(&shell_with("timeout = 300ms")).start();
    broker.sh("kill -STOP $$; echo never").refused(Status::TIMEOUT).printed("");
}

#[test]
fn a_command_that_kills_its_group_kills_nobody_else() {
    let broker = Broker::shell();
    broker.sh("kill -KILL 0").died_of(Signal::SIGKILL);
    broker
        .sh("sleep 60 & kill -STOP $!; kill -CONT $!; kill $!; wait; echo still")
        .exited(0)
        .printed("still\n");
}

#[test]
fn what_a_command_leaves_running_ends_with_it() {
    let broker = Broker::shell();
    broker
        .sh("sleep 60 & echo $!")
        .exited(0)
        .took(Duration::ZERO, Duration::from_secs(4))
        .printed_pid_is_gone()
        .audited(["start", "exit status=0 !timed_out"]);
    broker.sh("setsid sleep 60 >/dev/null 2>&1 & echo $!").exited(0).printed_pid_is_gone();
    broker
        .sh("(setsid sh -c 'sleep 60 & echo $!; wait' &) ; sleep 0.3; exit 3")
        .exited(3)
        .printed_pid_is_gone();
}

#[test]
fn what_a_command_leaves_may_go_on_where_the_rule_keeps_it() {
    let broker = Broker::new(&shell_with("background = keep")).start();
    let mut call = broker.begin_sh("sleep 60 & echo $!");
    let left = Mortal(call.pid());
    call.wait().exited(0).took(Duration::ZERO, Duration::from_secs(4)).audited(["start", "exit status=0"]);
    assert!(left.0.runs());
    broker.serves_on();
    assert!(left.0.runs());
    left.0.signal(Signal::SIGKILL);
    is_gone(left.0);
}

#[test]
fn a_timeout_ends_everything_even_where_the_rule_keeps_the_background() {
    let broker = Broker::new(&shell_with("background = keep\n  timeout = 300ms")).start();
    broker.sh("sleep 60 & echo $!; wait").refused(Status::TIMEOUT).printed_pid_is_gone();
}

#[test]
fn calls_of_a_rule_wait_for_a_place() {
    let broker = Broker::new(&format!("{SHELL}  max_calls = 1\n\n/bin/echo free\n")).start();
    let mut first = broker.request(&["/bin/sh", "-c", "echo one; read go; exit 1"]).stdin_open().begin();
    first.line();
    let mut second = broker.request(&["/bin/sh", "-c", "echo two; read go; exit 2"]).stdin_open().begin();
    broker.call(["/bin/echo", "free"]).exited(0).printed("free\n");
    assert!(!second.is_answered());
    assert_eq!(broker.records_of("start").len(), 2, "the second waits{}", broker.transcript(0));
    first.write(b"go\n");
    first.wait().exited(1);
    assert_eq!(second.line(), "two");
    second.write(b"go\n");
    second.wait().exited(2);
}
