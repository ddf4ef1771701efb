//! The loop that accepts: one thread, the main one, that reads no request and writes no reply. A connection waits here
//! until it says something; then a thread answers it, as soon as its socket has one to spare. More connections than
//! fit stay in the kernel's backlog.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;

use crate::limits::{ACCEPT_BACKOFF, SILENCE_MAX, SOCKET_THREADS_SPARE};
use crate::refusal::Refusal;
use crate::spawn::ask_kept;
use crate::sys;

use super::call::{answer, refuse, turn_out};
use super::keeper::Keeper;
use super::notice::Notice;
use super::reload::reload;
use super::state::Broker;
use super::status::Herald;
use super::token::Token;
use super::visit::Visit;
use super::workers::Workers;

/// Somebody who has not said anything yet.
struct Visitor {
    visit: Visit,
    socket: usize,
    since: Instant,
}

/// The accept loop's own state.
pub(super) struct Lobby {
    broker: Arc<Broker>,
    epoll: Epoll,
    signals: SignalFd,
    keeper: Keeper,
    herald: Herald,
    workers: Workers<Spoken>,
    /// By number, and so by age: the first one is the first to run out of time.
    visitors: BTreeMap<u64, Visitor>,
    /// Those who said something, by socket, in turn.
    spoken: Vec<VecDeque<Visit>>,
    next: u64,
    room: usize,
    /// Until when nobody is accepted: the lobby is full, or the kernel has no descriptor to give.
    closed_until: Option<Instant>,
    accepts_while_stopping: Vec<bool>,
}

impl Lobby {
    /// A lobby with room for `room` connections. `owned` says which sockets are the broker's own: those go on to
    /// answer, with a refusal, while the broker stops; the others' callers wait for the next broker.
    pub(super) fn new(
        broker: Arc<Broker>,
        signals: SignalFd,
        herald: Herald,
        open_files: u64,
        room: usize,
        owned: Vec<bool>,
    ) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        watch(&epoll, signals.as_fd(), Token::Signal)?;
        watch(&epoll, broker.events.wakes().as_fd(), Token::Wake)?;
        for (index, socket) in broker.sockets.iter().enumerate() {
            watch(&epoll, socket.listener.as_fd(), Token::Listener(index))?;
        }
        let spoken = broker.sockets.iter().map(|_| VecDeque::new()).collect();
        let mut lobby = Self {
            broker,
            epoll,
            signals,
            keeper: Keeper::new(open_files),
            herald,
            workers: Workers::new(serve),
            visitors: BTreeMap::new(),
            spoken,
            next: 0,
            room,
            closed_until: None,
            accepts_while_stopping: owned,
        };
        lobby.start_nursery()?;
        Ok(lobby)
    }

    /// Serves until the broker stops and every call has ended.
    pub(super) fn run(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 64];
        self.herald.ready(&self.broker);
        while !(self.broker.events.is_stopping() && self.is_empty()) {
            let count = self.wait(&mut events)?;
            for event in &events[..count] {
                self.attend(Token::decode(event.data()))?;
            }
            self.expire();
            self.reopen()?;
            self.replace_nursery()?;
            if self.broker.events.is_stopping() {
                self.usher_out()?;
            }
            self.dispatch()?;
            self.settle();
            self.herald.speak(&self.broker);
        }
        Ok(())
    }

    /// Ends the nursery: no call runs any more.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.keeper.end(&self.broker.pool, &self.broker.kin)
    }

    /// Writes the counts of refusals whose time has come.
    fn settle(&self) {
        for ruleset in self.broker.rulesets() {
            ruleset.heed(ruleset.manifest().settle());
        }
    }

    fn is_empty(&self) -> bool {
        self.spoken.iter().all(VecDeque::is_empty)
            && self.broker.sockets.iter().all(|socket| socket.gate.is_idle())
    }

    fn wait(&self, events: &mut [EpollEvent]) -> io::Result<usize> {
        let silence = self.visitors.first_key_value().map(|(_, visitor)| visitor.since + SILENCE_MAX);
        let count = self.broker.rulesets().iter().filter_map(|ruleset| ruleset.manifest().next_due()).min();
        let news = self.herald.due(&self.broker.board);
        let dates = [silence, self.closed_until, self.keeper.due(), count, news];
        let next = dates.into_iter().flatten().min();
        let milliseconds = next
            .map(|next| next.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000))
            .map(|milliseconds| i32::try_from(milliseconds).unwrap_or(i32::MAX));
        let timeout = milliseconds
            .map_or(EpollTimeout::NONE, |ms| EpollTimeout::try_from(ms).unwrap_or(EpollTimeout::MAX));
        match self.epoll.wait(events, timeout) {
            Err(Errno::EINTR) => Ok(0),
            result => Ok(result?),
        }
    }

    fn attend(&mut self, token: Token) -> io::Result<()> {
        match token {
            Token::Signal => self.obey(),
            Token::Wake => {
                self.broker.events.woken();
                Ok(())
            }
            Token::Nursery => self.keeper.lose(&self.broker.pool, &self.broker.kin),
            Token::Listener(index) => self.accept(index),
            Token::Visitor(number) => {
                self.hear(number);
                Ok(())
            }
        }
    }

    /// HUP reloads, TERM and INT stop, a second one hurries.
    fn obey(&mut self) -> io::Result<()> {
        // One that cannot be read now is there at the next look.
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if signal.ssi_signo == Signal::SIGHUP as u32 {
                self.reload();
            } else if self.broker.events.is_stopping() {
                self.broker.events.hurry();
            } else {
                self.stop()?;
            }
        }
        Ok(())
    }

    fn reload(&mut self) {
        if self.broker.events.is_stopping() {
            return reload(&self.broker);
        }
        self.herald.reloading(&self.broker);
        reload(&self.broker);
        self.herald.ready(&self.broker);
    }

    fn stop(&mut self) -> io::Result<()> {
        (self.broker.say)(&Notice::Stopping);
        self.broker.events.stop();
        self.broker.scopes.stop();
        // Those who could not be asked are killed at the end all the same.
        ask_kept(&self.broker.kin).ok();
        self.herald.stopping(&self.broker);
        for (socket, &own) in self.broker.sockets.iter().zip(&self.accepts_while_stopping) {
            if !own && self.closed_until.is_none() {
                self.epoll.delete(&socket.listener)?;
            }
        }
        for socket in &self.broker.sockets {
            socket.gate.turn_out().iter().for_each(|admitted| turn_out(&self.broker, socket, admitted));
        }
        Ok(())
    }

    /// While the broker stops: has everybody answered who is here, and who stands at a socket of the broker's own.
    fn usher_out(&mut self) -> io::Result<()> {
        for index in 0..self.broker.sockets.len() {
            if self.accepts_while_stopping[index] {
                self.accept(index)?;
            }
        }
        while let Some((_, visitor)) = self.visitors.pop_first() {
            self.forget(&visitor.visit);
            self.spoken[visitor.socket].push_back(visitor.visit);
        }
        Ok(())
    }

    /// Takes in everybody who waits at a socket, as long as there is room.
    fn accept(&mut self, index: usize) -> io::Result<()> {
        let broker = self.broker.clone();
        let listener = broker.sockets[index].listener.as_fd();
        while self.closed_until.is_none() {
            if self.visitors.len() + self.spoken.iter().map(VecDeque::len).sum::<usize>() >= self.room {
                return self.close();
            }
            let connection = match sys::accept(listener) {
                Ok(connection) => connection,
                Err(source) if source.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(source) if source.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(source) => {
                    (broker.say)(&Notice::Exhausted(&source));
                    return self.close();
                }
            };
            let visit = Visit::new(connection);
            if visit.has_spoken() {
                self.spoken[index].push_back(visit);
                continue;
            }
            if let Err(source) = watch(&self.epoll, visit.connection.as_fd(), Token::Visitor(self.next)) {
                // The user has too many watches: this caller sees its connection close, the others wait.
                (broker.say)(&Notice::Exhausted(&source));
                return self.close();
            }
            let visitor = Visitor { visit, socket: index, since: Instant::now() };
            self.visitors.insert(self.next, visitor);
            self.next += 1;
        }
        Ok(())
    }

    /// Accepts nobody for a while.
    fn close(&mut self) -> io::Result<()> {
        if self.closed_until.is_some() {
            return Ok(());
        }
        self.closed_until = Some(Instant::now() + ACCEPT_BACKOFF);
        // One that is not watched need not be left out.
        self.listeners(|epoll, listener, _| Ok(epoll.delete(listener).or_else(unless(Errno::ENOENT))?))
    }

    /// Accepts again, once the time is up.
    fn reopen(&mut self) -> io::Result<()> {
        if self.closed_until.is_none_or(|until| Instant::now() < until) {
            return Ok(());
        }
        self.closed_until = None;
        let opened = self.listeners(|epoll, listener, index| {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, Token::Listener(index).encode());
            Ok(epoll.add(listener, event).or_else(unless(Errno::EEXIST))?)
        });
        if let Err(source) = opened {
            (self.broker.say)(&Notice::Exhausted(&source));
            self.closed_until = Some(Instant::now() + ACCEPT_BACKOFF);
        }
        Ok(())
    }

    fn listeners(&self, change: impl Fn(&Epoll, BorrowedFd<'_>, usize) -> io::Result<()>) -> io::Result<()> {
        let stopping = self.broker.events.is_stopping();
        let sockets = self.broker.sockets.iter().zip(&self.accepts_while_stopping).enumerate();
        for (index, (socket, _)) in sockets.filter(|(_, (_, own))| !stopping || **own) {
            change(&self.epoll, socket.listener.as_fd(), index)?;
        }
        Ok(())
    }

    /// A visitor said something, or left.
    fn hear(&mut self, number: u64) {
        let Some(visitor) = self.visitors.remove(&number) else { return };
        self.forget(&visitor.visit);
        self.spoken[visitor.socket].push_back(visitor.visit);
    }

    /// Answers those who said nothing for too long.
    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(entry) =
            self.visitors.first_entry().filter(|entry| entry.get().since + SILENCE_MAX <= now)
        {
            let visitor = entry.remove();
            self.forget(&visitor.visit);
            refuse(&self.broker, &self.broker.sockets[visitor.socket], &visitor.visit, &Refusal::Silence);
        }
    }

    fn forget(&self, visit: &Visit) {
        // A watch that stays is of no visitor any more, and ends with the connection.
        self.epoll.delete(&visit.connection).ok();
    }

    /// Gives those who spoke a thread each, in turn, as far as each socket has one to spare.
    fn dispatch(&mut self) -> io::Result<()> {
        for index in 0..self.spoken.len() {
            let calls = self.broker.sockets[index].rules.policy().max_calls();
            let threads = calls.saturating_add(SOCKET_THREADS_SPARE);
            while !self.spoken[index].is_empty() && self.broker.sockets[index].gate.begin_thread(threads) {
                let Some(visit) = self.spoken[index].pop_front() else { break };
                let spoken = Spoken { broker: self.broker.clone(), socket: index, visit };
                if let Err((source, spoken)) = self.workers.hand(spoken) {
                    (self.broker.say)(&Notice::Exhausted(&source));
                    self.broker.sockets[index].gate.end_thread();
                    self.spoken[index].push_back(spoken.visit);
                    return self.close();
                }
            }
        }
        Ok(())
    }

    fn start_nursery(&mut self) -> io::Result<()> {
        let epoll = &self.epoll;
        self.keeper.start(&self.broker.pool, &self.broker.kin, |channel| watch_hangup(epoll, channel.as_fd()))
    }

    /// Makes another nursery when it is time.
    fn replace_nursery(&mut self) -> io::Result<()> {
        if self.keeper.due().is_none_or(|due| Instant::now() < due) {
            return Ok(());
        }
        match self.start_nursery() {
            Ok(()) => (self.broker.say)(&Notice::NurseryReplaced),
            Err(source) => {
                (self.broker.say)(&Notice::NoNursery(&source));
                self.end()?;
            }
        }
        Ok(())
    }
}

/// Takes one error for none.
fn unless(expected: Errno) -> impl Fn(Errno) -> nix::Result<()> {
    move |errno| if errno == expected { Ok(()) } else { Err(errno) }
}

fn watch(epoll: &Epoll, descriptor: BorrowedFd<'_>, token: Token) -> io::Result<()> {
    Ok(epoll.add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, token.encode()))?)
}

/// Only the other side's end is of interest: what waits in the channel is the pool's.
fn watch_hangup(epoll: &Epoll, channel: BorrowedFd<'_>) -> io::Result<()> {
    Ok(epoll.add(channel, EpollEvent::new(EpollFlags::empty(), Token::Nursery.encode()))?)
}

/// A connection that said something, to a socket.
struct Spoken {
    broker: Arc<Broker>,
    socket: usize,
    visit: Visit,
}

/// The work of a thread.
fn serve(Spoken { broker, socket, visit }: Spoken) {
    let ending = Ending(&broker, socket);
    answer(&broker, &broker.sockets[socket], visit);
    broker.pool.refill();
    drop(ending);
}

/// Gives the thread's place back, even from a panic.
struct Ending<'b>(&'b Broker, usize);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let stopping = self.0.events.is_stopping();
        if self.0.sockets[self.1].gate.end_thread() || stopping {
            self.0.events.wake();
        }
    }
}
