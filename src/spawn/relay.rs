//! The relay of one call: a thread that moves the bytes of its captured streams. It keeps no deadline of its own and
//! nobody waits for it without one: even a call that must not wait can be held up by the other side's file system, or
//! by a pipe's lock that a reader holds while its memory is fetched. Then the call goes on without it.
//!
//! The call says what it wants as an [`Order`]; the relay says what has become of it as [`News`]. Read `stream.rs` for
//! what moves when.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::audit::Captured;
use crate::limits::{CALL_STACK_BYTES, RELAY_PATIENCE};
use crate::sys;

use super::descriptors::{Descriptors, Use};
use super::divert::Streams;
use super::stream::Stream;

/// What a call wants of its relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Moving bytes as they come.
    Flow,
    /// The same, and to be told when all that was written so far has been given.
    Settle,
    /// What can be moved until then without waiting long, and the end.
    Finish(Instant),
}

/// What has become of the streams.
#[derive(Debug, Default)]
struct News {
    /// All that was written when the call asked has been given.
    is_calm: bool,
    /// The thread has ended.
    is_over: bool,
    /// Something was still open or not given when it did.
    is_cut: bool,
    /// The call is to end: nothing may pass any more.
    is_lost: bool,
    /// The first capture that failed, by its descriptor, and why.
    failure: Option<(usize, i32)>,
    captured: Captured,
}

/// What both sides see.
#[derive(Debug)]
struct Board {
    order: Mutex<Order>,
    ordered: EventFd,
    news: Mutex<News>,
    told: EventFd,
}

impl Board {
    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A relay that runs.
#[derive(Debug)]
pub struct Relay {
    board: Arc<Board>,
    thread: JoinHandle<()>,
}

impl Relay {
    /// Has the streams flow; `None` where there are none. Errors: `EAGAIN` (no thread to be had), `EMFILE`.
    pub fn begin(streams: Streams) -> io::Result<Option<Self>> {
        if streams.0.is_empty() {
            return Ok(None);
        }
        let event = || EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let (order, news) = (Mutex::new(Order::Flow), Mutex::default());
        let board = Arc::new(Board { order, ordered: event()?, news, told: event()? });
        let work = Work { streams: streams.0, board: board.clone() };
        let begun = thread::Builder::new().name("relay".into()).stack_size(CALL_STACK_BYTES);
        let thread = begun.spawn(move || work.run())?;
        Ok(Some(Self { board, thread }))
    }

    /// Readable when there is news.
    pub fn told(&self) -> BorrowedFd<'_> {
        self.board.told.as_fd()
    }

    /// The news was heard.
    pub(super) fn heard(&self) {
        // Nothing to read means that it was heard already.
        self.board.told.read().ok();
    }

    /// Whether the call is to end because a capture failed.
    pub(super) fn is_lost(&self) -> bool {
        self.board.news().is_lost
    }

    /// Whether all that was written before [`Self::settle`] has been given.
    pub(super) fn is_calm(&self) -> bool {
        let news = self.board.news();
        news.is_calm || news.is_over
    }

    /// Whether nothing moves any more.
    pub fn is_over(&self) -> bool {
        self.board.news().is_over
    }

    /// Asks to be told when all that was written so far has been given.
    pub(super) fn settle(&self) {
        self.tell(Order::Settle);
    }

    /// Has it end, after what can be moved until then without waiting long.
    pub fn finish(&self, until: Instant) {
        self.tell(Order::Finish(until));
    }

    fn tell(&self, order: Order) {
        *self.board.order() = order;
        // It fails only when the counter is full, and then it is readable already.
        self.board.ordered.write(1).ok();
    }

    /// The first capture that failed, by its descriptor, and why.
    pub fn failure(&self) -> Option<(usize, io::Error)> {
        self.board.news().failure.map(|(index, errno)| (index, io::Error::from_raw_os_error(errno)))
    }

    /// What the captures hold. Of a relay that is held up nobody knows what they lack.
    pub fn captured(&self) -> Captured {
        let news = self.board.news();
        let drain_timeout = news.is_cut || !news.is_over;
        let is_captured = news.captured.bytes.iter().any(Option::is_some);
        let truncated = news.captured.truncated || (is_captured && !news.is_over);
        Captured { drain_timeout, truncated, ..news.captured }
    }

    /// The same while they go on.
    pub(super) fn captured_so_far(&self) -> Captured {
        Captured { goes_on: true, ..self.board.news().captured }
    }

    /// Waits until all is over, as long as `until` says and the broker does not stop.
    pub fn wait_over(&self, until: Option<Instant>, stopping: BorrowedFd<'_>) -> io::Result<()> {
        while !self.is_over() {
            let mut looked_at =
                [PollFd::new(stopping, PollFlags::POLLIN), PollFd::new(self.told(), PollFlags::POLLIN)];
            if !sys::poll_until(&mut looked_at, until)? || looked_at[0].any() == Some(true) {
                return Ok(());
            }
            self.heard();
        }
        Ok(())
    }

    /// Waits for the thread itself, which is over.
    pub fn join(self) {
        // One that panicked has said so.
        self.thread.join().ok();
    }
}

/// The thread's side.
struct Work {
    streams: Vec<(usize, Stream<Descriptors>)>,
    board: Arc<Board>,
}

impl Work {
    fn run(mut self) {
        let mut last_moved = Instant::now();
        let mut heard = Order::Flow;
        loop {
            let order = *self.board.order();
            let moved = self.pump(order);
            if moved {
                last_moved = Instant::now();
            }
            self.report();
            let now = Instant::now();
            let until = match order {
                _ if self.is_done(order) => return,
                Order::Finish(until) if now >= until.min(last_moved + RELAY_PATIENCE) => return,
                // What comes after a look is known only then.
                _ if moved || order != heard => Some(now),
                Order::Finish(until) => Some(until.min(last_moved + RELAY_PATIENCE)),
                Order::Flow | Order::Settle => None,
            };
            heard = order;
            if self.look(until).is_err() {
                return;
            }
            let is_calm = order == Order::Settle && self.streams.iter().all(|(_, stream)| stream.is_calm());
            if is_calm && !self.board.news().is_calm {
                self.tell(|news| news.is_calm = true);
            }
        }
    }

    /// Whether nothing is left to do. After a loss, the command must not take the end of its stdin for the whole of it:
    /// that stays open until the command has ended. And until then it may read what was handed to it.
    fn is_done(&self, order: Order) -> bool {
        let may_close = matches!(order, Order::Finish(_)) || !self.streams.iter().any(|(_, s)| s.is_lost());
        let is_done = |stream: &Stream<_>| stream.is_over() && (order != Order::Flow || stream.is_known());
        may_close && self.streams.iter().all(|(_, stream)| is_done(stream))
    }

    /// Moves what can be moved now, and lets go of what is over.
    fn pump(&mut self, order: Order) -> bool {
        let mut moved = false;
        for (_, stream) in &mut self.streams {
            if matches!(order, Order::Finish(_)) {
                stream.hurry();
            }
            moved |= stream.take();
        }
        // Giving may be held up: what is captured is told before.
        self.report();
        for (_, stream) in &mut self.streams {
            moved |= stream.give();
            stream.release();
        }
        moved
    }

    /// Puts down how far the captures are, and a loss that ends the call.
    fn report(&self) {
        let mut captured = Captured::default();
        let (mut is_lost, mut failure) = (false, None);
        for (index, stream) in &self.streams {
            captured.bytes[*index] = stream.captured();
            captured.truncated |= stream.is_truncated();
            is_lost |= stream.is_lost();
            let errno = |loss: &io::Error| (*index, loss.raw_os_error().unwrap_or_default());
            failure = failure.or_else(|| stream.loss().map(errno));
        }
        let mut news = self.board.news();
        (news.captured, news.failure) = (captured, failure);
        let is_new = is_lost && !news.is_lost;
        drop(news);
        if is_new {
            self.tell(|news| news.is_lost = true);
        }
    }

    fn tell(&self, change: impl FnOnce(&mut News)) {
        change(&mut self.board.news());
        // It fails only when the counter is full, and then it is readable already.
        self.board.told.write(1).ok();
    }

    /// Waits until something can be moved, somebody is gone, there is an order, or the time is up.
    fn look(&mut self, until: Option<Instant>) -> io::Result<()> {
        let mut looked_at = vec![PollFd::new(self.board.ordered.as_fd(), PollFlags::POLLIN)];
        let mut places = Vec::new();
        for (place, (_, stream)) in self.streams.iter().enumerate().filter(|(_, (_, s))| !s.is_over()) {
            let wants = stream.wants();
            if let Some(source) = stream.ends.source().filter(|_| wants.source) {
                places.push((place, Use::Read));
                looked_at.push(PollFd::new(source, PollFlags::POLLIN));
            }
            // Without an event asked for, it tells only that nobody reads any more.
            let room = if wants.sink { PollFlags::POLLOUT } else { PollFlags::empty() };
            if let Some(sink) = stream.ends.sink() {
                places.push((place, Use::Write));
                looked_at.push(PollFd::new(sink, room));
            }
        }
        sys::poll_until(&mut looked_at, until)?;
        let seen: Vec<PollFlags> =
            looked_at.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())).collect();
        drop(looked_at);
        if !seen[0].is_empty() {
            self.board.ordered.read().ok();
        }
        for (place, (_, stream)) in self.streams.iter_mut().enumerate() {
            let of = |used| places.iter().position(|at| *at == (place, used)).map(|at| seen[at + 1]);
            stream.heed(of(Use::Read), of(Use::Write));
        }
        Ok(())
    }
}

impl Drop for Work {
    /// The last word, from a panic too: what the command and the reader wait for is closed before.
    fn drop(&mut self) {
        let is_cut = self.streams.iter().any(|(_, stream)| !stream.is_over());
        // Not because the call wanted it: the relay failed.
        let is_lost = is_cut && !matches!(*self.board.order(), Order::Finish(_));
        for (_, stream) in &mut self.streams {
            stream.close();
        }
        self.report();
        self.streams.clear();
        self.tell(|news| {
            (news.is_over, news.is_cut) = (true, is_cut);
            news.is_lost |= is_lost;
        });
    }
}
