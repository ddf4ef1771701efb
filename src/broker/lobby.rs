//! The loop that accepts: one thread, the main one, that reads no request and writes no reply. A connection waits here
//! until it says something; then a thread answers it, as soon as its socket has one to spare. More connections than
//! fit stay in the kernel's backlog.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;

use crate::limits::{ACCEPT_BACKOFF, ACCEPTS_MAX, SILENCE_CROWDED, SILENCE_MAX, SOCKET_THREADS_SPARE};
use crate::refusal::Refusal;
use crate::spawn::ask_kept;
use crate::sys;

use super::attendant::{Spoken, serve};
use super::call::{refuse, turn_out};
use super::crowd::Crowd;
use super::keeper::Keeper;
use super::notice::Notice;
use super::reload::Reloader;
use super::ruleset::Ruleset;
use super::state::Broker;
use super::status::Herald;
use super::token::Token;
use super::visit::Visit;
use super::workers::Workers;

/// The accept loop's own state.
pub(super) struct Lobby {
    broker: Arc<Broker>,
    epoll: Epoll,
    signals: SignalFd,
    keeper: Keeper,
    herald: Herald,
    reloader: Reloader,
    workers: Workers<Spoken>,
    crowd: Crowd<Visit>,
    /// The sockets at which nobody is accepted: there is no room, or the kernel has no descriptor to give.
    closed: BTreeSet<usize>,
    /// Until when.
    closed_until: Option<Instant>,
    /// Where refusals are being counted.
    counting: Vec<Arc<Ruleset>>,
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
        let crowd = Crowd::new(broker.sockets.len(), room);
        let mut lobby = Self {
            broker,
            epoll,
            signals,
            keeper: Keeper::new(open_files),
            herald,
            reloader: Reloader::default(),
            workers: Workers::new(serve),
            crowd,
            closed: BTreeSet::new(),
            closed_until: None,
            counting: Vec::new(),
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
            self.reloader.advance(&self.broker, &mut self.herald);
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

    fn is_empty(&self) -> bool {
        self.crowd.is_heard() && self.broker.sockets.iter().all(|socket| socket.gate.is_idle())
    }

    fn wait(&self, events: &mut [EpollEvent]) -> io::Result<usize> {
        let silence = self.crowd.oldest().map(|(_, visitor)| visitor.since + SILENCE_MAX);
        let count = self.counting.iter().filter_map(|ruleset| ruleset.manifest().next_due()).min();
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
            Token::Listener(index) => self.accept(index).map(drop),
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
                self.reloader.ask(&self.broker, &mut self.herald);
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
        // Those who could not be asked are killed at the end all the same.
        ask_kept(&self.broker.kin).ok();
        self.herald.stopping(&self.broker);
        for (index, socket) in self.broker.sockets.iter().enumerate() {
            if !self.accepts_while_stopping[index] && !self.closed.remove(&index) {
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
            while self.accepts_while_stopping[index] && self.accept(index)? {}
        }
        while let Some((number, _)) = self.crowd.oldest() {
            self.hear(number);
        }
        Ok(())
    }

    /// Takes in some of those who wait at a socket, as long as there is room. Gives whether more may wait.
    fn accept(&mut self, index: usize) -> io::Result<bool> {
        let broker = self.broker.clone();
        let listener = broker.sockets[index].listener.as_fd();
        for _ in 0..ACCEPTS_MAX {
            if self.closed.contains(&index) {
                return Ok(false);
            }
            if !self.has_room(index) {
                return self.close(&[index]).map(|()| false);
            }
            let connection = match sys::accept(listener) {
                Ok(connection) => connection,
                Err(source) if source.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(source) if source.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(source) => return self.give_up(&source).map(|()| false),
            };
            let visit = Visit::new(connection);
            if visit.has_spoken() {
                // It has a thread before the next one is let in.
                self.crowd.push(index, visit);
                return Ok(true);
            }
            let number = self.crowd.next_number();
            if let Err(source) = watch(&self.epoll, visit.connection.as_fd(), Token::Visitor(number)) {
                // The user has too many watches: this caller sees its connection close, the others wait.
                return self.give_up(&source).map(|()| false);
            }
            self.crowd.admit(index, visit, Instant::now());
        }
        Ok(true)
    }

    /// Whether one more may come in at a socket: where it is full, whoever said nothing for a while makes room.
    fn has_room(&mut self, index: usize) -> bool {
        let now = Instant::now();
        while !self.crowd.has_room(index) {
            let Some((number, oldest)) = self.crowd.oldest_at(index) else { return false };
            if oldest.since + SILENCE_CROWDED > now {
                return false;
            }
            if oldest.visit.has_spoken() {
                self.hear(number);
            } else {
                self.show_out(number, &Refusal::Crowded);
            }
        }
        true
    }

    /// The kernel has no more to give: nobody is accepted for a while.
    fn give_up(&mut self, why: &io::Error) -> io::Result<()> {
        (self.broker.say)(&Notice::Exhausted(why));
        let stopping = self.broker.events.is_stopping();
        let all =
            (0..self.broker.sockets.len()).filter(|&index| !stopping || self.accepts_while_stopping[index]);
        self.close(&all.collect::<Vec<_>>())
    }

    /// Accepts nobody at these sockets for a while.
    fn close(&mut self, sockets: &[usize]) -> io::Result<()> {
        for &index in sockets {
            if self.closed.insert(index) {
                // One that is not watched need not be left out.
                let listener = self.broker.sockets[index].listener.as_fd();
                self.epoll.delete(listener).or_else(unless(Errno::ENOENT))?;
            }
        }
        self.closed_until.get_or_insert_with(|| Instant::now() + ACCEPT_BACKOFF);
        Ok(())
    }

    /// Accepts again, once the time is up.
    fn reopen(&mut self) -> io::Result<()> {
        if self.closed_until.is_none_or(|until| Instant::now() < until) {
            return Ok(());
        }
        self.closed_until = None;
        while let Some(index) = self.closed.pop_first() {
            let listener = self.broker.sockets[index].listener.as_fd();
            if let Err(source) = watch(&self.epoll, listener, Token::Listener(index)) {
                self.closed.insert(index);
                return self.give_up(&source);
            }
        }
        Ok(())
    }

    /// A visitor said something, or left.
    fn hear(&mut self, number: u64) {
        if let Some(visit) = self.crowd.hear(number) {
            forget(&self.epoll, visit);
        }
    }

    /// Answers those who said nothing for too long.
    fn expire(&mut self) {
        let now = Instant::now();
        while let Some((number, oldest)) = self.crowd.oldest() {
            if oldest.since + SILENCE_MAX > now {
                return;
            }
            self.show_out(number, &Refusal::Silence);
        }
    }

    fn show_out(&mut self, number: u64, why: &Refusal) {
        let Some(visitor) = self.crowd.dismiss(number) else { return };
        forget(&self.epoll, &visitor.visit);
        refuse(&self.broker, &self.broker.sockets[visitor.socket], &visitor.visit, why);
    }

    /// Gives those who spoke a thread each, in turn, as far as each socket has one to spare.
    fn dispatch(&mut self) -> io::Result<()> {
        for index in self.crowd.spoken() {
            let calls = self.broker.sockets[index].rules.policy().max_calls();
            let threads = calls.saturating_add(SOCKET_THREADS_SPARE);
            while self.crowd.waits_at(index) && self.broker.sockets[index].gate.begin_thread(threads) {
                let Some(visit) = self.crowd.pop(index) else { break };
                let spoken = Spoken { broker: self.broker.clone(), socket: index, visit };
                if let Err((source, spoken)) = self.workers.hand(spoken) {
                    self.broker.sockets[index].gate.end_thread();
                    self.crowd.push(index, spoken.visit);
                    return self.give_up(&source);
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

fn forget(epoll: &Epoll, visit: &Visit) {
    // A watch that stays is of no visitor any more, and ends with the connection.
    epoll.delete(&visit.connection).ok();
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
