//! Version 2 from outside, by its bytes.

use std::fs::{self, File};
use std::io::{Read as _, Write as _, pipe};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::harness::{
    Asked, Broker, Capability, DONE, LISTING, Pid, Piped, QUEUED, REFUSED, Reply, SHELL, SOON, STARTED,
    Status, needs, needs_capability, needs_root, piped_call, within, word,
};

fn connect(broker: &Broker) -> Piped {
    Piped::open(&broker.socket())
}

/// Calls on this connection are answered, one after the other.
#[track_caller]
fn serves_on(connection: &Piped) {
    for _ in 0..20 {
        assert_eq!(connection.ask(&sh("exit 0")).status(), 0);
    }
}

fn sh(script: &str) -> [&str; 3] {
    ["/bin/sh", "-c", script]
}

#[test]
fn one_connection_carries_one_request_after_the_other() {
    let broker = Broker::shell();
    let connection = connect(&broker);
    for number in 1..=20_u64 {
        let asked = connection.ask(&sh(&format!("echo {number}; exit {number}")));
        let frames = asked.frames();
        let kinds: Vec<_> = frames.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [STARTED, DONE]);
        assert_eq!(frames[0].1, number.to_le_bytes());
        let (status, signal) = (word(&frames[1].1), word(&frames[1].1[4..]));
        assert_eq!((u64::from(status), signal, frames[1].1.len()), (number, 0, 20));
        assert_eq!(asked.output(), format!("{number}\n"));
    }
    broker.record("exit status=20");
}

#[test]
fn many_requests_are_under_way_on_one_connection() {
    let broker = Broker::shell();
    let connection = connect(&broker);
    let mut asked: Vec<_> = (0..32).map(|_| connection.ask(&sh("read word; echo $word"))).collect();
    for (number, asked) in asked.iter_mut().enumerate().rev() {
        let mut stdin = asked.stdin.take().expect("it is open");
        writeln!(stdin, "{number}").expect("written");
        drop(stdin);
        assert_eq!(asked.output(), format!("{number}\n"));
        assert_eq!(asked.status(), 0);
    }
}

#[test]
fn the_listing_comes_as_text_and_as_json() {
    let broker = Broker::new("; Say it.\necho #word\n  word = [a-z]{1,9}\n").start();
    let connection = connect(&broker);
    let [(LISTING, text)] = &connection.list(0)[..] else { panic!("one frame") };
    assert_eq!(String::from_utf8_lossy(text), "echo <word>\n  Say it.\n  <word> matches [a-z]{1,9}\n");
    let [(LISTING, json)] = &connection.list(1)[..] else { panic!("one frame") };
    let json: serde_json::Value = serde_json::from_slice(json).expect("JSON");
    assert_eq!(json["rules"][0]["words"][1]["regex"], "[a-z]{1,9}");
    let [(REFUSED, why)] = &connection.list(7)[..] else { panic!("one frame") };
    assert_eq!((word(why).cast_signed(), &why[4..]), (-2, &b"call 1: a listing in format 7"[..]));
}

#[test]
fn a_refusal_has_its_reason_and_the_connection_goes_on() {
    let broker = Broker::new("echo #word\n  word = [a-z]+\n").start();
    let connection = connect(&broker);
    let (status, reason) = connection.ask(&["echo", "NO"]).refusal();
    assert_eq!(status, -1);
    assert!(reason.starts_with("call 1: ") && reason.contains("echo <word>"), "{reason}");
    let malformed = [&piped_call(&["echo", "a"])[..], b"x"].concat();
    let (status, reason) = connection.ask_bytes(&malformed).refusal();
    assert_eq!((status, &*reason), (-2, "call 2: 1 bytes after the end of the message"));
    assert_eq!(connection.ask(&["echo", "yes"]).status(), 0);
    assert_eq!(broker.record("reject reason=malformed").number("call"), 2);
}

#[test]
fn a_request_without_a_usable_reply_is_answered_on_the_connection() {
    let broker = Broker::shell();
    let (connection, null) = (connect(&broker), File::open("/dev/null").expect("it is there"));
    let (read, write) = pipe().expect("a pipe");
    let (socket, _other) = UnixStream::pair().expect("a pair");
    let terminal = nix::pty::openpty(None, None).expect("a terminal");
    let message = piped_call(&sh("echo ran"));
    let (null, read, write) = (null.as_fd(), read.as_fd(), write.as_fd());
    let sent: [(&[_], &str); 7] = [
        (&[], "0 descriptors; with a call come 5, with a request for the listing 1"),
        (&[null, null, null], "3 descriptors; with a call come 5, with a request for the listing 1"),
        (&[null, null, null, null, read], "descriptor 3 is not a pipe"),
        (&[null, null, null, terminal.slave.as_fd(), read], "descriptor 3 is not a pipe"),
        (&[null, null, null, read, read], "descriptor 3 is the other end of a pipe"),
        (&[null, null, null, write, socket.as_fd()], "descriptor 4 is not a pipe"),
        (&[null, null, null, write, write], "descriptor 4 is the other end of a pipe"),
    ];
    for (number, (fds, why)) in (1_u64..).zip(sent) {
        connection.send(&message, fds);
        assert_eq!(connection.0.reply(), Reply::Status(Status(-3)));
        let explanation = connection.0.message();
        assert_eq!(explanation[8..16], number.to_le_bytes());
        assert_eq!(String::from_utf8_lossy(&explanation[20..]), why);
    }
    // What came as a call with one descriptor has a pipe for the answer.
    connection.send(&message, &[write]);
    broker.record("reject reason=fds");
    assert_eq!(connection.ask(&sh("exit 9")).status(), 9, "the connection goes on");
}

#[test]
fn another_version_on_such_a_connection_is_refused_and_runs_nothing() {
    let broker = Broker::shell();
    let connection = connect(&broker);
    assert_eq!(connection.ask(&sh("exit 0")).status(), 0);
    let mut message = piped_call(&sh("echo ran"));
    message[4] = 1;
    let (status, reason) = connection.ask_bytes(&message).refusal();
    assert_eq!((status, &*reason), (-2, "call 2: version 1"));
    assert_eq!(connection.ask(&sh("exit 3")).status(), 3);
}

#[test]
fn a_signal_goes_to_the_commands_group() {
    let broker = Broker::shell();
    let connection = connect(&broker);
    let script = "trap 'echo got; exit 5' USR1; sleep 60 & echo up; wait";
    let mut asked = connection.ask(&sh(script));
    assert_eq!(asked.line(), "up");
    asked.order(7, 15);
    asked.order(1, 9);
    asked.order(1, nix::libc::SIGUSR1);
    assert_eq!(asked.line(), "got");
    assert_eq!(asked.status(), 5);
    let mut asked = connection.ask(&["/bin/sh", "-c", "echo up; exec sleep 60"]);
    assert_eq!(asked.line(), "up");
    asked.order(1, 2);
    let frames = asked.frames();
    let done = &frames.last().expect("a frame").1;
    assert_eq!((word(done), word(&done[4..])), (130, 2));
    broker.record("exit status=130 signal=2");
}

#[test]
fn a_stop_and_a_continue_reach_a_command_that_catches_neither() {
    let broker = Broker::shell();
    let connection = connect(&broker);
    let mut asked = connection.ask(&sh("echo $$; exec sleep 60"));
    let pid = asked.line();
    within(SOON, "it sleeps", || is_in(&pid, "S"));
    asked.order(1, nix::libc::SIGTSTP);
    within(SOON, "it is stopped", || is_in(&pid, "T"));
    asked.order(1, nix::libc::SIGCONT);
    within(SOON, "it goes on", || is_in(&pid, "S"));
    asked.order(1, 15);
    assert_eq!(asked.status(), 143);
}

/// Whether a process is in this state.
fn is_in(pid: &str, wanted: &str) -> Option<()> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest[..1].to_owned());
    (state.as_deref() == Some(wanted)).then_some(())
}

#[test]
fn a_command_that_catches_a_stop_is_stopped_once_it_has_done_so() {
    let broker = Broker::shell();
    let connection = connect(&broker);
    let script = "trap 'echo caught' TSTP; trap 'exit 9' INT; echo $$; while :; do sleep 0.02; done";
    let mut asked = connection.ask(&sh(script));
    let pid = asked.line();
    asked.order(1, nix::libc::SIGTSTP);
    assert_eq!(asked.line(), "caught");
    within(SOON, "it is stopped", || is_in(&pid, "T"));
    asked.order(1, nix::libc::SIGCONT);
    within(SOON, "it goes on", || is_in(&pid, "S"));
    asked.order(1, 2);
    assert_eq!(asked.status(), 9);
}

#[test]
fn the_end_of_control_ends_the_call_and_the_caller_still_hears_of_it() {
    let broker = Broker::shell();
    let connection = connect(&broker);
    let mut asked = connection.ask(&sh("setsid sleep 60 & echo $!; wait"));
    let pid = Pid(asked.line().parse().expect("a pid"));
    asked.control = None;
    let frames = asked.frames();
    let (kind, done) = frames.last().expect("a frame");
    assert_eq!((*kind, word(done), word(&done[8..])), (DONE, 143, 8));
    broker.record("exit hangup=true !timed_out !stopped");
    assert!(!pid.runs(), "process {} outlives its call", pid.0);
    assert_eq!(connection.ask(&sh("exit 0")).status(), 0);
}

#[test]
fn the_end_of_control_may_be_survived() {
    let broker = Broker::new(&format!("{SHELL}  on_hangup = keep\n")).start();
    let connection = connect(&broker);
    let mut asked = connection.ask(&sh("echo up; read line; exit 7"));
    asked.line();
    asked.control = None;
    asked.stdin.take().expect("open").write_all(b"go on\n").expect("written");
    assert_eq!(asked.status(), 7);
    broker.record("exit status=7 !hangup");
}

#[test]
fn the_connections_end_ends_no_call() {
    let broker = Broker::shell();
    let connection = connect(&broker);
    let mut asked = connection.ask(&sh("echo up; read line; exit 7"));
    asked.line();
    drop(connection);
    asked.stdin.take().expect("open").write_all(b"go on\n").expect("written");
    assert_eq!(asked.status(), 7);
}

#[test]
fn a_timeout_and_its_flag_are_told() {
    let broker = Broker::new(&format!("{SHELL}  timeout = 200ms\n")).start();
    let frames = connect(&broker).ask(&sh("exec sleep 60")).frames();
    let done = &frames.last().expect("a frame").1;
    let microseconds = u64::from_le_bytes(done[12..20].try_into().expect("eight bytes"));
    assert_eq!((word(done).cast_signed(), word(&done[4..]), word(&done[8..])), (-7, 15, 1));
    assert!((200_000..20_000_000).contains(&microseconds), "{microseconds}");
}

#[test]
fn a_command_that_cannot_be_started_is_refused_with_the_step() {
    let broker = Broker::new(&format!("{SHELL}  cwd = /gone-and-never-there\n")).start();
    let (status, reason) = connect(&broker).ask(&sh("echo ran")).refusal();
    assert_eq!(status, -4);
    assert_eq!(reason, "call 1: chdir: No such file or directory");
}

#[test]
fn a_caller_that_waits_is_told_the_limit() {
    let broker = Broker::new(&format!("{SHELL}  max_calls = 1\n")).start();
    let connection = connect(&broker);
    let mut first = connection.ask(&sh("echo up; read line"));
    first.line();
    let second = connection.ask(&sh("exit 4"));
    assert_eq!(second.frame(), (QUEUED, 1_u32.to_le_bytes().to_vec()));
    drop(first.stdin.take());
    assert_eq!(second.status(), 4);
    // A call that does not wait is told nothing of the kind.
    let kinds: Vec<_> = connection.ask(&sh("exit 0")).frames().iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [STARTED, DONE]);
}

#[test]
fn a_call_that_lasts_is_told_its_number_before_its_end() {
    let broker = Broker::shell();
    let mut asked = connect(&broker).ask(&sh("read line; exit 3"));
    assert_eq!(asked.frame(), (STARTED, 1_u64.to_le_bytes().to_vec()));
    drop(asked.stdin.take());
    let frames = asked.frames();
    assert_eq!(frames.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [DONE]);
}

#[test]
fn a_reply_pipe_that_nobody_reads_holds_up_nobody() {
    let broker = Broker::shell();
    let connection = connect(&broker);
    let (null, message) = (File::open("/dev/null").expect("it is there"), piped_call(&sh("exit 0")));
    let mut full = Vec::new();
    for _ in 0..3 {
        let (read, mut write) = pipe().expect("a pipe");
        let (control, order) = pipe().expect("a pipe");
        // So full that no frame fits.
        let flags = nix::fcntl::OFlag::O_NONBLOCK;
        nix::fcntl::fcntl(&write, nix::fcntl::FcntlArg::F_SETFL(flags)).expect("a flag");
        while write.write(&[0; 4096]).is_ok() {}
        let flags = nix::fcntl::OFlag::empty();
        nix::fcntl::fcntl(&write, nix::fcntl::FcntlArg::F_SETFL(flags)).expect("a flag");
        let null = null.as_fd();
        connection.send(&message, &[null, null, null, write.as_fd(), control.as_fd()]);
        full.push((read, order));
    }
    serves_on(&connection);
    within(SOON, "their ends are on record", || {
        let ends = broker.records().iter().filter(|record| record.kind() == "exit").count();
        (ends == 23).then_some(())
    });
}

#[test]
fn listings_that_nobody_reads_take_no_connection_from_others() {
    let rules: String = (0..300).map(|n| format!("/bin/echo {n} {}\n", "x".repeat(400))).collect();
    let broker = Broker::new(&format!("{SHELL}\n{rules}")).start();
    let (connection, other) = (connect(&broker), connect(&broker));
    // Its first request comes now, because the listings may take longer than a connection may be silent.
    assert_eq!(other.ask(&sh("exit 6")).status(), 6);
    let mut unread: Vec<_> = (0..100).map(|_| connection.begin_list(1)).collect();
    unread.iter_mut().for_each(|reply| reply.read_exact(&mut [0]).expect("the first byte"));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        assert_eq!(other.ask(&sh("exit 6")).status(), 6);
    }
}

/// Sends a call over the socket in `argv[1]`, on whose reply pipe every system call hangs: another thread
/// writes to it from a page whose fault nobody answers, and holds the pipe's lock meanwhile.
const LOCKING: &str = include_str!("piped/locking.py");

#[test]
fn a_reply_pipe_whose_lock_is_held_holds_up_nobody_not_even_the_stop() {
    // userfaultfd(2) for faults in the kernel takes a privilege; a FUSE file system of the caller's own
    // does the same without one.
    if !(needs_root() && needs("python3", "python3")) {
        return;
    }
    let mut broker = Broker::shell();
    let words = ["/bin/sh", "-c", "exit 3"];
    let mut python = Command::new("python3");
    python
        .args(["-c", LOCKING])
        .arg(broker.socket())
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut python = python.spawn().expect("python starts");
    let mut said = [0; 5];
    python.stdout.as_mut().expect("piped").read_exact(&mut said).expect("it has sent the request");
    broker.record("exit status=3");
    let connection = connect(&broker);
    serves_on(&connection);
    let began = Instant::now();
    broker.stop();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    python.kill().expect("it is there");
    python.wait().expect("it ends");
}

#[test]
fn a_flood_of_orders_holds_up_nobody() {
    let broker = Broker::shell();
    let connection = connect(&broker);
    let mut asked = connection.ask(&sh("trap : WINCH; echo up; while ! read line; do :; done"));
    asked.line();
    let mut control = asked.control.take().expect("it is open");
    let flood = std::thread::spawn(move || {
        let order = [1_u32.to_le_bytes(), nix::libc::SIGWINCH.to_le_bytes()].concat();
        while control.write_all(&order.repeat(100)).is_ok() {}
    });
    serves_on(&connection);
    asked.stdin.take().expect("open").write_all(b"end\n").expect("written");
    assert_eq!(asked.status(), 0);
    drop(asked);
    flood.join().expect("it ends when nobody reads its orders");
}

#[test]
fn orders_that_lie_in_control_hold_up_no_departure() {
    let broker = Broker::new(&format!("{SHELL}  max_calls = 1\n")).start();
    let connection = connect(&broker);
    let mut running = connection.ask(&sh("echo up; exec sleep 60"));
    running.line();
    let mut waiting = connection.ask(&sh("exit 4"));
    assert_eq!(waiting.frame().0, QUEUED);
    let order = [1_u32.to_le_bytes(), nix::libc::SIGWINCH.to_le_bytes()].concat();
    let leave = |asked: &mut Asked| {
        let mut control = asked.control.take().expect("it is open");
        let flags = nix::fcntl::OFlag::O_NONBLOCK;
        nix::fcntl::fcntl(&control, nix::fcntl::FcntlArg::F_SETFL(flags)).expect("a flag");
        while control.write(&order.repeat(512)).is_ok() {}
        Instant::now()
    };
    let began = leave(&mut waiting);
    broker.record("reject reason=hangup");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let began = leave(&mut running);
    assert_eq!(running.status(), 143);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    broker.record("exit hangup=true");
}

#[test]
fn a_caller_that_has_left_an_order_half_is_not_waited_for() {
    let broker = Broker::shell();
    let connection = connect(&broker);
    let mut asked = connection.ask(&sh("echo up; read line; exit 6"));
    asked.line();
    asked.control.as_mut().expect("open").write_all(&[1, 0, 0]).expect("written");
    drop(asked.stdin.take());
    assert_eq!(asked.status(), 6);
}

#[test]
fn a_silent_connection_of_version_2_lives_on() {
    let broker = Broker::shell();
    let connection = connect(&broker);
    assert_eq!(connection.ask(&sh("exit 0")).status(), 0);
    let silent = broker.connect();
    assert_eq!(silent.reply_within(Duration::from_secs(8)), Reply::Status(Status(-2)), "nothing came in 5 s");
    assert_eq!(connection.ask(&sh("exit 2")).status(), 2, "longer than a first request may take");
}

#[test]
fn a_connection_ends_when_its_callers_send_nothing_more() {
    let broker = Broker::shell();
    let connection = connect(&broker);
    let mut asked = connection.ask(&sh("read line; exit 4"));
    connection.0.stop_sending();
    assert_eq!(connection.0.reply(), Reply::Closed);
    drop(asked.stdin.take());
    assert_eq!(asked.status(), 4, "its calls go on");
    assert!(broker.records_of("reject").is_empty());
}

#[test]
fn a_message_over_one_mebibyte_is_refused_once_and_ends_its_connection() {
    // For anybody else the kernel keeps the limit.
    if !needs_capability(Capability::NetAdmin) {
        return;
    }
    let broker = Broker::shell();
    let connection = connect(&broker);
    assert_eq!(connection.ask(&sh("exit 0")).status(), 0);
    setsockopt(&connection.0, sockopt::SndBufForce, &(4 << 20)).expect("root may have large buffers");
    connection.send(&[&b"XCLS\x02\0\0\0"[..], &[0; 1 << 20]].concat(), &[]);
    assert_eq!(connection.0.reply(), Reply::Status(Status::PROTO));
    connection.0.message();
    assert_eq!(connection.0.reply(), Reply::Closed);
    assert_eq!(broker.records_of("reject").len(), 1);
    assert_eq!(connect(&broker).ask(&sh("exit 5")).status(), 5);
}

#[test]
fn a_stop_is_told_and_lets_go_of_connections() {
    let mut broker = Broker::shell();
    let connection = connect(&broker);
    let asked = connection.ask(&sh("echo up; exec sleep 60"));
    asked.line();
    broker.stop();
    let frames = asked.frames();
    let (kind, done) = frames.last().expect("a frame");
    assert_eq!((*kind, word(done).cast_signed()), (DONE, -10));
}

#[test]
fn a_thousand_callers_share_one_connection() {
    let broker = Broker::new("/bin/true\n").start();
    let connection = connect(&broker);
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(connection.ask(&["/bin/true"]).status(), 0);
                }
            });
        }
    });
    let ends = broker.records().iter().filter(|record| record.kind() == "exit").count();
    assert_eq!(ends, 1000);
}

#[test]
fn bytes_pass_unchanged_both_ways() {
    let broker = Broker::new("/bin/cat\n").start();
    let mut asked = connect(&broker).ask(&["/bin/cat"]);
    let sent: Vec<u8> =
        (0..8_u32 << 20).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (copy, mut stdin) = (sent.clone(), asked.stdin.take().expect("it is open"));
    let feed = std::thread::spawn(move || stdin.write_all(&copy).expect("written"));
    let mut got = Vec::new();
    asked.stdout.read_to_end(&mut got).expect("read");
    feed.join().expect("it wrote all");
    assert!(got == sent);
    assert_eq!(asked.status(), 0);
}
