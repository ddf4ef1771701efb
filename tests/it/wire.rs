//! What a connection may say, and what comes back when it says something else.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::socket::{Shutdown, setsockopt, shutdown, sockopt};

use crate::harness::{
    Broker, Capability, MAGIC, Record, Reply, SHELL, SOON, Status, VERSION, frame, header, needs,
    needs_capability, within,
};

const ECHO: &str = "/bin/echo #word\n  word = [a-z]+\n";

fn null() -> File {
    File::options().read(true).write(true).open("/dev/null").expect("there is /dev/null")
}

/// Messages that are no request, each with what is wrong with it.
fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let good = frame(&["/bin/echo", "a"]);
    let one = header(MAGIC, VERSION, 1);
    let with = |head: &[u8], rest: &[u8]| [head, rest].concat();
    vec![
        ("one byte", vec![0]),
        ("eleven bytes of header", one[..11].to_vec()),
        ("no word", one.clone()),
        ("another magic", with(&header(0, VERSION, 2), &good[12..])),
        ("the magic in the other byte order", with(&header(MAGIC.swap_bytes(), VERSION, 2), &good[12..])),
        ("version 0", with(&header(MAGIC, 0, 2), &good[12..])),
        ("version 7", with(&header(MAGIC, 7, 2), &good[12..])),
        ("the highest version", with(&header(MAGIC, u32::MAX, 2), &good[12..])),
        ("the highest count", header(MAGIC, VERSION, u32::MAX)),
        ("257 words", frame(&["a"; 257])),
        ("the highest length", with(&one, b"\xff\xff\xff\xffx")),
        ("a length over the end", with(&one, b"\x09\0\0\0abc")),
        ("a word over 16 KiB", frame(&["/bin/echo".to_owned(), "x".repeat(16385)])),
        ("a word less than counted", good[..good.len() - 5].to_vec()),
        ("a byte less", good[..good.len() - 1].to_vec()),
        ("a byte more", with(&good, b"\0")),
        ("two requests in one message", with(&good, &good)),
        ("a listing with a tail", with(&header(MAGIC, VERSION, 0), b"x")),
        ("NUL in a word", frame(&[&b"/bin/ec\0ho"[..]])),
        ("NUL at a word's end", frame(&[&b"/bin/echo\0"[..], b"a"])),
        ("no UTF-8", frame(&[&b"/bin/echo"[..], b"\xff\xfe"])),
        ("a surrogate", frame(&[&b"/bin/echo"[..], b"\xed\xa0\x80"])),
        ("an overlong slash", frame(&[&b"/bin/echo"[..], b"\xc0\xaf"])),
        ("half a character", frame(&[&b"/bin/echo"[..], b"\xc3"])),
        ("past the last character", frame(&[&b"/bin/echo"[..], b"\xf4\x90\x80\x80"])),
        ("random bytes", (0..600u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect()),
    ]
}

#[test]
fn a_malformed_request_is_answered_and_recorded() {
    let broker = Broker::new(ECHO).start();
    let null = null();
    for (what, bytes) in malformed() {
        let reply = broker.raw(&bytes, &[null.as_fd(); 3]).reply;
        assert_eq!(reply, Reply::Status(Status::PROTO), "{what}");
    }
    // Some are wrong in the same way, and fold into one record with a count.
    let mine = format!(
        "reject reason=malformed status=-2 pid={} uid gid detail !connector !argv",
        std::process::id()
    );
    let count = |record: &Record| record.get("count").as_u64().unwrap_or(1);
    let recorded = || broker.records_of(&mine).iter().map(count).sum::<u64>();
    let want = u64::try_from(malformed().len()).expect("a few");
    within(SOON, "a record of each", || (recorded() == want).then_some(()));
}

#[test]
fn a_malformed_request_with_wrong_descriptors_is_refused_and_keeps_none() {
    let broker = Broker::new(ECHO).start();
    let (descriptors, threads) = (broker.descriptors(), broker.threads());
    let null = null();
    for (what, bytes) in malformed() {
        for count in [0, 1, 253] {
            let reply = broker.raw(&bytes, &vec![null.as_fd(); count]).reply;
            let refused = [Status::PROTO, Status::FDS].map(Reply::Status).contains(&reply);
            assert!(refused, "{what} with {count} descriptors: {reply:?}");
        }
    }
    broker.comes_back_to(descriptors, threads);
}

#[test]
fn a_request_at_every_limit_is_read() {
    let broker = Broker::new(ECHO).start();
    broker.request(&["x"; 256]).run().refused(Status::NO_RULE);
    broker.request(&["/bin/echo".to_owned(), "x".repeat(16384)]).run().refused(Status::NO_RULE);
    broker.request(&["", ""]).run().refused(Status::NO_RULE);
    broker.request(&vec!["x".repeat(15_900); 12]).run().refused(Status::NO_RULE);
    broker.call(["/bin/echo", "a"]).exited(0).printed("a\n");
}

#[test]
fn a_message_over_one_mebibyte_is_malformed() {
    // For anybody else the kernel keeps the limit.
    if !needs_capability(Capability::NetAdmin) {
        return;
    }
    let broker = Broker::new(ECHO).start();
    let connection = broker.connect();
    setsockopt(&connection, sockopt::SndBufForce, &(4 << 20)).expect("root may have large buffers");
    connection.send(&frame(&vec!["x".repeat(16384); 65]), &[null().as_fd(); 3]);
    assert_eq!(connection.reply(), Reply::Status(Status::PROTO));
    broker.serves_on();
}

#[test]
fn a_message_as_large_as_anybody_may_send_is_read() {
    let broker = Broker::new(ECHO).start();
    let connection = broker.connect();
    connection.send(&frame(&vec!["x".repeat(16384); 12]), &[null().as_fd(); 3]);
    assert_eq!(connection.reply(), Reply::Status(Status::NO_RULE));
    broker.serves_on();
}

#[test]
fn an_empty_message_is_malformed() {
    let broker = Broker::new(ECHO).start();
    let (descriptors, threads) = (broker.descriptors(), broker.threads());
    let null = null();
    for count in [0, 1, 3, 253] {
        let reply = broker.raw(b"", &vec![null.as_fd(); count]).reply;
        let refused =
            [Reply::Status(Status::PROTO), Reply::Status(Status::FDS), Reply::Closed].contains(&reply);
        assert!(refused, "{count} descriptors: {reply:?}");
    }
    broker.comes_back_to(descriptors, threads);
}

#[test]
fn the_listing_needs_no_descriptors_and_keeps_none() {
    let broker = Broker::new("; Says a word.\n/bin/echo #word\n  word = [a-z]+\n").start();
    let null = null();
    let list = header(MAGIC, VERSION, 0);
    let want = Reply::Listing(
        "/bin/echo <word>\n  Says a word.\n  <word> matches [a-z]+, at most 4096 bytes\n".to_owned(),
    );
    let (descriptors, threads) = (broker.descriptors(), broker.threads());
    for count in [0, 3] {
        assert_eq!(broker.raw(&list, &vec![null.as_fd(); count]).reply, want);
    }
    for count in [1, 4, 253] {
        let reply = broker.raw(&list, &vec![null.as_fd(); count]).reply;
        assert!(reply == want || reply == Reply::Status(Status::FDS), "{count} descriptors: {reply:?}");
    }
    broker.comes_back_to(descriptors, threads);
}

#[test]
fn silence_is_answered_after_five_seconds() {
    let broker = Broker::new(ECHO).start();
    let began = std::time::Instant::now();
    let connection = broker.connect();
    assert_eq!(connection.reply(), Reply::Status(Status::PROTO));
    let took = began.elapsed();
    assert!(took > Duration::from_millis(4900) && took < Duration::from_secs(8), "{took:?}");
    let mine = format!("reject reason=silence status=-2 uid pid={}", std::process::id());
    broker.record(&mine);
}

#[test]
fn silent_connections_hold_up_nobody() {
    let broker = Broker::new(ECHO).start();
    let silent: Vec<_> = (0..200).map(|_| broker.connect()).collect();
    broker.call(["/bin/echo", "a"]).exited(0).took(Duration::ZERO, Duration::from_secs(3));
    for connection in silent {
        assert_eq!(connection.reply(), Reply::Status(Status::PROTO));
    }
}

#[test]
fn a_caller_that_says_nothing_and_leaves_is_forgotten() {
    let broker = Broker::new(ECHO).start();
    let (descriptors, threads) = (broker.descriptors(), broker.threads());
    for _ in 0..300 {
        drop(broker.connect());
    }
    broker.comes_back_to(descriptors, threads);
}

#[test]
fn a_caller_that_closes_its_half_is_not_waited_for() {
    let broker = Broker::new(ECHO).start();
    let connection = broker.connect();
    shutdown(std::os::fd::AsRawFd::as_raw_fd(&connection.as_fd()), Shutdown::Write)
        .expect("an open socket closes");
    let reply = connection.reply_within(Duration::from_secs(4));
    assert!([Reply::Status(Status::PROTO), Reply::Closed].contains(&reply), "{reply:?}");
    broker.serves_on();
}

#[test]
fn of_two_requests_on_one_connection_one_runs() {
    let broker = Broker::new(SHELL).start();
    let (mut read, write) = std::io::pipe().expect("a pipe can be made");
    let null = null();
    let connection = broker.connect();
    for _ in 0..2 {
        connection
            .send(&frame(&["/bin/sh", "-c", "echo once"]), &[null.as_fd(), write.as_fd(), write.as_fd()]);
    }
    drop(write);
    assert_eq!(connection.reply(), Reply::Status(Status(0)));
    drop(connection);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut read, &mut text).expect("a pipe can be read");
    assert_eq!(text, "once\n");
    assert_eq!(broker.records_of("start").len(), 1, "{}", broker.transcript(0));
}

#[test]
fn nothing_follows_the_reply() {
    let broker = Broker::new(ECHO).start();
    let null = null();
    let connection = broker.connect();
    connection.send(&frame(&["/bin/echo", "a"]), &[null.as_fd(); 3]);
    assert_eq!(connection.reply(), Reply::Status(Status(0)));
    connection.send(&frame(&["/bin/echo", "b"]), &[null.as_fd(); 3]);
    assert_eq!(connection.reply(), Reply::Closed);
}

/// Sends the request in `argv[1]` (hexadecimal) over its stdin, with /dev/null three times, and leaves.
const SENDER: &str = "\
import os, socket, sys
gate = socket.socket(fileno=os.dup(0))
null = os.open('/dev/null', os.O_RDWR)
socket.send_fds(gate, [bytes.fromhex(sys.argv[1])], [null] * 3)
print(os.getpid())
";

/// Has another process send this over a connection of ours; gives its pid, and the reply.
fn sent_by_another(broker: &Broker, bytes: &[u8]) -> (u64, Reply) {
    let connection = broker.connect();
    let ours: OwnedFd = connection.as_fd().try_clone_to_owned().expect("a descriptor can be duplicated");
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let sender = Command::new("python3").args(["-c", SENDER, &hex]).stdin(Stdio::from(ours)).output();
    let output = sender.expect("python3 is installed");
    let pid = String::from_utf8_lossy(&output.stdout).trim().parse().expect("the sender says its pid");
    (pid, connection.reply())
}

fn names_both(record: &Record, sender: u64) {
    assert_eq!(record.number("pid"), sender, "{record}");
    assert_eq!(record.number("connector"), u64::from(std::process::id()), "{record}");
}

#[test]
fn who_sent_is_recorded_not_only_who_connected() {
    if !needs("python3", "python3") {
        return;
    }
    let broker = Broker::new(ECHO).start();
    let (sender, reply) = sent_by_another(&broker, &frame(&["/bin/echo", "who"]));
    assert_eq!(reply, Reply::Status(Status(0)));
    names_both(&broker.record("start"), sender);
    let (sender, reply) = sent_by_another(&broker, &frame(&["/bin/nope"]));
    assert_eq!(reply, Reply::Status(Status::NO_RULE));
    names_both(&broker.record("reject reason=no_rule"), sender);
    let (sender, reply) = sent_by_another(&broker, b"nonsense");
    assert_eq!(reply, Reply::Status(Status::PROTO));
    names_both(&broker.record("reject reason=malformed"), sender);
}

#[test]
fn ten_thousand_bad_connections_leave_nothing_behind() {
    let broker = Broker::new(ECHO).start();
    let bad: Vec<_> =
        malformed().into_iter().map(|(_, bytes)| bytes).filter(|bytes| bytes.len() < 4096).collect();
    broker.serves_on();
    let (descriptors, threads) = (broker.descriptors(), broker.threads());
    let children = broker.pid().children().len();
    std::thread::scope(|scope| {
        for lane in 0..4 {
            let (broker, bad) = (&broker, &bad);
            scope.spawn(move || (0..2500).for_each(|turn| bad_connection(broker, lane + turn, bad)));
        }
    });
    broker.comes_back_to(descriptors, threads);
    within(SOON, "no more processes than before", || {
        (broker.pid().children().len() <= children + 8).then_some(())
    });
    broker.call(["/bin/echo", "a"]).exited(0).printed("a\n");
}

/// One of the ways to misuse a connection, chosen by `turn`.
fn bad_connection(broker: &Broker, turn: usize, bad: &[Vec<u8>]) {
    let null = null();
    let connection = broker.connect();
    let fds: Vec<BorrowedFd<'_>> = vec![null.as_fd(); [0, 3, 1, 4, 3, 40][turn % 6]];
    match turn % 5 {
        0 => return,
        1 => connection.send(&frame(&["/bin/echo", "a"]), &fds[..fds.len().min(2)]),
        _ => connection.send(&bad[turn % bad.len()], &fds),
    }
    if turn.is_multiple_of(2) {
        let reply = connection.reply();
        assert!([Status::PROTO, Status::FDS].map(Reply::Status).contains(&reply), "{reply:?}");
    }
}
