//! How a call ends, and that nothing of it is left when it has: timeouts, hangups, background processes, the broker's
//! own stop.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::harness::{Broker, Connection, Pid, Reply, SHELL, SOON, Status, frame, python, sluicify, within};

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
fn a_caller_that_leaves_ends_its_call() {
    let broker = Broker::shell();
    let mut call = broker.begin_sh("setsid sleep 60 & echo $!; wait");
    let pid = call.pid();
    call.hang_up();
    call.outputs_end();
    broker.record("exit hangup=true !timed_out !stopped");
    assert!(!pid.runs(), "process {} outlives its call", pid.0);
}

/// Calls the shell over the socket in `argv[1]`, waits for its first line, and dies.
const DYING: &str = "\
import os, signal, socket, struct, sys
read, write = os.pipe()
gate = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
gate.connect(sys.argv[1])
words = [b'/bin/sh', b'-c', b'echo up; setsid sleep 60']
frame = struct.pack('<III', 0x534C4358, 1, len(words))
for word in words:
    frame += struct.pack('<I', len(word)) + word
socket.send_fds(gate, [frame], [0, write, 2])
os.read(read, 3)
os.kill(os.getpid(), signal.SIGKILL)
";

#[test]
fn a_caller_that_dies_ends_its_call() {
    let broker = Broker::shell();
    python(DYING, [broker.socket()]);
    let record = broker.record("exit hangup=true");
    assert_eq!(record.get("call"), broker.record("start").get("call"));
}

#[test]
fn a_caller_that_leaves_may_be_survived() {
    let broker = Broker::new(&shell_with("on_hangup = keep")).start();
    let mut call = broker.request(&["/bin/sh", "-c", "echo up; read line; exit 7"]).stdin_open().begin();
    call.line();
    call.hang_up();
    call.write(b"go on\n");
    broker.record("exit status=7 !hangup");
}

#[test]
fn a_call_that_outlives_its_caller_still_has_its_timeout() {
    let broker = Broker::new(&shell_with("on_hangup = keep\n  timeout = 600ms")).start();
    let mut call = broker.begin_sh("echo $$; exec sleep 60");
    let pid = call.pid();
    call.hang_up();
    broker.record("exit timed_out=true status=-7 !hangup");
    assert!(!pid.runs());
}

#[test]
fn a_stop_ends_running_calls_and_records_them() {
    let mut broker = Broker::shell();
    let manifest = broker.manifest_path();
    let socket = broker.socket();
    let mut call = broker.begin_sh("setsid sleep 60 & echo $!; wait");
    let pid = call.pid();
    broker.signal(Signal::SIGTERM);
    let answer = call.wait();
    assert!(matches!(answer.reply, Reply::Status(_)), "{:?}", answer.reply);
    answer.audited(["start", "exit stopped=true !hangup !timed_out"]);
    broker.ends_with(0);
    assert!(!pid.runs(), "process {} outlives the broker", pid.0);
    let text = std::fs::read_to_string(manifest).expect("there is a manifest");
    assert!(text.trim_end().lines().last().is_some_and(|line| line.contains("\"close\"")), "{text}");
    assert!(Connection::open(&socket).is_err(), "nobody listens any more");
}

#[test]
fn while_it_stops_new_calls_are_refused() {
    let mut broker = Broker::shell();
    let mut call = broker.begin_sh("trap '' TERM; echo up; while :; do sleep 0.1; done");
    call.line();
    let early = broker.connect();
    broker.signal(Signal::SIGTERM);
    broker.says("sluice: stopping");
    early.send(&frame(&["/bin/sh", "-c", "echo late"]), &[std::io::stderr().as_fd(); 3]);
    assert_eq!(early.reply(), Reply::Status(Status::STOPPING));
    broker.record("reject reason=stopping status=-10");
    call.wait().audited(["start", "reject", "exit stopped=true signal=9"]);
    broker.ends_with(0);
}

#[test]
fn a_second_sigterm_hurries_it() {
    let mut broker = Broker::shell();
    let mut call = broker.begin_sh("trap '' TERM; echo up; while :; do sleep 0.1; done");
    call.line();
    let began = Instant::now();
    broker.signal(Signal::SIGTERM);
    broker.says("sluice: stopping");
    broker.signal(Signal::SIGTERM);
    call.wait().audited(["start", "exit stopped=true signal=9"]);
    broker.ends_with(0);
    assert!(began.elapsed() < Duration::from_millis(1900), "{:?}", began.elapsed());
}

#[test]
fn sigint_stops_it_like_sigterm() {
    let mut broker = Broker::shell();
    broker.sh("true").exited(0);
    broker.signal(Signal::SIGINT);
    broker.ends_with(0);
}

#[test]
fn a_reload_leaves_running_calls_alone() {
    let mut broker = Broker::new(&shell_with("timeout = 30s")).start();
    let socket = broker.socket();
    let sender = std::thread::spawn(move || {
        sluicify([
            socket.to_str().expect("a test's path is UTF-8"),
            "/bin/sh",
            "-c",
            "echo up; sleep 0.5; echo same",
        ])
    });
    broker.record("start");
    assert!(broker.reload("/bin/echo new\n").contains("reloaded"));
    broker.call(["/bin/echo", "new"]).exited(0).printed("new\n");
    broker.sh("true").refused(Status::NO_RULE);
    sender.join().expect("the caller does not panic").exited(0).printed("up\nsame\n");
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

#[test]
fn a_caller_that_leaves_while_it_waits_takes_no_place() {
    let broker = Broker::new(&format!("{SHELL}  max_calls = 1\n")).start();
    let mut first = broker.request(&["/bin/sh", "-c", "echo one; read go"]).stdin_open().begin();
    first.line();
    let mut second = broker.begin_sh("echo two");
    let mut third = broker.begin_sh("echo three");
    second.hang_up();
    first.write(b"go\n");
    first.wait().exited(0);
    assert_eq!(third.line(), "three");
    third.wait().exited(0);
    second.outputs_end();
    broker.record("reject reason=hangup");
}
