//! The socket is systemd's: it is there before the broker, and stays when the broker goes.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::harness::{Gate, STOPPING, run};

const ECHO: &str = "echo hi\n";

#[test]
fn the_first_call_starts_the_broker_and_is_answered() {
    let gate = Gate::new(ECHO).enable();
    assert_eq!(gate.property("ActiveState"), "inactive");
    gate.call(["echo", "hi"]).exited(0).printed("hi\n");
    assert_eq!(gate.property("ActiveState"), "active");
    gate.call(["echo", "no"]).exited(129);
}

#[test]
fn a_record_names_the_gate() {
    let gate = Gate::new(ECHO).enable();
    gate.call(["echo", "hi"]).exited(0);
    assert_eq!(gate.records("start")[0]["socket"], gate.name());
}

#[test]
fn the_socket_is_private_and_in_a_directory_of_its_own() {
    let gate = Gate::new(ECHO).enable();
    let mode = |path: &_| fs::metadata(path).expect("it is there").permissions().mode() & 0o7777;
    let socket = gate.socket();
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(mode(&socket.with_file_name("")), 0o700);
    assert_eq!(fs::read_dir(socket.with_file_name("")).expect("it can be listed").count(), 1);
    assert_eq!(fs::canonicalize(gate.link()).expect("the link leads somewhere"), socket);
}

#[test]
fn the_socket_is_gone_when_it_is_disabled() {
    let gate = Gate::new(ECHO).enable();
    gate.call(["echo", "hi"]).exited(0);
    run(["systemctl", "--user", "disable", "--now", &gate.socket_unit()]).exited(0);
    assert!(!gate.socket().exists() && gate.link().symlink_metadata().is_err());
    gate.becomes("ActiveState", "inactive");
}

#[test]
fn the_socket_outlives_a_restart() {
    let gate = Gate::new(ECHO).start();
    let (inode, broker) = (inode(&gate), gate.broker());
    gate.systemctl("restart").exited(0);
    assert_ne!(gate.broker(), broker);
    assert_eq!(self::inode(&gate), inode);
    gate.call(["echo", "hi"]).exited(0).printed("hi\n");
}

fn inode(gate: &Gate) -> u64 {
    fs::metadata(gate.socket()).expect("there is a socket").ino()
}

#[test]
fn a_call_made_while_the_broker_restarts_is_answered() {
    let gate = Gate::new(ECHO);
    let door = gate.rules_file().with_extension("door");
    run(["mkfifo".as_ref(), door.as_os_str()]).exited(0);
    // The next broker does not start before somebody opens the door.
    let gate = gate.service(&format!("ExecStartPre=/bin/cat {}", door.display())).enable();
    let caller = |gate: &Gate| {
        let words = gate.call_words(&["echo", "hi"]);
        Command::new(&words[0])
            .args(&words[1..])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a caller can be started")
    };
    let answered = |caller: std::process::Child| {
        gate.becomes("SubState", "start-pre");
        fs::write(&door, "").expect("the door opens");
        let output = caller.wait_with_output().expect("a child can be waited for");
        assert!(output.status.success() && output.stdout == b"hi\n", "{output:?}");
    };
    answered(caller(&gate));
    run(["systemctl", "--user", "restart", "--no-block", &gate.service_unit()]).exited(0);
    gate.becomes("SubState", "start-pre");
    answered(caller(&gate));
    fs::remove_file(&door).expect("the door is ours");
}

#[test]
fn every_caller_learns_over_restarts_whether_its_call_ran() {
    let gate = Gate::new(ECHO).start();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let mut answers = Vec::new();
            while !over.load(Ordering::Relaxed) {
                answers.push(gate.call(["echo", "hi"]));
            }
            answers
        });
        for _ in 0..3 {
            gate.systemctl("restart").exited(0);
        }
        over.store(true, Ordering::Relaxed);
        let answers = caller.join().expect("a caller does not panic");
        // Who waits at the socket is answered by the next broker, and so is who was let in by this one and
        // hung up on with nothing said yet; who was heard is told that it stops.
        for answer in &answers {
            assert!([Some(0), Some(STOPPING)].contains(&answer.code()), "{answer}");
        }
        assert!(answers.iter().any(|answer| answer.code() == Some(0)));
    });
}
