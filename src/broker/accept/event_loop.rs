//! The accept loop: one thread, the main one, that reads no request. A connection waits here until it can be
//! read; then a thread answers it, as soon as the socket has a thread to spare. More connections than fit
//! stay in the kernel's backlog.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags, EpollTimeout};

use crate::broker::call::reply::{refuse, turn_out};
use crate::broker::client_request::ClientRequest;
use crate::broker::connection::Connection;
use crate::broker::notice::Notice;
use crate::broker::nursery_supervisor::NurserySupervisor;
use crate::broker::reload::Reloader;
use crate::broker::ruleset::Ruleset;
use crate::broker::service_status::ServiceStatus;
use crate::broker::signals::{BrokerSignals, SignalOrder};
use crate::broker::state::Broker;
use crate::limits::{ACCEPTS_MAX, SILENCE_CROWDED, SILENCE_MAX};
use crate::refusal::Refusal;
use crate::spawn::ask_kept;
use crate::sys;

use super::direct::DeferredAccept;
use super::job::{Job, ReadyConnection, ThreadSlot};
use super::listeners::ListenerSet;
use super::pending::PendingConnections;
use super::token::EventToken;

/// The accept loop's own state.
pub(in crate::broker) struct EventLoop {
    broker: Arc<Broker>,
    pub(in crate::broker) listener_set: ListenerSet,
    signals: BrokerSignals,
    supervisor: NurserySupervisor,
    service_status: ServiceStatus,
    reloader: Reloader,
    pending: PendingConnections<Connection>,
    /// The rulesets with counts of refusals that are not written yet.
    counting: Vec<Arc<Ruleset>>,
    /// The sockets at which waiting calls are to be looked after, as soon as there is a thread.
    unhandled: BTreeSet<usize>,
}

impl EventLoop {
    /// An accept loop with room for `room` connections that cannot be read yet. `owned` says which sockets
    /// are the broker's own: there it refuses requests while it stops; at the others they wait for the next
    /// broker.
    pub(in crate::broker) fn new(
        broker: Arc<Broker>,
        signals: BrokerSignals,
        service_status: ServiceStatus,
        open_files: u64,
        room: usize,
        owned: Vec<bool>,
    ) -> io::Result<Self> {
        let listener_set = ListenerSet::new(broker.clone(), owned)?;
        watch(&listener_set.epoll, signals.as_fd(), EventToken::Signal)?;
        watch(&listener_set.epoll, broker.events.wakes().as_fd(), EventToken::Wake)?;
        let pending = PendingConnections::new(broker.sockets.len(), room);
        Ok(Self {
            broker,
            listener_set,
            signals,
            supervisor: NurserySupervisor::new(open_files),
            service_status,
            reloader: Reloader::default(),
            pending,
            counting: Vec::new(),
            unhandled: BTreeSet::new(),
        })
    }

    /// Starts the nursery, and sees it make a launcher: before that, the service manager must not be told
    /// `READY=1`.
    pub(in crate::broker) fn prove(&mut self) -> io::Result<()> {
        self.start_nursery()?;
        self.broker.pool.prove()
    }

    /// Serves until the broker stops and every call has ended, or has waited long enough.
    pub(in crate::broker) fn run(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        self.service_status.ready(&self.broker);
        while !(self.broker.events.is_stopping() && (self.is_idle() || self.broker.events.is_late())) {
            let count = self.wait(&mut events)?;
            for event in &events[..count] {
                self.attend(EventToken::decode(event.data()))?;
            }
            self.take_over()?;
            self.attend_piped();
            self.reloader.advance(&self.broker, &mut self.service_status);
            self.expire();
            self.listener_set.reopen()?;
            self.replace_nursery()?;
            if self.broker.events.is_stopping() {
                self.answer_all()?;
            }
            self.hand_waiting()?;
            self.dispatch()?;
            self.listener_set.open_direct(|index| !self.pending.waits_at(index))?;
            self.settle();
            self.service_status.speak(&self.broker);
        }
        if !self.is_idle() {
            (self.broker.say)(&Notice::CallsLeft);
        }
        Ok(())
    }

    /// Ends the nursery: no call runs any more.
    pub(in crate::broker) fn end(&mut self) -> io::Result<()> {
        self.supervisor.end(&self.broker.pool, &self.broker.reaper)
    }

    /// Writes the counts of refusals that are due.
    fn settle(&mut self) {
        self.broker.take_counting(&mut self.counting);
        let now = Instant::now();
        self.counting.retain(|ruleset| {
            let due = ruleset.manifest().next_due();
            if due.is_some_and(|due| due <= now) {
                ruleset.heed(ruleset.manifest().settle());
                return ruleset.manifest().next_due().is_some();
            }
            due.is_some()
        });
    }

    /// Whether no request is to be answered and no call waits.
    pub(in crate::broker) fn is_idle(&self) -> bool {
        (self.listener_set.workers.source().is_clear() && self.pending.is_heard())
            && !self.listener_set.owes_room()
            && self.broker.sockets.iter().all(|socket| socket.admission.is_idle())
    }

    fn wait(&self, events: &mut [EpollEvent]) -> io::Result<usize> {
        let silence = self.pending.oldest().map(|(_, pending)| pending.since + SILENCE_MAX);
        let count = self.counting.iter().filter_map(|ruleset| ruleset.manifest().next_due()).min();
        let news = self.service_status.due(&self.broker.board);
        let dates = [
            silence,
            self.listener_set.due(),
            self.supervisor.due(),
            count,
            news,
            self.broker.events.late_at(),
            self.broker.next_queued(),
            self.broker.adapters.due(),
        ];
        let next = dates.into_iter().flatten().min();
        let milliseconds = next
            .map(|next| next.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000))
            .map(|milliseconds| i32::try_from(milliseconds).unwrap_or(i32::MAX));
        let timeout = milliseconds
            .map_or(EpollTimeout::NONE, |ms| EpollTimeout::try_from(ms).unwrap_or(EpollTimeout::MAX));
        match self.listener_set.epoll.wait(events, timeout) {
            Err(Errno::EINTR) => Ok(0),
            result => Ok(result?),
        }
    }

    fn attend(&mut self, token: EventToken) -> io::Result<()> {
        match token {
            EventToken::Signal => self.obey(),
            EventToken::Wake => {
                self.broker.events.woken();
                Ok(())
            }
            EventToken::Nursery => self.lose_nursery(),
            EventToken::Listener(index) => self.accept(index).map(drop),
            EventToken::Pending(number) => {
                self.hear(number);
                Ok(())
            }
        }
    }

    /// Obeys signals: HUP reloads, TERM and INT stop the broker, a second TERM or INT hurries the stop.
    fn obey(&mut self) -> io::Result<()> {
        while let Some(order) = self.signals.next() {
            if order == SignalOrder::Reload {
                self.reloader.ask(&self.broker, &mut self.service_status);
            } else if self.broker.events.is_stopping() {
                self.broker.events.hurry();
            } else {
                self.stop()?;
            }
        }
        Ok(())
    }

    fn stop(&mut self) -> io::Result<()> {
        (self.broker.say)(&Notice::Stopping);
        self.broker.events.stop();
        self.broker.scopes.stop();
        // Kept processes that cannot be signalled now are killed at the end of the stop.
        ask_kept(&self.broker.reaper).ok();
        self.service_status.stopping(&self.broker);
        self.listener_set.stop()?;
        for socket in &self.broker.sockets {
            socket.turn_out().iter().for_each(|admitted| turn_out(&self.broker, socket, admitted));
        }
        Ok(())
    }

    /// During the stop: has each pending connection answered, and each connection in the backlog of the
    /// broker's own sockets.
    fn answer_all(&mut self) -> io::Result<()> {
        for index in 0..self.broker.sockets.len() {
            while self.listener_set.accepts_while_stopping(index) && self.accept(index)? {}
        }
        while let Some((number, _)) = self.pending.oldest() {
            self.hear(number);
        }
        self.pending.idle().into_iter().for_each(|number| self.hear(number));
        Ok(())
    }

    /// Accepts some connections of a socket, as long as there is room. Returns whether more may be in the
    /// backlog.
    fn accept(&mut self, index: usize) -> io::Result<bool> {
        let broker = self.broker.clone();
        let listener = broker.sockets[index].listener.as_fd();
        for _ in 0..ACCEPTS_MAX {
            if self.listener_set.is_closed(index) {
                return Ok(false);
            }
            if !self.has_room(index) {
                return self.listener_set.close(&[index]).map(|()| false);
            }
            let connection = match sys::accept(listener) {
                Ok(connection) => connection,
                Err(source) if source.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(source) if source.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(source) => return self.listener_set.give_up(&source).map(|()| false),
            };
            let connection = Connection::new(connection, index, broker.closing.clone());
            if connection.is_readable() {
                // It gets a thread before the next connection is accepted.
                self.pending.push(index, connection);
                return Ok(true);
            }
            if !self.admit(index, connection)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Watches a connection until it can be read. Returns false where the kernel does not allow one more
    /// watch.
    fn admit(&mut self, index: usize, connection: Connection) -> io::Result<bool> {
        let number = self.pending.next_number();
        if let Err(source) = watch(&self.listener_set.epoll, connection.as_fd(), EventToken::Pending(number))
        {
            // The user has too many watches: this connection is closed, and later ones wait in the backlog.
            return self.listener_set.give_up(&source).map(|()| false);
        }
        self.pending.admit(index, connection, Instant::now());
        Ok(true)
    }

    /// Watches connections of version 2 for their next requests, and does what is due for those under way.
    fn attend_piped(&mut self) {
        let returned = std::mem::take(&mut *self.broker.returned.lock());
        for connection in returned {
            let number = self.pending.next_number();
            // Where the user has too many watches, the connection is closed.
            if watch(&self.listener_set.epoll, connection.as_fd(), EventToken::Pending(number)).is_ok() {
                self.pending.admit_idle(connection.socket(), connection);
            }
        }
        let now = Instant::now();
        self.broker.tell_queued(now);
        if self.broker.adapters.due().is_some_and(|due| due <= now) {
            self.broker.adapters.tidy();
        }
    }

    /// Handles the accepts that idle threads left to this loop.
    fn take_over(&mut self) -> io::Result<()> {
        for left in self.listener_set.workers.source().take_left() {
            match left {
                DeferredAccept::Look(index) => drop(self.accept(index)?),
                DeferredAccept::Shut(index) => {
                    self.listener_set.note_shut(index);
                    self.accept(index)?;
                }
                DeferredAccept::Pending(index, connection) => {
                    self.admit(index, connection)?;
                    if !self.has_room(index) {
                        self.listener_set.close(&[index])?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a socket has room for one more connection. Where it is full, a connection that was silent for
    /// `SILENCE_CROWDED` is refused to make room.
    fn has_room(&mut self, index: usize) -> bool {
        let (now, closing) = (Instant::now(), self.broker.closing.clone());
        if !closing.has_room(index) {
            return false;
        }
        while !self.pending.has_room(index, closing.held(index), closing.held_in_all()) {
            let Some((number, oldest)) = self.pending.oldest_at(index) else { return false };
            if oldest.since + SILENCE_CROWDED > now {
                return false;
            }
            if oldest.connection.is_readable() {
                self.hear(number);
            } else {
                self.turn_away_silent(number, &Refusal::Crowded);
            }
        }
        true
    }

    /// Notes that a pending connection can be read, or that its caller left.
    fn hear(&mut self, number: u64) {
        if let Some(connection) = self.pending.hear(number) {
            forget(&self.listener_set.epoll, connection);
        }
    }

    /// Refuses connections that were silent for too long.
    fn expire(&mut self) {
        let now = Instant::now();
        while let Some((number, oldest)) = self.pending.oldest() {
            if oldest.since + SILENCE_MAX > now {
                return;
            }
            self.turn_away_silent(number, &Refusal::Silence);
        }
    }

    fn turn_away_silent(&mut self, number: u64, why: &Refusal) {
        let Some(pending) = self.pending.dismiss(number) else { return };
        forget(&self.listener_set.epoll, &pending.connection);
        let request = ClientRequest::new(pending.connection);
        refuse(&self.broker, &self.broker.sockets[pending.socket], &request, why);
    }

    /// Gives a thread to each socket at which waiting calls have to be looked after.
    fn hand_waiting(&mut self) -> io::Result<()> {
        self.unhandled.extend(self.broker.take_waiting());
        for index in std::mem::take(&mut self.unhandled) {
            let socket = &self.broker.sockets[index];
            if !socket.admission.begin_waiting_thread(socket.threads_max()) {
                // The end of a thread wakes this loop, which then tries again.
                self.unhandled.insert(index);
                continue;
            }
            let job = Job::Attend(ThreadSlot::taken(self.broker.clone(), index));
            if let Err((source, job)) = self.listener_set.workers.hand(job) {
                drop(job);
                self.unhandled.insert(index);
                self.listener_set.give_up(&source)?;
            }
        }
        Ok(())
    }

    /// Gives each ready connection a thread, in turn, as far as its socket has threads to spare.
    fn dispatch(&mut self) -> io::Result<()> {
        for index in self.pending.ready() {
            let threads = self.broker.sockets[index].threads_max();
            while self.pending.waits_at(index) && self.broker.sockets[index].admission.begin_thread(threads) {
                let Some(connection) = self.pending.pop(index) else { break };
                let ready =
                    ReadyConnection { place: ThreadSlot::taken(self.broker.clone(), index), connection };
                if let Err((source, job)) = self.listener_set.workers.hand(Job::Answer(ready)) {
                    if let Job::Answer(ready) = job {
                        self.pending.push(index, ready.connection);
                    }
                    return self.listener_set.give_up(&source);
                }
            }
        }
        Ok(())
    }

    fn start_nursery(&mut self) -> io::Result<()> {
        let epoll = &self.listener_set.epoll;
        self.supervisor
            .start(&self.broker.pool, &self.broker.reaper, |channel| watch_hangup(epoll, channel.as_fd()))
    }

    /// Makes another nursery when it is time.
    fn replace_nursery(&mut self) -> io::Result<()> {
        if self.supervisor.due().is_none_or(|due| Instant::now() < due) {
            return Ok(());
        }
        match self.start_nursery() {
            Ok(()) if self.supervisor.is_news() => (self.broker.say)(&Notice::NurseryReplaced),
            Ok(()) => {}
            Err(source) => {
                self.supervisor.fail();
                if self.supervisor.is_news() {
                    (self.broker.say)(&Notice::NoNursery(&source));
                }
                self.end()?;
            }
        }
        Ok(())
    }

    fn lose_nursery(&mut self) -> io::Result<()> {
        let trouble = self.supervisor.lose(&self.broker.pool, &self.broker.reaper)?;
        if let Some(source) = trouble.filter(|_| self.supervisor.is_news()) {
            (self.broker.say)(&Notice::NoNursery(&source));
        }
        Ok(())
    }
}

fn forget(epoll: &Epoll, connection: &Connection) {
    // A watch that could not be removed belongs to no pending connection any more, and ends with this
    // connection.
    epoll.delete(connection).ok();
}

fn watch(epoll: &Epoll, descriptor: BorrowedFd<'_>, token: EventToken) -> io::Result<()> {
    Ok(epoll.add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, token.encode()))?)
}

/// Watches for the hangup of the other side alone: the pool reads the channel's messages.
fn watch_hangup(epoll: &Epoll, channel: BorrowedFd<'_>) -> io::Result<()> {
    Ok(epoll.add(channel, EpollEvent::new(EpollFlags::empty(), EventToken::Nursery.encode()))?)
}
