//! Connections in which descriptors are left, whose last reference does not close for as long as their owner
//! likes: none holds up the broker, another caller or the stop, and every answer arrives.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Linger;

use crate::activation::activated;
use crate::harness::{
    Broker, Connection, MAGIC, Record, Reply, SOON, Status, VERSION, frame, header, within,
};

/// How long the `close` of such a socket waits.
const LINGER: Duration = Duration::from_secs(120);

/// What a broker waits for where it waits for none of them: on a machine that is busy, its own bounds and
/// those of the tests' processes add up.
const UNHINDERED: Duration = Duration::from_secs(60);

/// Nobody waited for a socket that lingers.
#[track_caller]
pub(crate) fn before_they_close(began: Instant) {
    assert!(began.elapsed() < UNHINDERED, "it took {:?}", began.elapsed());
}

/// Sockets whose `close` waits for two minutes, because what was sent is not taken.
pub(crate) struct Lingering {
    far: Vec<TcpStream>,
    listener: TcpListener,
}

impl Lingering {
    pub(crate) fn new() -> Self {
        Self { far: Vec::new(), listener: TcpListener::bind("127.0.0.1:0").expect("a port") }
    }

    fn socket(&mut self) -> TcpStream {
        let address = self.listener.local_addr().expect("an address");
        let mut near = TcpStream::connect(address).expect("connected");
        self.far.push(self.listener.accept().expect("accepted").0);
        let linger =
            libc::linger { l_onoff: 1, l_linger: i32::try_from(LINGER.as_secs()).expect("a few minutes") };
        setsockopt(&near, Linger, &linger).expect("it lingers");
        near.set_nonblocking(true).expect("flags");
        while near.write(&[0; 65_536]).is_ok() {}
        near
    }

    /// A connection over which a message with one of them is sent at once: one that says nothing is answered.
    fn request(&mut self, broker: &Broker, bytes: &[u8]) -> Connection {
        let connection = broker.connect();
        self.send(&connection, bytes, 1);
        connection
    }

    /// Sends a message with so many of them, and keeps none.
    pub(crate) fn send(&mut self, connection: &Connection, bytes: &[u8], count: usize) {
        let sockets: Vec<_> = (0..count).map(|_| self.socket()).collect();
        let fds: Vec<BorrowedFd<'_>> = sockets.iter().map(|socket| socket.as_fd()).collect();
        connection.send(bytes, &fds);
        // The message's references are the last ones from here on, unless the broker was quicker: then this
        // thread lingers.
        let (done, closed) = mpsc::channel();
        thread::spawn(move || {
            drop(sockets);
            done.send(()).ok();
        });
        closed.recv_timeout(Duration::from_millis(500)).ok();
    }
}

/// Stops the broker until it is told to go on. A signal stops the first thread, and the others in their own
/// time.
pub(crate) fn stop_threads(broker: &Broker) {
    broker.signal(Signal::SIGSTOP);
    within(SOON, "every thread stops", || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", broker.pid().0)).ok()?;
        let stat =
            |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        let stopped = tasks.flatten().all(|task| stat(task).contains(") T "));
        stopped.then_some(())
    });
}

/// A connection is accepted, and a call is answered.
fn goes_on(broker: &Broker) {
    let began = Instant::now();
    broker.hup();
    broker.call(["/bin/echo", "a"]).exited(0);
    before_they_close(began);
}

#[test]
fn a_socket_that_lingers_in_a_refused_request_holds_up_nobody() {
    let broker = Broker::new("/bin/echo a\n").start();
    let (good, bad) = (frame(&["/bin/echo", "a"]), frame(&["/bin/nope"]));
    let mut lingering = Lingering::new();
    let ways = [(&bad[..], 3, Status::NO_RULE), (b"nonsense", 3, Status::PROTO), (&good, 4, Status::FDS)];
    for (bytes, count, want) in ways {
        let connection = broker.connect();
        lingering.send(&connection, bytes, count);
        assert_eq!(connection.reply(), Reply::Status(want));
        goes_on(&broker);
    }
}

#[test]
fn a_socket_that_lingers_behind_an_answer_holds_up_nobody_and_is_refused() {
    let broker = Broker::new("/bin/echo a\n").start();
    let null = std::fs::File::open("/dev/null").expect("there is /dev/null");
    let mut lingering = Lingering::new();
    for first in [frame(&["/bin/echo", "a"]), header(MAGIC, VERSION, 0), frame(&["/bin/nope"])] {
        let connection = broker.connect();
        // Both are there before the first is read: after its answer nothing more comes in.
        stop_threads(&broker);
        connection.send(&first, &[null.as_fd(); 3]);
        lingering.send(&connection, &frame(&["/bin/echo", "a"]), 3);
        broker.signal(Signal::SIGCONT);
        assert!(matches!(connection.reply(), Reply::Status(_) | Reply::Listing(_)));
        goes_on(&broker);
    }
    let refused = broker.records_of("reject reason=malformed");
    assert!(!refused.is_empty(), "a second request is on record");
}

#[test]
fn each_message_behind_a_request_is_on_record_an_empty_one_too() {
    let broker = Broker::new("/bin/echo a\n").start();
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").expect("there is /dev/null");
    let (full, none) = ([null.as_fd(); 3], []);
    let kinds: [(&[u8], &[BorrowedFd<'_>]); 3] = [(b"", &full), (b"x", &full), (b"", &none)];
    let mut sent = 0;
    let orders = [&[0][..], &[0, 0], &[0, 1], &[1, 0, 1], &[2, 0, 2], &[0, 2, 0]];
    // Of a call, the request is taken out before; of a refusal, it is the first that waits.
    let first = [("/bin/echo", Status(0)), ("/bin/nope", Status::NO_RULE)];
    for (order, (program, status)) in orders.iter().flat_map(|order| first.map(|first| (*order, first))) {
        let connection = broker.connect();
        stop_threads(&broker);
        connection.send(&frame(&[program, "a"]), &full);
        for &kind in order {
            let (bytes, descriptors) = kinds[kind];
            connection.send(bytes, descriptors);
            sent += 1;
        }
        broker.signal(Signal::SIGCONT);
        assert_eq!(connection.reply(), Reply::Status(status));
    }
    let counted = || {
        let records = broker.records_of("reject reason=malformed");
        let count = |record: &Record| record.get("count").as_u64().unwrap_or(1);
        Some(records.iter().map(count).sum::<u64>()).filter(|count| *count >= sent)
    };
    assert_eq!(within(SOON, "the last record", counted), sent);
}

#[test]
fn a_listing_with_descriptors_is_given_and_none_stays() {
    let broker = Broker::new("/bin/echo a\n").start();
    let descriptors = broker.descriptors();
    let mut lingering = Lingering::new();
    let connection = broker.connect();
    lingering.send(&connection, &header(MAGIC, VERSION, 0), 1);
    assert!(matches!(connection.reply(), Reply::Listing(_)));
    goes_on(&broker);
    broker.comes_back_to(descriptors, broker.threads());
}

#[test]
fn a_stop_waits_for_no_socket_that_lingers_in_a_request_that_waits() {
    let rules = "/bin/sh -c #script\n  allow_any = script\n  max_calls = 1\n";
    let mut broker = Broker::new(rules).start();
    let mut held = broker.begin_sh("echo up; exec sleep 60");
    held.line();
    let held = held.stay();
    let mut lingering = Lingering::new();
    let waiting: Vec<_> = (0..12).map(|_| broker.connect()).collect();
    for connection in &waiting {
        lingering.send(connection, &frame(&["/bin/sh", "-c", "true"]), 3);
    }
    // A caller that leaves while it waits is closed in the same way.
    let (left, stay) = waiting.split_at(4);
    assert!(left.iter().all(|connection| connection.reply_within(Duration::ZERO) == Reply::Silent));
    let began = Instant::now();
    broker.signal(Signal::SIGTERM);
    for connection in stay {
        assert_eq!(connection.reply_within(SOON), Reply::Status(Status::STOPPING));
    }
    broker.ends_with(0);
    before_they_close(began);
    drop(held);
}

#[test]
fn many_requests_with_sockets_that_linger_keep_no_other_caller_waiting_for_long() {
    let broker = Broker::new("/bin/echo a\n").start();
    let (descriptors, mut lingering) = (broker.descriptors(), Lingering::new());
    let bad = frame(&["/bin/nope"]);
    let connections: Vec<_> = (0..40).map(|_| lingering.request(&broker, &bad)).collect();
    for connection in &connections {
        let reply = connection.reply_within(LINGER / 2);
        assert!(matches!(reply, Reply::Status(Status::NO_RULE) | Reply::Closed), "{reply:?}");
    }
    goes_on(&broker);
    broker.comes_back_to(descriptors, broker.threads());
}

/// More than may wait to be closed at one socket (64): each leaves with its explanation unread, which the
/// broker's end of the connection is told of as an error, once.
#[test]
fn callers_that_leave_with_an_answer_unread_leave_nothing_that_lingers_to_the_broker() {
    let broker = Broker::new("/bin/echo a\n").start();
    let (descriptors, mut lingering) = (broker.descriptors(), Lingering::new());
    let bad = frame(&["/bin/nope"]);
    let connections: Vec<_> = (0..80).map(|_| lingering.request(&broker, &bad)).collect();
    for connection in connections {
        let reply = connection.reply_within(LINGER / 2);
        assert!(matches!(reply, Reply::Status(Status::NO_RULE) | Reply::Closed), "{reply:?}");
    }
    broker.call(["/bin/echo", "a"]).exited(0);
    broker.comes_back_to(descriptors, broker.threads());
}

#[test]
fn a_stop_waits_for_no_socket_that_lingers_in_the_backlog_of_a_socket_that_was_handed_over() {
    let Some(setup) = activated(&["agent"]) else { return };
    let mut broker = setup.start();
    broker.sh("true").exited(0);
    let mut lingering = Lingering::new();
    stop_threads(&broker);
    let late = broker.connect();
    lingering.send(&late, &frame(&["/bin/sh", "-c", "true"]), 3);
    let began = Instant::now();
    broker.signal(Signal::SIGTERM);
    broker.signal(Signal::SIGCONT);
    broker.ends_with(0);
    before_they_close(began);
}

#[test]
fn processes_that_close_connections_and_stand_still_hold_up_no_stop() {
    let mut broker = Broker::new("/bin/echo a\n").start();
    let mut lingering = Lingering::new();
    let connections: Vec<_> = (0..4).map(|_| broker.connect()).collect();
    connections.iter().for_each(|connection| lingering.send(connection, &frame(&["/bin/nope"]), 3));
    for connection in &connections {
        let reply = connection.reply_within(LINGER / 2);
        assert!(matches!(reply, Reply::Status(Status::NO_RULE) | Reply::Closed), "{reply:?}");
    }
    broker.pid().children().into_iter().for_each(|child| child.signal(Signal::SIGSTOP));
    let began = Instant::now();
    broker.signal(Signal::SIGTERM);
    broker.ends_with(0);
    before_they_close(began);
}
