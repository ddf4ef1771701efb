//! Accepting without the accept loop. Idle threads wait at the listening sockets: a connection wakes one of
//! them, which answers it at once. Where no thread is idle, the kernel wakes the accept loop, which comes
//! second at each socket (`EPOLLEXCLUSIVE`). A connection that was accepted and stays silent is left to the
//! accept loop. Where the socket has no room or no thread to spare, or an accept fails, the thread closes the
//! socket to direct accepts until the accept loop opens it again.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use nix::sys::epoll::{Epoll, EpollEvent};

use crate::broker::connection::Connection;
use crate::broker::state::Broker;
use crate::limits::{ARRIVALS_MAX, FIRST_WORD_WAIT};
use crate::sys::{self, Locked};

use super::job::{Job, ReadyConnection, ThreadSlot, serve};
use super::thread_pool::JobSource;
use super::token::EventToken;

/// An accept that an idle thread leaves to the accept loop.
#[derive(Debug)]
pub(super) enum DeferredAccept {
    /// A connection may be in this socket's backlog.
    Look(usize),
    /// A connection may be in this socket's backlog, and the socket is closed to direct accepts.
    Shut(usize),
    /// A connection was accepted at this socket, and nothing was sent on it yet.
    Pending(usize, Connection),
}

/// Direct accepts at all sockets.
#[derive(Debug)]
pub(super) struct DirectAccept {
    broker: Arc<Broker>,
    left: Locked<Vec<DeferredAccept>>,
}

impl DirectAccept {
    pub(in crate::broker) fn new(broker: Arc<Broker>) -> Self {
        Self { broker, left: Locked::default() }
    }

    /// Takes all that was left to the accept loop.
    pub(super) fn take_left(&self) -> Vec<DeferredAccept> {
        std::mem::take(&mut self.left.lock())
    }

    /// Whether nothing is left to the accept loop.
    pub(super) fn is_clear(&self) -> bool {
        self.left.lock().is_empty()
    }

    /// Accepts a connection whose request comes at once; leaves anything else to the accept loop.
    fn accept(&self, epoll: &Epoll, index: usize) -> Option<ReadyConnection> {
        let (broker, socket) = (&self.broker, &self.broker.sockets[index]);
        let has_room = self.left.lock().len() < ARRIVALS_MAX && broker.closing.has_room(index);
        let is_open = has_room && !broker.events.is_stopping();
        if !is_open || !socket.admission.begin_thread(socket.threads_max()) {
            self.shut(epoll, index);
            return None;
        }
        let place = ThreadSlot::taken(broker.clone(), index);
        let connection = match sys::accept(socket.listener.as_fd()) {
            Ok(fd) => Connection::new(fd, index, broker.closing.clone()),
            // Another thread accepted the connection, or its caller left.
            Err(source) if matches!(source.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => {
                return None;
            }
            // The accept loop gets the error too, and reports it.
            Err(_) => {
                self.shut(epoll, index);
                return None;
            }
        };
        if !connection.is_readable_until(Instant::now() + FIRST_WORD_WAIT) {
            self.leave(DeferredAccept::Pending(index, connection));
            return None;
        }
        Some(ReadyConnection { place, connection })
    }

    /// Closes a socket to direct accepts: the accept loop alone accepts there, until it opens the socket
    /// again.
    fn shut(&self, epoll: &Epoll, index: usize) {
        // The accept loop may have closed it just now.
        epoll.delete(self.broker.sockets[index].listener).ok();
        self.leave(DeferredAccept::Shut(index));
    }

    fn leave(&self, left: DeferredAccept) {
        self.left.lock().push(left);
        self.broker.events.wake();
    }
}

impl JobSource for DirectAccept {
    type Job = Job;

    /// Accepts at the first socket. A connection at another socket may have woken no other thread, so the
    /// accept loop is to look there.
    fn attend(&self, epoll: &Epoll, events: &[EpollEvent]) -> Option<Job> {
        let mut direct = direct(events);
        let first = direct.next()?;
        direct.for_each(|index| self.leave(DeferredAccept::Look(index)));
        self.accept(epoll, first).map(Job::Answer)
    }

    fn pass_on(&self, events: &[EpollEvent]) {
        direct(events).for_each(|index| self.leave(DeferredAccept::Look(index)));
    }

    fn work(&self, job: Job) {
        serve(job);
    }

    fn rest(&self) {
        self.broker.deferred.tell();
        self.broker.scopes.clean();
        self.broker.adapters.tidy();
    }
}

fn direct(events: &[EpollEvent]) -> impl Iterator<Item = usize> {
    events.iter().filter_map(|event| match EventToken::decode(event.data()) {
        EventToken::Listener(index) => Some(index),
        EventToken::Signal | EventToken::Wake | EventToken::Nursery | EventToken::Pending(_) => None,
    })
}
