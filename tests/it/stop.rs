//! The broker's own end, and the signals that do not end it.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::captures::capturing;
use crate::harness::{
    Broker, Connection, Reply, SHELL, SOON, Status, TempDir, Traced, few_in_flight, found, frame, needs,
    sluicify, within,
};

/// The shell rule with further attributes.
fn shell_with(attributes: &str) -> String {
    format!("{SHELL}  {attributes}\n")
}

#[test]
fn a_stop_answers_those_who_wait_for_a_place() {
    let mut broker = Broker::new(&shell_with("max_calls = 1")).start();
    let mut first = broker.begin_sh("echo up; exec sleep 60");
    first.line();
    let waiting: Vec<_> = (0..5).map(|_| broker.begin_sh("echo late")).collect();
    broker.signal(Signal::SIGTERM);
    for call in waiting {
        call.wait().refused(Status::STOPPING).printed("");
    }
    first.wait();
    broker.ends_with(0);
}

#[test]
fn a_stop_answers_those_for_whom_there_was_no_room() {
    let _few = few_in_flight();
    let few = ["prlimit", "--nofile=256:256", "--"];
    let mut broker = Broker::new("defaults:\n  max_calls = 1\n\n/bin/echo a\n").under(&few).start();
    let null = File::open("/dev/null").expect("there is /dev/null");
    // More than it can hold. They make room when they have been silent for a while.
    let silent: Vec<_> = (0..300).map(|_| broker.connect()).collect();
    let asking: Vec<_> = (0..20).map(|_| broker.connect()).collect();
    for connection in &asking {
        connection.send(&frame(&["/bin/nope"]), &[null.as_fd(); 3]);
    }
    broker.signal(Signal::SIGTERM);
    for connection in asking {
        assert_eq!(connection.reply(), Reply::Status(Status::STOPPING));
    }
    broker.ends_with(0);
    drop(silent);
}

#[test]
fn a_stop_waits_for_no_decisions_that_take_long() {
    let rules = "defaults:\n  max_calls = 200\n\n/bin/echo #v...\n  v = (?:[a-z]*[a-y]{0,90}){8}z?\n";
    let mut broker = Broker::new(rules).start();
    let null = File::open("/dev/null").expect("there is /dev/null");
    let value = "a".repeat(4000);
    let words = [vec!["/bin/echo"], vec![&value; 40]].concat();
    let asking: Vec<_> = (0..150).map(|_| broker.connect()).collect();
    for connection in &asking {
        connection.send(&frame(&words), &[null.as_fd(); 3]);
    }
    // One of them is under way, or was.
    let costly = || (!broker.records_of("reject reason=too_costly").is_empty()).then_some(());
    within(SOON, "a decision that took too long", costly);
    let began = Instant::now();
    broker.signal(Signal::SIGTERM);
    broker.ends_with(0);
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    assert!(!broker.records_of("close").is_empty(), "all is on record");
    let answers: Vec<_> = asking.iter().map(Connection::reply).collect();
    let known = [Status::NO_RULE, Status::STOPPING].map(Reply::Status);
    assert!(answers.iter().all(|answer| known.contains(answer)), "{answers:?}");
    assert!(answers.contains(&known[1]), "the stop came too late");
}

#[test]
fn an_operator_who_stops_listening_stops_nothing() {
    let deaf = ["bash", "-c", "exec 3>&2; exec \"$@\" 2> >(sed -u /ready/q >&3)", "bash"];
    let broker = Broker::new(SHELL).under(&deaf).start();
    for _ in 0..3 {
        broker.signal(Signal::SIGHUP);
        broker.sh("echo on").exited(0).printed("on\n");
    }
}

/// A broker whose stderr is a pipe that nobody reads from the first `ready` on, until there is a file `go`.
fn unread() -> Broker {
    let stalls = "exec 3>&2; exec \"$@\" 2> >(sed -u /ready/q >&3; \
        while test ! -e @DIR@/go && kill -0 $$; do sleep 0.1; done; exec cat >&3)";
    Broker::new(SHELL).under(&["bash", "-c", stalls, "bash"]).start()
}

/// Has the broker say more than its pipe and its queue of notices hold, by reloads that fail.
fn stuff(broker: &mut Broker) {
    broker.rewrite(&"/bin/echo #n\n".repeat(100));
    for count in 1..=30 {
        broker.signal(Signal::SIGHUP);
        let is_done = || (broker.records_of("reload").len() == count).then_some(());
        assert!(found(SOON, is_done).is_some(), "reload {count} is not over{}", broker.transcript(0));
    }
}

#[test]
fn a_stderr_that_nobody_reads_holds_up_no_reload_no_call_and_no_stop() {
    let mut broker = unread();
    stuff(&mut broker);
    broker.rewrite(&format!("{SHELL}\n/bin/echo new\n"));
    broker.signal(Signal::SIGHUP);
    let is_new = || broker.listing().contains("/bin/echo new").then_some(());
    assert!(found(SOON, is_new).is_some(), "no reload comes after those that could not be told");
    let mut call = broker.begin_sh("echo up; exec sleep 60");
    call.line();
    broker.signal(Signal::SIGTERM);
    call.wait().refused(Status::STOPPING).audited(["start", "exit stopped=true"]);
    broker.ends_with(0);
}

#[test]
fn notices_that_found_no_room_are_counted_once_stderr_takes_them_again() {
    let mut broker = unread();
    stuff(&mut broker);
    std::fs::write(broker.dir().join("go"), "").expect("an own directory takes a file");
    broker.says(" notices were dropped");
    broker.stop();
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
    broker.signal(Signal::SIGTERM);
    broker.says("sluice: stopping");
    let late = broker.connect();
    late.send(&frame(&["/bin/sh", "-c", "echo late"]), &[std::io::stderr().as_fd(); 3]);
    assert_eq!(late.reply(), Reply::Status(Status::STOPPING));
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

/// Becomes the broker, as the first process of a session whose terminal is closed when there is a file `go`.
const TERMINAL: &str = "\
import fcntl, os, pty, sys, termios, time
master, slave = pty.openpty()
os.setsid()
fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
if os.fork():
    os.close(master)
    os.close(slave)
    os.execvp(sys.argv[1], sys.argv[1:])
os.setsid()
os.close(slave)
while not os.path.exists('@DIR@/go') and os.getppid() != 1: time.sleep(0.05)
";

#[test]
fn a_terminal_that_is_closed_ends_the_broker_unless_it_was_to_outlive_it() {
    if !needs("python3", "python3") {
        return;
    }
    let close = |broker: &Broker| std::fs::write(broker.dir().join("go"), "").expect("a file can be made");
    let mut broker = Broker::new(SHELL).under(&["python3", "-c", TERMINAL]).start();
    assert!(broker.hup().contains("sluice: reloaded"), "a HUP that somebody sends is a reload");
    close(&broker);
    broker.ends_with(0);
    assert_eq!(broker.records_of("reload").len(), 1);
    let mut broker =
        Broker::new(SHELL).under(&["env", "--ignore-signal=HUP", "python3", "-c", TERMINAL]).start();
    close(&broker);
    broker.sh("sleep 0.5").exited(0);
    assert!(broker.hup().contains("sluice: reloaded"));
    assert_eq!(broker.records_of("reload").len(), 1);
    broker.stop();
}

#[test]
fn a_nursery_and_a_relay_that_stand_still_hold_up_no_stop() {
    let mut broker = capturing("").start();
    let mut call = broker.begin_sh("trap '' TERM; echo up; while :; do sleep 0.1; done");
    call.line();
    let call = call.stay();
    broker.pid().children().into_iter().for_each(|child| child.signal(Signal::SIGSTOP));
    let began = Instant::now();
    broker.signal(Signal::SIGTERM);
    broker.ends_with(0);
    assert!(began.elapsed() < Duration::from_secs(12), "it took {:?}", began.elapsed());
    drop(call);
}

/// A broker whose ends of calls have to be on disk.
fn durable() -> Broker {
    let rules = format!("defaults:\n  sync = yes\n  logfile = @DIR@/audit/manifest.jsonl\n\n{SHELL}");
    Broker::new(&rules).start()
}

#[test]
fn a_disk_that_hangs_ends_a_stop_with_a_notice() {
    let mut broker = durable();
    broker.sh("true").exited(0);
    let Some(_disk) = Traced::hanging(&broker, "fsync,fdatasync") else { return };
    let began = Instant::now();
    broker.signal(Signal::SIGTERM);
    broker.says("the stop took too long");
    assert!(began.elapsed() < Duration::from_secs(14), "it took {:?}", began.elapsed());
    // It had not ended by itself.
    broker.ends_with(1);
}

#[test]
fn a_call_whose_end_cannot_be_put_on_record_is_left_with_a_notice() {
    let mut broker = durable();
    let mut call = broker.begin_sh("echo up; exec sleep 60");
    call.line();
    let call = call.stay();
    let Some(disk) = Traced::hanging(&broker, "fsync,fdatasync") else { return };
    let began = Instant::now();
    broker.signal(Signal::SIGTERM);
    broker.says("leaving with calls that could not be ended in time");
    assert!(began.elapsed() < Duration::from_secs(12), "it took {:?}", began.elapsed());
    broker.ends_with(0);
    assert!(broker.records_of("close").is_empty(), "nothing says that all is on record");
    drop((call, disk));
    broker.start_again();
    broker.sh("true").exited(0);
}

#[test]
fn a_message_bus_that_never_answers_holds_up_no_stop() {
    let dir = TempDir::new();
    let _bus = UnixListener::bind(dir.join("bus")).expect("an own directory");
    let address = format!("unix:path={}", dir.join("bus").display());
    let mut broker = Broker::new(SHELL).env("DBUS_SESSION_BUS_ADDRESS", &address).start();
    let call = broker.begin_sh("true").stay();
    let began = Instant::now();
    broker.signal(Signal::SIGTERM);
    assert!(matches!(call.reply(), Reply::Status(_)));
    broker.ends_with(0);
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
}
