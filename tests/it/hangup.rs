//! What a caller that goes away means to its call.

use crate::harness::{Broker, SHELL, needs, python};

/// The shell rule with further attributes.
fn shell_with(attributes: &str) -> String {
    format!("{SHELL}  {attributes}\n")
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
    if !needs("python3", "python3") {
        return;
    }
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
fn a_caller_that_closes_its_sending_half_is_still_answered() {
    let broker = Broker::shell();
    let mut call = broker.begin_sh("sleep 0.3; exit 6");
    call.close_sending();
    call.wait().exited(6).audited(["start", "exit status=6 !hangup"]);
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
