//! Connections of version 2 that stay: they cost no thread, and shut nobody out.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};

use crate::harness::{
    Broker, LISTING, Piped, Reply, SHELL, few_in_flight, many_in_flight, needs, piped_frames, sluicify_bin,
};

/// Holds connections that were made by one process each, which has ended, and over which a listing came.
const HANDING: &str = include_str!("staying/handing.py");

fn connect(broker: &Broker) -> Piped {
    Piped::open(&broker.socket())
}

/// A broker with room for some 180 connections, half of which may stay.
fn small() -> Broker {
    let rules = "defaults:\n  max_calls = 1\n\n/bin/echo a\n";
    Broker::new(rules).under(&["prlimit", "--nofile=500:500", "--"]).start()
}

/// More connections than the small broker has room for, all of which had an answer.
fn crowd(broker: &Broker) -> Vec<Piped> {
    let caller = |_| {
        let connection = connect(broker);
        let reply = connection.begin_list(0);
        (connection, reply)
    };
    let callers: Vec<_> = (0..300).map(caller).collect();
    let mut connections = Vec::new();
    for (connection, reply) in callers {
        let number = connections.len();
        assert!(matches!(&piped_frames(reply)[..], [(LISTING, _)]), "{number}");
        assert!(broker.descriptors().is_none_or(|open| open < 350), "{number}: all are accepted at once");
        connections.push(connection);
    }
    connections
}

#[test]
fn connections_that_stay_take_no_thread_and_are_heard_again() {
    let _many = many_in_flight();
    let broker = Broker::new(&format!("defaults:\n  max_calls = 2\n\n{SHELL}")).start();
    broker.sh("true").exited(0);
    let threads = broker.threads();
    let connections: Vec<_> = (0..100).map(|_| connect(&broker)).collect();
    let all_exit = |code: i32| {
        let words = ["/bin/sh", "-c", &*format!("exit {code}")];
        let asked: Vec<_> = connections.iter().map(|connection| connection.ask(&words)).collect();
        assert!(asked.iter().all(|asked| asked.status() == code));
    };
    (0..3).for_each(|_| all_exit(3));
    // They end after they had nothing to do for 5 s.
    broker.comes_back_to(None, threads);
    all_exit(4);
}

#[test]
fn connections_that_stay_make_room_for_others() {
    let _few = few_in_flight();
    let broker = small();
    let connections = crowd(&broker);
    broker.call(["/bin/echo", "a"]).exited(0).printed("a\n");
    assert_eq!(connections[0].0.reply(), Reply::Closed, "it was idle for longest");
    let last = connections.last().expect("there are many");
    assert!(matches!(&last.list(0)[..], [(LISTING, _)]), "the last one is still there");
    assert!(broker.records_of("reject").is_empty());
    assert!(!broker.said().contains("cannot take more callers"), "{}", broker.said());
}

#[test]
fn who_has_many_connections_costs_nobody_else_one() {
    let _few = few_in_flight();
    let broker = small();
    // A connection that was handed in, older than all others.
    let script = "\"$0\" --list - >/dev/null && echo ready && read go && exec \"$0\" - /bin/echo a";
    let mut command = Command::new(sluicify_bin());
    command.arg("--with-fd").arg(broker.socket()).args(["--", "/bin/sh", "-c", script]).arg(sluicify_bin());
    let mut other = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut said = BufReader::new(other.stdout.take().expect("a pipe"));
    let mut line = String::new();
    said.read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    let connections = crowd(&broker);
    broker.call(["/bin/echo", "a"]).exited(0);
    assert_eq!(connections[0].0.reply(), Reply::Closed);
    other.stdin.take().expect("a pipe").write_all(b"go\n").expect("it reads");
    line.clear();
    said.read_to_string(&mut line).expect("text");
    assert!(other.wait().expect("it ends").success() && line == "a\n", "{line:?}");
}

#[test]
fn connections_of_processes_that_have_ended_go_before_one_that_was_handed_in() {
    let _few = few_in_flight();
    if !needs("python3", "python3") {
        return;
    }
    let broker = small();
    // Older than all others, and the only one of its process.
    let other = connect(&broker);
    assert!(matches!(&other.list(0)[..], [(LISTING, _)]));
    let mut python = Command::new("python3");
    python.args(["-c", HANDING]).arg(broker.socket()).arg("300");
    let mut python = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut said = String::new();
    let mut stdout = BufReader::new(python.stdout.take().expect("a pipe"));
    stdout.read_line(&mut said).expect("a line");
    assert_eq!(said, "300 answers\n");
    assert!(matches!(&other.list(0)[..], [(LISTING, _)]), "it is still there");
    drop(python.stdin.take());
    assert!(python.wait().expect("it ends").success());
}
