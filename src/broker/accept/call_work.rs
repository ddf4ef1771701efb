//! The work of a call's thread: it takes one event of `incoming.rs` and does all that comes of it. A
//! connection that comes is accepted, and answered if its request is there; else it is watched until it is.
//! All of it is done in a place of the socket's count of threads; where there is none, the event is left to
//! the thread that gives its place back.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Instant;

use nix::sys::epoll::{Epoll, EpollEvent};

use crate::broker::admission::SpareThreads;
use crate::broker::call::handler::{answer, attend};
use crate::broker::call::reply::refuse;
use crate::broker::client_request::ClientRequest;
use crate::broker::connection::Connection;
use crate::broker::state::{Broker, ServedSocket};
use crate::refusal::Refusal;
use crate::sys;

use super::incoming::Admittance;
use super::thread_pool::EventWork;
use super::token::IncomingEvent;

/// The work of all threads.
#[derive(Debug)]
pub(super) struct CallWork(pub(super) Arc<Broker>);

/// A thread's place in a socket's count, which is given back even after a panic.
#[derive(Debug)]
struct ThreadSlot<'b> {
    broker: &'b Broker,
    socket: &'b ServedSocket,
    /// Whether the socket has another place.
    has_more: bool,
}

impl EventWork for CallWork {
    fn epoll(&self) -> &Epoll {
        self.0.incoming.epoll()
    }

    fn attend(&self, event: EpollEvent) -> bool {
        let has_worked = match IncomingEvent::decode(event.data()) {
            IncomingEvent::Listener(index) => self.accept(index),
            IncomingEvent::Connection(number) => self.hear(number),
            IncomingEvent::Departure(index) => self.put_out(index),
            IncomingEvent::Work => self.catch_up(),
        };
        if has_worked {
            self.0.pool.refill();
            self.0.scopes.refill();
        }
        has_worked
    }

    fn rest(&self) {
        self.0.deferred.tell();
        self.0.scopes.clean();
        self.0.adapters.tidy();
        // The main thread looks after those that are left, when this thread has ended.
        if self.0.adapters.due().is_some() {
            self.0.events.wake();
        }
    }
}

impl CallWork {
    /// Accepts a connection, and answers it if its request is there.
    fn accept(&self, index: usize) -> bool {
        let Some(slot) = ThreadSlot::begin(&self.0, index) else { return false };
        if !self.may_accept(index) {
            return false;
        }
        let incoming = &self.0.incoming;
        let accepted = match sys::accept(incoming.listener(index)) {
            // The caller left again.
            Err(source) if matches!(source.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => {
                None
            }
            Err(source) => {
                incoming.close(index);
                self.0.note_exhausted(&source);
                return false;
            }
            Ok(fd) => Some(fd),
        };
        if slot.has_more {
            incoming.watch_listener(index);
        }
        let Some(fd) = accepted else { return false };
        let connection = Connection::new(fd, index, self.0.closing.clone());
        if connection.is_readable() || self.0.events.is_stopping() {
            answer(&self.0, slot.socket, connection);
            return true;
        }
        if let Err(source) = incoming.watch_silent(connection, Instant::now()) {
            // The user has too many watches: later connections wait in the backlog.
            self.0.note_exhausted(&source);
        }
        false
    }

    /// Whether a connection may be accepted at a socket. Where it is full, a connection that was silent for
    /// a while is refused to make room, or one that is idle is closed.
    fn may_accept(&self, index: usize) -> bool {
        loop {
            match self.0.incoming.admit(index, Instant::now()) {
                Admittance::Granted => return true,
                Admittance::Denied => return false,
                Admittance::InPlaceOf(silent) if silent.is_readable() => self.0.incoming.leave_ready(silent),
                Admittance::InPlaceOf(silent) => refuse_silent(&self.0, silent, &Refusal::Crowded),
                Admittance::InPlaceOfIdle(idle) => self.close_idle(idle),
            }
        }
    }

    /// Closes an idle connection, unless a request came just now, which is the last one there.
    fn close_idle(&self, idle: Connection) {
        if idle.has_last_message() {
            self.0.incoming.leave_ready(idle);
        }
    }

    /// Answers a connection that can be read.
    fn hear(&self, number: u64) -> bool {
        self.0.incoming.hear(number).is_some_and(|index| self.answer_ready(index))
    }

    /// Answers the next connection of a socket that can be read, if the socket has a thread to spare.
    fn answer_ready(&self, index: usize) -> bool {
        let Some(slot) = ThreadSlot::begin(&self.0, index) else { return false };
        let Some(connection) = self.0.incoming.take_ready(index) else { return false };
        slot.pass_on();
        answer(&self.0, slot.socket, connection);
        true
    }

    /// Puts out a call that waits for a place, and whose caller has left.
    fn put_out(&self, index: usize) -> bool {
        self.0.incoming.note_unhandled(index);
        self.handle_waiting(index)
    }

    /// Looks after the calls that wait for a place at a socket, if the socket has a thread to spare.
    fn handle_waiting(&self, index: usize) -> bool {
        let Some(slot) = ThreadSlot::begin_waiting(&self.0, index) else { return false };
        if !self.0.incoming.take_unhandled(index) {
            return false;
        }
        slot.pass_on();
        attend(&self.0, slot.socket);
        true
    }

    /// Does the first piece of work that waited for a thread and can have one now.
    fn catch_up(&self) -> bool {
        let sockets = self.0.incoming.sockets_with_work();
        sockets.into_iter().any(|index| self.handle_waiting(index) || self.answer_ready(index))
    }
}

/// Refuses a connection on which nothing was sent.
pub(super) fn refuse_silent(broker: &Broker, connection: Connection, why: &Refusal) {
    let socket = &broker.sockets[connection.socket()];
    refuse(broker, socket, &ClientRequest::new(connection), why);
}

impl<'b> ThreadSlot<'b> {
    /// A place of a thread that answers a connection, if there is one.
    fn begin(broker: &'b Broker, index: usize) -> Option<Self> {
        let socket = &broker.sockets[index];
        Self::counted(broker, socket, socket.admission.begin_thread(socket.threads_max()))
    }

    /// A place of a thread that looks after waiting calls, if there is one.
    fn begin_waiting(broker: &'b Broker, index: usize) -> Option<Self> {
        let socket = &broker.sockets[index];
        Self::counted(broker, socket, socket.admission.begin_waiting_thread(socket.threads_max()))
    }

    fn counted(broker: &'b Broker, socket: &'b ServedSocket, spare: SpareThreads) -> Option<Self> {
        let has_more = match spare {
            SpareThreads::None => return None,
            SpareThreads::Last => false,
            SpareThreads::Some => true,
        };
        Some(Self { broker, socket, has_more })
    }

    /// Has another thread take what else waits at the socket, if the socket has one to spare.
    fn pass_on(&self) {
        if self.has_more {
            self.broker.incoming.note_spare_thread(self.socket.index);
        }
    }
}

impl Drop for ThreadSlot<'_> {
    fn drop(&mut self) {
        if self.socket.admission.end_thread() {
            self.broker.incoming.note_spare_thread(self.socket.index);
        }
        if self.broker.events.is_stopping() {
            self.broker.events.wake();
        }
    }
}
