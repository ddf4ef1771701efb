//! The way in that leads past the accept loop. A thread that has nothing to do stands at the sockets: who connects wakes
//! it, and has it at once. Where none stands, the kernel wakes the accept loop instead, which comes second at each socket
//! (`EPOLLEXCLUSIVE`). A thread lets in who speaks at once, as far as the socket has a thread to spare; whatever is
//! not so simple it leaves to the loop, and the door is shut until that has seen to it.

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

/// What is left to the accept loop.
#[derive(Debug)]
pub(super) enum DeferredAccept {
    /// Somebody may stand at this socket.
    Look(usize),
    /// The same, and the door is shut.
    Shut(usize),
    /// Somebody came in at this socket, and has not said anything yet.
    Pending(usize, Connection),
}

/// The doors of all sockets.
#[derive(Debug)]
pub(super) struct DirectAccept {
    broker: Arc<Broker>,
    left: Locked<Vec<DeferredAccept>>,
}

impl DirectAccept {
    pub(in crate::broker) fn new(broker: Arc<Broker>) -> Self {
        Self { broker, left: Locked::default() }
    }

    /// Takes what was left to the accept loop.
    pub(super) fn take_left(&self) -> Vec<DeferredAccept> {
        std::mem::take(&mut self.left.lock())
    }

    /// Whether nothing is left to it.
    pub(super) fn is_clear(&self) -> bool {
        self.left.lock().is_empty()
    }

    /// Lets in one who connected, if that is simple.
    fn let_in(&self, epoll: &Epoll, index: usize) -> Option<ReadyConnection> {
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
            // Somebody else let them in, or they left.
            Err(source) if matches!(source.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => {
                return None;
            }
            // The accept loop meets the same, and says it.
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

    /// From here on the accept loop alone sees who connects there, until it opens the door again.
    fn shut(&self, epoll: &Epoll, index: usize) {
        // It may have shut the door itself just now.
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

    /// The first of those who wait is for this thread. Who waits at another door may have woken nobody else.
    fn attend(&self, epoll: &Epoll, events: &[EpollEvent]) -> Option<Job> {
        let mut direct = direct(events);
        let first = direct.next()?;
        direct.for_each(|index| self.leave(DeferredAccept::Look(index)));
        self.let_in(epoll, first).map(Job::Answer)
    }

    fn pass_on(&self, events: &[EpollEvent]) {
        direct(events).for_each(|index| self.leave(DeferredAccept::Look(index)));
    }

    fn work(&self, job: Job) {
        serve(job);
    }

    fn rest(&self) {
        self.broker.deferred.tell();
    }
}

fn direct(events: &[EpollEvent]) -> impl Iterator<Item = usize> {
    events.iter().filter_map(|event| match EventToken::decode(event.data()) {
        EventToken::Listener(index) => Some(index),
        EventToken::Signal | EventToken::Wake | EventToken::Nursery | EventToken::Pending(_) => None,
    })
}
