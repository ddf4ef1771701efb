//! Requests of version 2 that no process can take for a while: they wait in their connection, which goes on.

use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{
    Asked, Broker, CrowdedUser, Pid, Piped, Reply, SHELL, SOON, Status, needs, needs_root, piped_call,
    readable_within, sluicify_bin, within,
};

/// Longer than a thread waits for room for descriptors.
const LONG: Duration = Duration::from_secs(5);

/// A broker that runs `echo`, of a user that is this test's alone.
fn crowded(user: u32) -> Option<(CrowdedUser, Broker)> {
    if !(needs_root() && needs("python3", "python3")) {
        return None;
    }
    let user = CrowdedUser(user);
    let rules = "defaults:\n  max_calls = 1\n  scope = off\n\n/bin/echo #word\n  word = [a-z]+\n";
    Some((user, user.broker(Broker::new(rules))))
}

fn echo(connection: &Piped, word: &str) -> Asked {
    connection.ask(&["/bin/echo", word])
}

#[test]
fn a_request_waits_while_too_many_descriptors_are_on_their_way() {
    let Some((user, broker)) = crowded(61_235) else { return };
    let connection = Piped::open(&broker.socket());
    assert_eq!(echo(&connection, "before").status(), 0);
    let crowd = user.crowd();
    let asked = ["one", "two"].map(|word| echo(&connection, word));
    assert_eq!(connection.0.reply_within(LONG), Reply::Silent);
    let (threads, ticks) = (broker.threads(), broker.pid().ticks());
    assert_eq!(connection.0.reply_within(Duration::from_secs(1)), Reply::Silent);
    assert!(broker.pid().ticks() - ticks < 20 && broker.threads() <= threads, "waiting costs nothing");
    crowd.leave();
    assert_eq!(asked.each_ref().map(Asked::status), [0, 0]);
    assert_eq!(asked.each_ref().map(Asked::output), ["one\n", "two\n"]);
    assert_eq!(echo(&connection, "after").status(), 0);
    assert!(broker.records_of("reject").is_empty());
}

#[test]
fn a_request_that_waited_long_is_refused_once_and_never_runs() {
    let Some((user, broker)) = crowded(61_236) else { return };
    let connection = Piped::open(&broker.socket());
    assert_eq!(echo(&connection, "before").status(), 0);
    let crowd = user.crowd();
    let refused = echo(&connection, "refused");
    assert_eq!(connection.0.reply_within(Duration::from_secs(40)), Reply::Status(Status::SPAWN));
    connection.0.message();
    assert_eq!(broker.record("reject reason=in_flight status=-4").argv(), ["/bin/echo", "refused"]);
    let next = echo(&connection, "next");
    assert_eq!(connection.0.reply_within(LONG), Reply::Silent, "the connection stays");
    crowd.leave();
    assert!(refused.frames().is_empty());
    assert_eq!((next.status(), &*next.output()), (0, "next\n"));
    assert_eq!(broker.records_of("reject").len(), 1);
    let started: Vec<_> = broker.records_of("start").iter().map(|start| start.argv()[1].clone()).collect();
    assert_eq!(started, ["before", "next"]);
}

#[test]
fn a_request_with_unfit_descriptors_that_waited_long_is_refused_once() {
    let Some((user, broker)) = crowded(61_237) else { return };
    let connection = Piped::open(&broker.socket());
    assert_eq!(echo(&connection, "before").status(), 0);
    let crowd = user.crowd();
    let null = std::fs::File::open("/dev/null").expect("it is there");
    connection.send(&piped_call(&["/bin/echo", "unfit"]), &[null.as_fd(); 5]);
    assert_eq!(connection.0.reply_within(Duration::from_secs(40)), Reply::Status(Status::SPAWN));
    connection.0.message();
    crowd.leave();
    assert_eq!(echo(&connection, "next").status(), 0, "the connection goes on");
    assert_eq!(connection.0.reply_within(Duration::from_secs(1)), Reply::Silent);
    let rejected = broker.records_of("reject");
    assert_eq!(rejected.len(), 1, "{rejected:?}");
}

#[test]
fn a_request_of_a_door_waits_while_too_many_descriptors_are_on_their_way() {
    if !(needs_root() && needs("python3", "python3")) {
        return;
    }
    let user = CrowdedUser(61_238);
    let broker =
        user.broker(Broker::new("defaults:\n  fifo = yes\n  max_calls = 1\n  scope = off\n\n/bin/echo a\n"));
    let door = broker.dir().join("s.sock.fifo");
    within(SOON, "the door opens", || door.join("7").exists().then_some(()));
    let crowd = user.crowd();
    let mut client = Command::new(sluicify_bin());
    client.arg(&door).args(["/bin/echo", "a"]).stdout(Stdio::piped());
    let mut client = client.spawn().expect("it starts");
    let stdout = client.stdout.take().expect("a pipe");
    assert!(!readable_within(&stdout, LONG), "it waits");
    assert!(broker.records_of("reject").is_empty());
    crowd.leave();
    assert_eq!(std::io::read_to_string(stdout).expect("text"), "a\n");
    assert!(client.wait().expect("it ends").success());
}

/// Stops all adapters and asks for a call, until one of them is to take it: then nothing comes for a while.
fn ask_of_a_stopped_adapter(broker: &Broker, connection: &Piped) -> (Asked, Vec<Pid>) {
    within(SOON, "a stopped adapter is used", || {
        let children = broker.pid().children().into_iter();
        let adapters: Vec<_> = children.filter(|pid| pid.name() == "sluice-adapter").collect();
        adapters.iter().for_each(|adapter| adapter.signal(Signal::SIGSTOP));
        let asked = connection.ask(&["/bin/sh", "-c", "exit 7"]);
        if !readable_within(&asked.reply, Duration::from_secs(1)) {
            return Some((asked, adapters));
        }
        assert_eq!(asked.status(), 7);
        None
    })
}

#[test]
fn an_adapter_that_is_killed_before_it_took_its_request_costs_nothing() {
    let broker = Broker::new(SHELL).start();
    let connection = Piped::open(&broker.socket());
    assert_eq!(connection.ask(&["/bin/sh", "-c", "exit 3"]).status(), 3);
    let (asked, adapters) = ask_of_a_stopped_adapter(&broker, &connection);
    adapters.iter().for_each(|adapter| adapter.signal(Signal::SIGKILL));
    assert_eq!(asked.status(), 7);
    assert_eq!(connection.ask(&["/bin/sh", "-c", "exit 4"]).status(), 4);
    assert!(broker.records_of("reject").is_empty());
}

#[test]
fn an_adapter_that_stands_still_is_replaced() {
    let broker = Broker::new(SHELL).start();
    let connection = Piped::open(&broker.socket());
    assert_eq!(connection.ask(&["/bin/sh", "-c", "exit 3"]).status(), 3);
    let (asked, _) = ask_of_a_stopped_adapter(&broker, &connection);
    assert_eq!(asked.status(), 7);
    assert_eq!(connection.ask(&["/bin/sh", "-c", "exit 4"]).status(), 4);
    assert!(broker.records_of("reject").is_empty());
}
