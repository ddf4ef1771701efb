//! At which sockets it is seen who connects, and by whom: by idle threads, at the door, before the accept loop. Where
//! there is no room, or the kernel has no more to give, by nobody for a while; more than fit stay in the backlog.

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

/// The sockets, as the accept loop sees them.
pub(in crate::broker) struct ListenerSet {
    broker: Arc<Broker>,
    /// Where the accept loop waits.
    pub(super) epoll: Epoll,
    pub(super) workers: ThreadPool<DirectAccept>,
    /// The sockets at which nobody is accepted.
    closed: BTreeSet<usize>,
    /// Until when.
    closed_until: Option<Instant>,
    /// When the kernel last had no more to give, until that is over.
    exhausted: Option<Instant>,
    /// The sockets whose door is shut: there the accept loop alone sees who connects.
    shut: BTreeSet<usize>,
    accepts_while_stopping: Vec<bool>,
}

impl ListenerSet {
    /// All open. `owned` says which sockets are the broker's own: at those it accepts while it stops, too.
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

    /// Whether nobody is accepted at a socket: for a while, or by this broker any more.
    pub(in crate::broker) fn is_closed(&self, index: usize) -> bool {
        let is_left = self.broker.events.is_stopping() && !self.accepts_while_stopping(index);
        is_left || self.closed.contains(&index)
    }

    /// When it is accepted again at those that are closed, or something is over.
    pub(in crate::broker) fn due(&self) -> Option<Instant> {
        let over = self.exhausted.map(|since| since + EXHAUSTED_QUIET);
        self.closed_until.into_iter().chain(over).min()
    }

    /// Has those who connect at a socket seen. Of two that see the same, the kernel wakes the one that was first: so the
    /// door is.
    fn watch(&self, index: usize) -> nix::Result<()> {
        let listener = &self.broker.sockets[index].listener;
        if !self.broker.events.is_stopping() {
            self.workers.epoll().add(listener, event(index))?;
        }
        self.epoll.add(listener, event(index))
    }

    /// Has nobody see them. One that is not watched need not be left out.
    fn unwatch(&self, index: usize) -> nix::Result<()> {
        let listener = &self.broker.sockets[index].listener;
        self.workers.epoll().delete(listener).or_else(unless(Errno::ENOENT))?;
        self.epoll.delete(listener).or_else(unless(Errno::ENOENT))
    }

    /// A thread shut this door.
    pub(super) fn note_shut(&mut self, index: usize) {
        self.shut.insert(index);
    }

    /// Opens the doors that were shut, where it is calm.
    pub(super) fn open_doors(&mut self, is_calm: impl Fn(usize) -> bool) -> io::Result<()> {
        if self.shut.is_empty() || self.broker.events.is_stopping() {
            return Ok(());
        }
        let calm = |index: &usize| !self.is_closed(*index) && is_calm(*index);
        for index in self.shut.iter().copied().filter(calm).collect::<Vec<_>>() {
            self.open(index)?;
        }
        Ok(())
    }

    /// From nothing: one side may be watched already, and the door must be first.
    fn open(&mut self, index: usize) -> io::Result<()> {
        self.unwatch(index)?;
        self.shut.remove(&index);
        if let Err(errno) = self.watch(index) {
            self.closed.insert(index);
            self.give_up(&errno.into())?;
        }
        Ok(())
    }

    /// The kernel has no more to give: nobody is accepted for a while.
    pub(in crate::broker) fn give_up(&mut self, why: &io::Error) -> io::Result<()> {
        if self.exhausted.replace(Instant::now()).is_none() {
            (self.broker.say)(&Notice::Exhausted(why));
        }
        let stopping = self.broker.events.is_stopping();
        let all =
            (0..self.broker.sockets.len()).filter(|&index| !stopping || self.accepts_while_stopping(index));
        self.close(&all.collect::<Vec<_>>())
    }

    /// Accepts nobody at these sockets for a while.
    pub(in crate::broker) fn close(&mut self, sockets: &[usize]) -> io::Result<()> {
        for &index in sockets {
            self.closed.insert(index);
            self.unwatch(index)?;
        }
        self.closed_until.get_or_insert_with(|| Instant::now() + ACCEPT_BACKOFF);
        Ok(())
    }

    /// Accepts again, once the time is up.
    pub(in crate::broker) fn reopen(&mut self) -> io::Result<()> {
        if self.exhausted.take_if(|since| since.elapsed() >= EXHAUSTED_QUIET).is_some() {
            (self.broker.say)(&Notice::ExhaustedOver);
        }
        if self.closed_until.is_none_or(|until| Instant::now() < until) {
            return Ok(());
        }
        self.closed_until = None;
        // What cannot be opened is closed again, and waits its time.
        std::mem::take(&mut self.closed).into_iter().try_for_each(|index| self.open(index))
    }

    /// The broker stops: only the accept loop lets anybody in from now on, and at its own sockets alone.
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

    /// Whether callers who came before the stop may still wait at a socket of the broker's own, which had no
    /// room for them.
    pub(super) fn owes_room(&self) -> bool {
        let stopped_at = self.broker.events.stopped_at();
        let is_early = stopped_at.is_some_and(|since| since.elapsed() < STOP_CALLERS_MAX);
        is_early && self.closed.iter().any(|&index| self.accepts_while_stopping(index))
    }

    /// Closes the broker's own sockets to whoever comes later, and lets go of those who came too late to be
    /// answered: what they sent stays unread, which they are told.
    pub(in crate::broker) fn turn_away(&self) {
        for (index, socket) in self.broker.sockets.iter().enumerate() {
            if !self.accepts_while_stopping(index) {
                continue;
            }
            // Of what cannot be closed in this way, the end of this process closes the rest.
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

/// Takes one error for none.
fn unless(expected: Errno) -> impl Fn(Errno) -> nix::Result<()> {
    move |errno| if errno == expected { Ok(()) } else { Err(errno) }
}
