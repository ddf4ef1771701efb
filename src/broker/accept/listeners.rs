//! The listening sockets, and which threads watch them: idle threads accept directly, ahead of the accept
//! loop. Where there is no room, or the kernel is out of a resource, no thread watches for a while;
//! connections then stay in the backlog.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{Shutdown, shutdown};

use crate::broker::connection::Connection;
use crate::broker::notice::Notice;
use crate::broker::state::Broker;
use crate::limits::{ACCEPT_BACKOFF, EXHAUSTED_QUIET, STOP_CALLERS_MAX};
use crate::sys;

use super::direct::DirectAccept;
use super::thread_pool::ThreadPool;
use super::token::EventToken;

/// The listening sockets, as the accept loop sees them.
pub(in crate::broker) struct ListenerSet {
    broker: Arc<Broker>,
    /// The epoll at which the accept loop waits.
    pub(super) epoll: Epoll,
    pub(super) workers: ThreadPool<DirectAccept>,
    /// The sockets at which no connection is accepted.
    closed: BTreeSet<usize>,
    /// The time at which the `closed` sockets are opened again.
    closed_until: Option<Instant>,
    /// The time at which the kernel was last out of a resource, until `EXHAUSTED_QUIET` has passed since.
    exhausted: Option<Instant>,
    /// The sockets at which idle threads do not accept: there the accept loop alone does.
    shut: BTreeSet<usize>,
    accepts_while_stopping: Vec<bool>,
}

impl ListenerSet {
    /// All sockets, open. `owned` says which sockets are the broker's own: these accept while it stops, too.
    pub(in crate::broker) fn new(broker: Arc<Broker>, owned: Vec<bool>) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let workers = ThreadPool::new(DirectAccept::new(broker.clone()))?;
        let listener_set = Self {
            broker,
            epoll,
            workers,
            closed: BTreeSet::new(),
            closed_until: None,
            exhausted: None,
            shut: BTreeSet::new(),
            accepts_while_stopping: owned,
        };
        (0..listener_set.broker.sockets.len()).try_for_each(|index| listener_set.watch(index))?;
        Ok(listener_set)
    }

    pub(super) fn accepts_while_stopping(&self, index: usize) -> bool {
        self.accepts_while_stopping[index]
    }

    /// Whether no connection is accepted at a socket, for a while or for good.
    pub(in crate::broker) fn is_closed(&self, index: usize) -> bool {
        let is_left = self.broker.events.is_stopping() && !self.accepts_while_stopping(index);
        is_left || self.closed.contains(&index)
    }

    /// The time at which closed sockets are opened again, or an exhaustion is over.
    pub(in crate::broker) fn due(&self) -> Option<Instant> {
        let over = self.exhausted.map(|since| since + EXHAUSTED_QUIET);
        self.closed_until.into_iter().chain(over).min()
    }

    /// Watches a socket in both epolls. The kernel wakes a waiter of the epoll that was added first, so idle
    /// threads come before the accept loop.
    fn watch(&self, index: usize) -> nix::Result<()> {
        let listener = &self.broker.sockets[index].listener;
        if !self.broker.events.is_stopping() {
            self.workers.epoll().add(listener, event(index))?;
        }
        self.epoll.add(listener, event(index))
    }

    /// Stops watching a socket, where it was watched.
    fn unwatch(&self, index: usize) -> nix::Result<()> {
        let listener = &self.broker.sockets[index].listener;
        self.workers.epoll().delete(listener).or_else(unless(Errno::ENOENT))?;
        self.epoll.delete(listener).or_else(unless(Errno::ENOENT))
    }

    /// Notes that a thread closed a socket to direct accepts.
    pub(super) fn note_shut(&mut self, index: usize) {
        self.shut.insert(index);
    }

    /// Opens calm sockets to direct accepts again.
    pub(super) fn open_direct(&mut self, is_calm: impl Fn(usize) -> bool) -> io::Result<()> {
        if self.shut.is_empty() || self.broker.events.is_stopping() {
            return Ok(());
        }
        let calm = |index: &usize| !self.is_closed(*index) && is_calm(*index);
        for index in self.shut.iter().copied().filter(calm).collect::<Vec<_>>() {
            self.open(index)?;
        }
        Ok(())
    }

    /// Watches a socket anew: the accept loop may watch it already, and the epoll of the idle threads must be
    /// added first.
    fn open(&mut self, index: usize) -> io::Result<()> {
        self.unwatch(index)?;
        self.shut.remove(&index);
        if let Err(errno) = self.watch(index) {
            self.closed.insert(index);
            self.give_up(&errno.into())?;
        }
        Ok(())
    }

    /// Closes all sockets for a while, because the kernel is out of a resource.
    pub(in crate::broker) fn give_up(&mut self, why: &io::Error) -> io::Result<()> {
        if self.exhausted.replace(Instant::now()).is_none() {
            (self.broker.say)(&Notice::Exhausted(why));
        }
        let stopping = self.broker.events.is_stopping();
        let all =
            (0..self.broker.sockets.len()).filter(|&index| !stopping || self.accepts_while_stopping(index));
        self.close(&all.collect::<Vec<_>>())
    }

    /// Closes these sockets for a while.
    pub(in crate::broker) fn close(&mut self, sockets: &[usize]) -> io::Result<()> {
        for &index in sockets {
            self.closed.insert(index);
            self.unwatch(index)?;
        }
        self.closed_until.get_or_insert_with(|| Instant::now() + ACCEPT_BACKOFF);
        Ok(())
    }

    /// Opens closed sockets again, once their time is up.
    pub(in crate::broker) fn reopen(&mut self) -> io::Result<()> {
        if self.exhausted.take_if(|since| since.elapsed() >= EXHAUSTED_QUIET).is_some() {
            (self.broker.say)(&Notice::ExhaustedOver);
        }
        if self.closed_until.is_none_or(|until| Instant::now() < until) {
            return Ok(());
        }
        self.closed_until = None;
        // A socket that cannot be opened is closed again for a while.
        std::mem::take(&mut self.closed).into_iter().try_for_each(|index| self.open(index))
    }

    /// Begins the stop: from now on only the accept loop accepts, and only at the broker's own sockets.
    pub(in crate::broker) fn stop(&mut self) -> io::Result<()> {
        for index in 0..self.broker.sockets.len() {
            self.unwatch(index)?;
            self.closed.remove(&index);
            if self.accepts_while_stopping(index) {
                self.epoll.add(self.broker.sockets[index].listener, event(index))?;
            }
        }
        Ok(())
    }

    /// Whether connections from before the stop may still be in the backlog of a socket of the broker's own,
    /// which had no room for them.
    pub(super) fn owes_room(&self) -> bool {
        let stopped_at = self.broker.events.stopped_at();
        let is_early = stopped_at.is_some_and(|since| since.elapsed() < STOP_CALLERS_MAX);
        is_early && self.closed.iter().any(|&index| self.accepts_while_stopping(index))
    }

    /// Closes the broker's own sockets to new connections, and closes the connections that came too late to
    /// be answered: their requests stay unread, so their callers see `ECONNRESET`.
    pub(in crate::broker) fn turn_away(&self) {
        for (index, socket) in self.broker.sockets.iter().enumerate() {
            if !self.accepts_while_stopping(index) {
                continue;
            }
            // A socket that cannot be shut down is closed by the end of this process.
            shutdown(socket.listener.as_raw_fd(), Shutdown::Read).ok();
            while let Ok(fd) = sys::accept(socket.listener.as_fd()) {
                drop(Connection::new(fd, index, self.broker.closing.clone()));
            }
        }
    }
}

fn event(index: usize) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE, EventToken::Listener(index).encode())
}

/// Ignores one error.
fn unless(expected: Errno) -> impl Fn(Errno) -> nix::Result<()> {
    move |errno| if errno == expected { Ok(()) } else { Err(errno) }
}
