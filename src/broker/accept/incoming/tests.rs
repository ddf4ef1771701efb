//! The way in over real connections, without the threads.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::epoll::EpollTimeout;

use crate::spawn::{LauncherPool, Reaper};

use super::*;

/// One socket with its way in, and its address.
struct Site {
    incoming: Incoming,
    events: Arc<BrokerEvents>,
    closing: Arc<ConnectionCloser>,
    address: SocketAddr,
}

impl Site {
    /// A socket with room for so many connections.
    fn new(room: usize) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sluice-incoming-{}-{number}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).expect("a name");
        let listener = UnixListener::bind_addr(&address).expect("a socket");
        listener.set_nonblocking(true).expect("a flag");
        let socket = &*Box::leak(Box::new(OwnedFd::from(listener)));
        let reaper = Arc::new(Reaper::begin().expect("children"));
        let pool = Arc::new(LauncherPool::new(reaper.clone()));
        let closing = ConnectionCloser::begin(1, &pool, &reaper).expect("a thread");
        let events = Arc::new(BrokerEvents::new().expect("eventfds"));
        let listeners = vec![WatchedListener { socket, is_own: true }];
        let incoming = Incoming::new(listeners, room, closing.clone(), events.clone()).expect("an epoll");
        Self { incoming, events, closing, address }
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect_addr(&self.address).expect("a connection")
    }

    /// Accepts the next connection in the backlog.
    fn accept(&self) -> Connection {
        let fd = sys::accept(self.incoming.listener(0)).expect("a connection");
        Connection::new(fd, 0, self.closing.clone())
    }

    /// A caller, and its connection that was accepted.
    fn caller(&self) -> (UnixStream, Connection) {
        let caller = self.connect();
        assert_eq!(self.event(), Some(IncomingEvent::Listener(0)));
        let connection = self.accept();
        self.incoming.watch_listener(0);
        (caller, connection)
    }

    /// The next event, without a wait.
    fn event(&self) -> Option<IncomingEvent> {
        let mut events = [EpollEvent::empty()];
        let count = self.incoming.epoll().wait(&mut events, EpollTimeout::ZERO).expect("a wait");
        events[..count].first().map(|event| IncomingEvent::decode(event.data()))
    }

    /// Takes a connection of which the next event tells.
    fn heard(&self) -> Option<Connection> {
        let Some(IncomingEvent::Connection(number)) = self.event() else { return None };
        assert_eq!(self.incoming.hear(number), Some(0));
        assert_eq!(self.incoming.hear(number), None, "another thread has it");
        self.incoming.take_ready(0)
    }

    fn watch_silent(&self, connection: Connection) {
        self.incoming.watch_silent(connection, Instant::now()).expect("watched");
    }

    fn watch_idle(&self, connection: Connection) {
        self.incoming.watch_idle(connection).expect("watched");
    }

    fn stop(&self) {
        self.events.stop();
        self.incoming.stop();
    }
}

fn is_closed(mut caller: &UnixStream) -> bool {
    caller.set_nonblocking(true).expect("a flag");
    match caller.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(source) => source.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_listener_tells_of_one_connection_until_it_is_watched_again() {
    let site = Site::new(4);
    let _callers = [site.connect(), site.connect()];
    assert_eq!((site.event(), site.event()), (Some(IncomingEvent::Listener(0)), None));
    drop(site.accept());
    assert_eq!(site.event(), None);
    site.incoming.watch_listener(0);
    assert_eq!((site.event(), site.event()), (Some(IncomingEvent::Listener(0)), None));
}

#[test]
fn a_connection_that_is_put_back_tells_of_each_message_and_of_its_callers_departure() {
    for is_silent_first in [true, false] {
        let site = Site::new(4);
        let (mut caller, connection) = site.caller();
        if is_silent_first {
            site.watch_silent(connection)
        } else {
            site.watch_idle(connection)
        }
        for _ in 0..3 {
            assert_eq!(site.event(), None);
            caller.write_all(b"a").expect("sent");
            let connection = site.heard().expect("it can be read");
            assert_eq!(site.event(), None, "nobody watches it now");
            sys::discard(connection.as_fd()).expect("a message");
            site.watch_idle(connection);
        }
        drop(caller);
        assert!(site.heard().is_some_and(|connection| connection.is_over()));
    }
}

#[test]
fn idle_connections_are_not_due_and_silent_ones_are() {
    let site = Site::new(4);
    let (_idle, idle) = site.caller();
    site.watch_idle(idle);
    assert_eq!(site.incoming.due(), None);
    let (silent, connection) = site.caller();
    let now = Instant::now();
    site.incoming.watch_silent(connection, now).expect("watched");
    assert!(site.events.wakes().clear(), "the main thread is to look again");
    assert_eq!(site.incoming.due(), Some(now + SILENCE_MAX));
    assert!(site.incoming.take_expired(now).is_none());
    drop(site.incoming.take_expired(now + SILENCE_MAX).expect("it was silent for too long"));
    assert!(is_closed(&silent) && site.incoming.due().is_none());
}

#[test]
fn a_socket_with_too_many_idle_connections_closes_the_first_of_them() {
    let site = Site::new(4);
    let [(first, one), (second, two)] = [site.caller(), site.caller()];
    site.watch_idle(one);
    site.watch_idle(two);
    let Admittance::InPlaceOfIdle(idle) = site.incoming.admit(0, Instant::now()) else { panic!() };
    assert!(!idle.has_last_message());
    drop(idle);
    assert!(is_closed(&first) && !is_closed(&second));
    assert!(matches!(site.incoming.admit(0, Instant::now()), Admittance::Granted));
}

#[test]
fn a_request_that_came_just_now_is_the_last_one_of_its_connection() {
    let site = Site::new(2);
    let (caller, far) = sys::pair().expect("a socket pair");
    sys::pass_credentials(far.as_fd()).expect("credentials on");
    sys::never_wait(far.as_fd()).expect("a flag");
    let connection = Connection::new(far, 0, site.closing.clone());
    let send = || sys::send(caller.as_fd(), b"a", &[]);
    send().expect("sent");
    assert!(connection.has_last_message());
    assert_eq!(send().expect_err("nothing more comes in").kind(), ErrorKind::BrokenPipe);
    sys::discard(connection.as_fd()).expect("it stayed there");
    assert!(!connection.has_last_message());
}

#[test]
fn a_connection_that_rests_is_left_alone_until_its_time_has_come() {
    let site = Site::new(4);
    let (mut caller, connection) = site.caller();
    let until = Instant::now() + SILENCE_MAX;
    site.incoming.rest(connection, until);
    assert!(site.events.wakes().clear(), "the main thread is to look again");
    caller.write_all(b"a").expect("sent");
    site.incoming.rouse(Instant::now());
    assert_eq!((site.event(), site.incoming.due()), (None, Some(until)));
    site.incoming.rouse(until);
    assert_eq!((site.event(), site.incoming.due()), (Some(IncomingEvent::Work), None));
    assert_eq!(site.incoming.sockets_with_work(), [0]);
    assert!(site.incoming.take_ready(0).is_some_and(|connection| connection.is_readable()));
}

#[test]
fn a_crowded_socket_gives_up_its_silent_connection_when_that_is_old_enough() {
    let site = Site::new(1);
    let (silent, connection) = site.caller();
    let _waits = site.connect();
    let now = Instant::now();
    site.incoming.watch_silent(connection, now).expect("watched");
    assert_eq!(site.event(), Some(IncomingEvent::Listener(0)));
    assert!(matches!(site.incoming.admit(0, now), Admittance::Denied));
    assert_eq!(site.incoming.due(), Some(now + SILENCE_CROWDED));
    let Admittance::InPlaceOf(oldest) = site.incoming.admit(0, now + SILENCE_CROWDED) else { panic!() };
    drop(oldest);
    assert!(is_closed(&silent) && matches!(site.incoming.admit(0, now), Admittance::Granted));
}

#[test]
fn a_shortage_closes_a_socket_for_a_while() {
    let site = Site::new(4);
    let _caller = site.connect();
    assert_eq!(site.event(), Some(IncomingEvent::Listener(0)));
    let now = Instant::now();
    site.incoming.close(0);
    assert!(site.incoming.note_exhausted(now) && !site.incoming.note_exhausted(now));
    assert_eq!(site.incoming.due(), Some(now + ACCEPT_BACKOFF));
    site.incoming.watch_listener(0);
    assert_eq!(site.event(), None);
    while site.incoming.due() == Some(now + ACCEPT_BACKOFF) {
        assert!(!site.incoming.reopen(), "the shortage is not over yet");
    }
    assert_eq!(site.event(), Some(IncomingEvent::Listener(0)));
    assert_eq!(site.incoming.due(), Some(now + EXHAUSTED_QUIET));
}

#[test]
fn a_stop_has_all_connections_answered_and_ends_when_none_is_left() {
    let site = Site::new(8);
    let (callers, ends): (Vec<_>, Vec<_>) = (0..4).map(|_| site.caller()).unzip();
    let [silent, idle, early, put_back] = <[Connection; 4]>::try_from(ends).expect("four");
    site.watch_silent(silent);
    site.watch_idle(idle);
    site.stop();
    site.watch_silent(early);
    site.watch_idle(put_back);
    assert!(!site.incoming.end() && site.incoming.due().is_none(), "they are to be answered");
    assert_eq!(site.incoming.sockets_with_work(), [0]);
    (0..4).for_each(|_| drop(site.incoming.take_ready(0).expect("a connection")));
    assert!(callers.iter().all(is_closed) && site.incoming.take_ready(0).is_none());
    let asks = site.connect();
    assert!(!site.incoming.end(), "one is in the backlog");
    drop((site.accept(), asks));
    assert!(site.incoming.end());
    assert!(matches!(site.incoming.admit(0, Instant::now()), Admittance::Denied));
}
