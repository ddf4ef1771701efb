//! The listening sockets, and the connections on which a message is awaited, at one epoll. Each event goes to
//! one thread (`EPOLLONESHOT`), and nothing more comes from that descriptor until it is watched again: a
//! listener as soon as its connection was accepted, where the socket has a thread to spare for another one; a
//! connection when its request needs it no more. Where a socket has no room, or the kernel is out of a
//! resource, its listener is not watched for a while; connections then stay in the backlog.
//!
//! The lock is held for memory and epoll_ctl(2), neither of which waits.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::broker::closing::ConnectionCloser;
use crate::broker::connection::Connection;
use crate::broker::events::BrokerEvents;
use crate::limits::{ACCEPT_BACKOFF, EXHAUSTED_QUIET, SILENCE_CROWDED, SILENCE_MAX, STOP_CALLERS_MAX};
use crate::sys::{self, Locked, Wakeup};

use super::idle::ConnectionOwner;
use super::pending::{ClosingCount, PendingConnections, Room, SilentConnection};
use super::token::IncomingEvent;

/// A listening socket, and whether it is the broker's own: there the broker accepts while it stops, too, to
/// refuse the requests; at the others they wait for the next broker.
#[derive(Debug)]
pub(in crate::broker) struct WatchedListener {
    pub(in crate::broker) socket: &'static OwnedFd,
    pub(in crate::broker) is_own: bool,
}

/// All that comes in.
#[derive(Debug)]
pub(in crate::broker) struct Incoming {
    epoll: Epoll,
    listeners: Vec<WatchedListener>,
    /// Woken when there is work that a thread could not do when it came.
    work: Wakeup,
    state: Locked<IncomingState>,
    closing: Arc<ConnectionCloser>,
    events: Arc<BrokerEvents>,
}

#[derive(Debug)]
struct IncomingState {
    pending: PendingConnections<Connection>,
    /// The connections with a request that is tried again at a time, by their numbers among the idle ones.
    resting: BTreeSet<(Instant, u64)>,
    /// The sockets at which waiting calls are to be looked after.
    unhandled: BTreeSet<usize>,
    /// The sockets that had no room for a connection that was there, or that were asked while the kernel was
    /// out of a resource.
    closed: BTreeSet<usize>,
    /// The time until which no connection is accepted at all.
    closed_until: Option<Instant>,
    /// The time at which the kernel was last out of a resource, until `EXHAUSTED_QUIET` has passed since.
    exhausted: Option<Instant>,
    /// The time for which the main thread last planned to look here again.
    planned: Option<Instant>,
    is_over: bool,
}

/// Whether a connection is to be accepted.
#[derive(Debug)]
pub(super) enum Admittance {
    Granted,
    /// Not before this connection is gone, which has been silent for longest.
    InPlaceOf(Connection),
    /// Not before this connection is gone, which is idle.
    InPlaceOfIdle(Connection),
    Denied,
}

impl Incoming {
    /// Watches all sockets. There is room for so many connections that no thread works on.
    pub(in crate::broker) fn new(
        listeners: Vec<WatchedListener>,
        room: usize,
        closing: Arc<ConnectionCloser>,
        events: Arc<BrokerEvents>,
    ) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let work = Wakeup::counting()?;
        epoll.add(&work, EpollEvent::new(EpollFlags::EPOLLIN, IncomingEvent::Work.encode()))?;
        for (index, listener) in listeners.iter().enumerate() {
            epoll.add(listener.socket, once(IncomingEvent::Listener(index)))?;
        }
        let state = Locked::new(IncomingState {
            pending: PendingConnections::new(listeners.len(), room),
            resting: BTreeSet::new(),
            unhandled: BTreeSet::new(),
            closed: BTreeSet::new(),
            closed_until: None,
            exhausted: None,
            planned: None,
            is_over: false,
        });
        Ok(Self { epoll, listeners, work, state, closing, events })
    }

    /// The epoll at which the threads wait.
    pub(super) fn epoll(&self) -> &Epoll {
        &self.epoll
    }

    /// Whether a socket is the broker's own.
    pub(super) fn is_own(&self, index: usize) -> bool {
        self.listeners[index].is_own
    }

    /// The listening socket with this index.
    pub(in crate::broker) fn listener(&self, index: usize) -> BorrowedFd<'_> {
        self.listeners[index].socket.as_fd()
    }

    /// Whether a connection at a socket is to be accepted, of which an event told. Where it is denied, the
    /// socket is closed until there is room.
    pub(super) fn admit(&self, index: usize, now: Instant) -> Admittance {
        let mut state = self.state.lock();
        if state.is_over || self.is_left(index) {
            return Admittance::Denied;
        }
        match self.room(&state, index, now) {
            Room::Free => return Admittance::Granted,
            Room::Crowded => {
                let oldest = state.pending.oldest_at(index).map(|(number, _)| number);
                if let Some(silent) = oldest.and_then(|number| state.pending.take_silent(number)) {
                    return Admittance::InPlaceOf(silent.connection);
                }
            }
            Room::Idle => {
                if let Some(idle) = state.pending.take_first_idle(index, is_there) {
                    return Admittance::InPlaceOfIdle(idle);
                }
            }
            Room::Full => {}
        }
        state.closed.insert(index);
        self.plan(&mut state, now);
        Admittance::Denied
    }

    /// The room at a socket now: `Crowded` only where a connection has been silent for long enough to be
    /// refused.
    fn room(&self, state: &IncomingState, index: usize, now: Instant) -> Room {
        if state.closed_until.is_some() || !self.closing.has_room(index) {
            return Room::Full;
        }
        let room = state.pending.room(index, self.closing_count(index));
        let is_old = |(_, silent): (u64, &SilentConnection<_>)| silent.since + SILENCE_CROWDED <= now;
        if room == Room::Crowded && !state.pending.oldest_at(index).is_some_and(is_old) {
            return Room::Full;
        }
        room
    }

    fn closing_count(&self, index: usize) -> ClosingCount {
        ClosingCount { here: self.closing.held(index), all: self.closing.held_in_all() }
    }

    /// Whether a stopping broker leaves a socket's connections to the next one.
    fn is_left(&self, index: usize) -> bool {
        self.events.is_stopping() && !self.listeners[index].is_own
    }

    /// Watches a listener for the next connection, unless its socket is closed.
    pub(super) fn watch_listener(&self, index: usize) {
        let state = self.state.lock();
        if !state.is_closed(index) {
            self.arm_listener(index);
        }
    }

    fn arm_listener(&self, index: usize) {
        if !self.is_left(index) {
            self.arm(self.listeners[index].socket.as_fd(), IncomingEvent::Listener(index)).ok();
        }
    }

    /// Watches a descriptor that was watched before. It fails only where it was not.
    fn arm(&self, descriptor: BorrowedFd<'_>, event: IncomingEvent) -> nix::Result<()> {
        self.epoll.modify(descriptor, &mut once(event))
    }

    /// Watches a descriptor, whether it was watched before or not.
    fn arm_or_add(&self, descriptor: BorrowedFd<'_>, mut event: EpollEvent) -> nix::Result<()> {
        match self.epoll.modify(descriptor, &mut event) {
            Err(Errno::ENOENT) => self.epoll.add(descriptor, event),
            watched => watched,
        }
    }

    /// Has an event tell when the caller of a call that begins to wait for its place has left. Where the
    /// kernel does not allow one more watch, that is seen when the place comes. Takes no lock, so that it can
    /// be called under that of the socket's admission.
    pub(in crate::broker) fn watch_departure(&self, connection: &Connection) {
        let event = IncomingEvent::Departure(connection.socket()).encode();
        let flags = connection.caller().departure() | EpollFlags::EPOLLONESHOT;
        self.arm_or_add(connection.as_fd(), EpollEvent::new(flags, event)).ok();
    }

    /// Watches a connection on which nothing was sent yet. It is refused when it is silent for too long.
    /// Errors: the kernel does not allow one more watch; the connection is closed.
    pub(super) fn watch_silent(&self, connection: Connection, now: Instant) -> io::Result<()> {
        let index = connection.socket();
        let mut state = self.state.lock();
        if self.events.is_stopping() {
            self.add_last(&mut state, connection);
            return Ok(());
        }
        let number = state.pending.add_silent(index, connection, now);
        let silent = state.pending.get(number).expect("it was added just now");
        if let Err(errno) = self.epoll.add(silent, once(IncomingEvent::Connection(number))) {
            let silent = state.pending.take_silent(number);
            drop(state);
            drop(silent);
            return Err(errno.into());
        }
        self.plan(&mut state, now);
        Ok(())
    }

    /// Watches a connection on which a request was taken and another one may come, however late. Errors: the
    /// kernel does not allow one more watch; the connection is closed.
    pub(in crate::broker) fn watch_idle(&self, connection: Connection) -> io::Result<()> {
        let index = connection.socket();
        let mut state = self.state.lock();
        if self.is_late() {
            drop(state);
            return Ok(());
        }
        if self.events.is_stopping() {
            self.add_last(&mut state, connection);
            return Ok(());
        }
        let owner = owner_of(&connection);
        let number = state.pending.add_idle(index, connection, owner);
        let idle = state.pending.get(number).expect("it was added just now");
        if let Err(errno) = self.arm_or_add(idle.as_fd(), once(IncomingEvent::Connection(number))) {
            let idle = state.pending.take_idle(number);
            drop(state);
            drop(idle);
            return Err(errno.into());
        }
        Ok(())
    }

    /// Leaves a connection with a request in it alone until a time, at which it is a ready one.
    pub(in crate::broker) fn rest(&self, connection: Connection, until: Instant) {
        let mut state = self.state.lock();
        if self.events.is_stopping() {
            return self.add_last(&mut state, connection);
        }
        let (index, owner) = (connection.socket(), owner_of(&connection));
        let number = state.pending.add_idle(index, connection, owner);
        state.resting.insert((until, number));
        self.plan(&mut state, Instant::now());
    }

    /// Makes connections that have rested long enough ready ones.
    pub(super) fn rouse(&self, now: Instant) {
        let mut state = self.state.lock();
        while state.resting.first().is_some_and(|(until, _)| *until <= now) {
            let roused = state.resting.pop_first();
            // It may have been closed to make room.
            if roused.and_then(|(_, number)| state.pending.hear(number)).is_some() {
                self.work.wake();
            }
        }
    }

    /// Makes a connection of which an event told a ready one. Returns its socket, if no other thread did so
    /// before.
    pub(super) fn hear(&self, number: u64) -> Option<usize> {
        let mut state = self.state.lock();
        let index = state.pending.hear(number)?;
        self.open_closed(&mut state, Instant::now());
        Some(index)
    }

    /// Leaves a connection that can be read to the next thread that its socket has to spare.
    pub(super) fn leave_ready(&self, connection: Connection) {
        self.state.lock().pending.add_ready(connection.socket(), connection);
        self.work.wake();
    }

    /// The next ready connection of a socket.
    pub(super) fn take_ready(&self, index: usize) -> Option<Connection> {
        let mut state = self.state.lock();
        let connection = state.pending.pop(index)?;
        self.open_closed(&mut state, Instant::now());
        Some(connection)
    }

    /// Has a thread look after the waiting calls of a socket.
    pub(in crate::broker) fn need_handling(&self, index: usize) {
        self.note_unhandled(index);
        self.work.wake();
    }

    /// Notes that the waiting calls of a socket are to be looked after.
    pub(super) fn note_unhandled(&self, index: usize) {
        self.state.lock().unhandled.insert(index);
    }

    /// Whether the waiting calls of a socket are to be looked after, and no thread does so yet.
    pub(super) fn take_unhandled(&self, index: usize) -> bool {
        self.state.lock().unhandled.remove(&index)
    }

    /// Notes that a thread saw the wakeup for work. Returns the sockets with work.
    pub(super) fn sockets_with_work(&self) -> Vec<usize> {
        self.work.clear();
        let state = self.state.lock();
        state.unhandled.union(state.pending.ready()).copied().collect()
    }

    /// Tells the threads that a socket has a thread to spare for what waited for one: work that is there, and
    /// the next connection.
    pub(in crate::broker) fn note_spare_thread(&self, index: usize) {
        let state = self.state.lock();
        if state.has_work(index) {
            self.work.wake();
        }
        if !state.is_closed(index) {
            self.arm_listener(index);
        }
    }

    /// Closes all sockets for a while, because the kernel is out of a resource. Returns whether it was not
    /// out of one lately.
    pub(in crate::broker) fn note_exhausted(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        state.closed_until.get_or_insert(now + ACCEPT_BACKOFF);
        let is_news = state.exhausted.replace(now).is_none();
        self.plan(&mut state, now);
        is_news
    }

    /// Closes a socket until the shortage is over, of whose connection an event told.
    pub(super) fn close(&self, index: usize) {
        self.state.lock().closed.insert(index);
    }

    /// Wakes the main thread where something here is due before it looks here again.
    fn plan(&self, state: &mut IncomingState, now: Instant) {
        let due = self.due_of(state, now);
        if due.is_some_and(|due| state.planned.is_none_or(|planned| due < planned)) {
            state.planned = due;
            self.events.wake();
        }
    }

    fn due_of(&self, state: &IncomingState, now: Instant) -> Option<Instant> {
        let silence = state.pending.oldest().map(|(_, silent)| silent.since + SILENCE_MAX);
        let over = state.exhausted.map(|since| since + EXHAUSTED_QUIET);
        let closed = state.closed_until.or_else(|| {
            let room = |&index: &usize| {
                let crowded =
                    state.pending.oldest_at(index).map(|(_, silent)| silent.since + SILENCE_CROWDED);
                // What is being closed ends without an event.
                let closing = (self.closing.held_in_all() > 0).then(|| now + ACCEPT_BACKOFF);
                crowded.filter(|&crowded| now < crowded).into_iter().chain(closing).min()
            };
            state.closed.iter().filter_map(room).min()
        });
        let rested = state.resting.first().map(|(until, _)| *until);
        [silence, over, closed, rested].into_iter().flatten().min()
    }

    /// The time at which the main thread is to look here again, if nothing comes before.
    pub(super) fn due(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        state.planned = self.due_of(&state, Instant::now());
        state.planned
    }

    /// Opens closed sockets that have room now. Returns whether the last shortage of a resource is over.
    pub(super) fn reopen(&self) -> bool {
        let (mut state, now) = (self.state.lock(), Instant::now());
        state.closed_until.take_if(|until| *until <= now);
        self.open_closed(&mut state, now);
        state.exhausted.take_if(|since| *since + EXHAUSTED_QUIET <= now).is_some()
    }

    fn open_closed(&self, state: &mut IncomingState, now: Instant) {
        if state.is_over || state.closed.is_empty() || state.closed_until.is_some() {
            return;
        }
        let has_room = |index: &usize| self.room(state, *index, now) != Room::Full;
        for index in state.closed.iter().copied().filter(has_room).collect::<Vec<_>>() {
            state.closed.remove(&index);
            self.arm_listener(index);
        }
    }

    /// Takes out a connection that has been silent for too long.
    pub(super) fn take_expired(&self, now: Instant) -> Option<Connection> {
        let mut state = self.state.lock();
        let (number, _) = state.pending.oldest().filter(|(_, silent)| silent.since + SILENCE_MAX <= now)?;
        let expired = state.pending.take_silent(number)?;
        self.open_closed(&mut state, now);
        Some(expired.connection)
    }

    /// The stop has begun: has each connection answered, or closed if it is idle and no request is there.
    pub(super) fn stop(&self) {
        let mut state = self.state.lock();
        while let Some(number) = state.pending.first() {
            state.pending.hear(number);
        }
        state.pending.ready().iter().for_each(|_| self.work.wake());
        self.open_closed(&mut state, Instant::now());
    }

    /// Has a connection answered during the stop, whether a request is there or not.
    fn add_last(&self, state: &mut IncomingState, connection: Connection) {
        state.pending.add_ready(connection.socket(), connection);
        self.work.wake();
    }

    /// Whether the stop began so long ago that nothing new is waited for.
    fn is_late(&self) -> bool {
        self.events.stopped_at().is_some_and(|since| since.elapsed() >= STOP_CALLERS_MAX)
    }

    /// Ends a stop, unless connections are left that are to be answered: ready ones, and for a while those in
    /// the backlog of the broker's own sockets. Returns whether it has ended: then nothing is accepted any
    /// more.
    pub(super) fn end(&self) -> bool {
        let mut state = self.state.lock();
        state.is_over |= state.pending.ready().is_empty() && (self.is_late() || !self.is_asked());
        state.is_over
    }

    /// Whether a connection is in the backlog of a socket of the broker's own.
    fn is_asked(&self) -> bool {
        let own = self.listeners.iter().filter(|listener| listener.is_own);
        let mut own: Vec<_> =
            own.map(|listener| PollFd::new(listener.socket.as_fd(), PollFlags::POLLIN)).collect();
        sys::poll_until(&mut own, Some(Instant::now())).unwrap_or(false)
    }

    /// Whether no connection is ready.
    pub(super) fn is_answered(&self) -> bool {
        self.state.lock().pending.ready().is_empty()
    }
}

impl IncomingState {
    fn is_closed(&self, index: usize) -> bool {
        self.is_over || self.closed.contains(&index)
    }

    fn has_work(&self, index: usize) -> bool {
        self.unhandled.contains(&index) || self.pending.ready().contains(&index)
    }
}

/// Whose connection it is where room has to be made; `None` for a door's, which is nobody else's.
fn owner_of(connection: &Connection) -> Option<ConnectionOwner> {
    let (user, process) =
        connection.connector().map_or((u32::MAX, 0), |connector| (connector.uid, connector.pid));
    (!connection.is_door()).then_some(ConnectionOwner { user, process })
}

/// Whether a process that connected has not ended, or its number is another's by now. 0 is the number of a
/// process that is not to be seen from here. `kill(2)`, which sends nothing.
fn is_there(process: i32) -> bool {
    process <= 0 || kill(Pid::from_raw(process), None) != Err(Errno::ESRCH)
}

/// One event, after which its descriptor is not watched.
fn once(event: IncomingEvent) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT, event.encode())
}

#[cfg(test)]
mod tests;
