//! A connection that was accepted. Messages in it may bring descriptors whose close takes as long as their
//! owner likes, so dropping the connection closes it only where it is certain that no message is left in it.
//! Any other connection goes to `closing.rs`, however its request ended.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{Shutdown, shutdown};

use crate::limits::{
    FRAME_PIECE_BYTES, FRAME_SEND_MAX, REQUEST_REST_MAX, REQUEST_REST_MIN, REQUEST_TRIES_MAX,
    SECOND_REQUESTS_MAX,
};
use crate::refusal::Refusal;
use crate::spawn::{CallerLine, CloseMode, StopSignal};
use crate::sys::{self, Sender};

use super::adapters::LentAdapter;
use super::closing::ConnectionCloser;

/// A connection, with its peer, and the state of the messages in it as far as that is known.
#[derive(Debug)]
pub(super) struct Connection {
    /// `None` only during the drop.
    fd: Option<OwnedFd>,
    /// The process that connected, as the kernel names it.
    connector: Option<Sender>,
    socket: usize,
    closing: Arc<ConnectionCloser>,
    /// Whether the first message was taken out.
    is_taken: Cell<bool>,
    /// Whether another process may be taking a message out: then the broker must not look at the messages.
    is_lent: Cell<bool>,
    is_answered: Cell<bool>,
    /// Whether version 2 was spoken on it: then it carries any number of requests.
    is_shared: Cell<bool>,
    is_door: bool,
    /// How often no adapter could be had for the request in it.
    tries: Cell<u32>,
    /// Whether that request was refused, so that it must not run.
    is_refused: Cell<bool>,
    /// Whether nothing more is let in, because others need the place.
    is_last: Cell<bool>,
    content: Cell<ConnectionContent>,
    /// The adapter at the other end, where this is the line of a request of version 2. Dropped after the line
    /// is closed.
    adapter: Option<LentAdapter>,
}

/// The messages in a connection, as far as they are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionContent {
    Unknown,
    /// None, and none comes in any more.
    Nothing,
    /// Messages that only another process may take out.
    Descriptors,
}

impl Connection {
    /// A connection that was accepted at a socket, by its index.
    pub(super) fn new(fd: OwnedFd, socket: usize, closing: Arc<ConnectionCloser>) -> Self {
        let connector = sys::connector(fd.as_fd()).ok();
        Self::of(fd, connector, socket, closing, None)
    }

    /// The connection of a FIFO door at a socket, by its index.
    pub(super) fn of_door(fd: OwnedFd, socket: usize, closing: Arc<ConnectionCloser>) -> Self {
        let mut connection = Self::of(fd, None, socket, closing, None);
        connection.is_door = true;
        connection.share();
        connection
    }

    /// Whether a FIFO door is at the other end, which sends requests of others.
    pub(super) fn is_door(&self) -> bool {
        self.is_door
    }

    /// The broker's end of the line to an adapter that serves a request from `shared`.
    pub(super) fn line(fd: OwnedFd, shared: &Self, adapter: LentAdapter) -> Self {
        Self::of(fd, shared.connector, shared.socket, shared.closing.clone(), Some(adapter))
    }

    fn of(
        fd: OwnedFd,
        connector: Option<Sender>,
        socket: usize,
        closing: Arc<ConnectionCloser>,
        adapter: Option<LentAdapter>,
    ) -> Self {
        let [is_taken, is_lent, is_answered, is_shared, is_refused, is_last] =
            [const { Cell::new(false) }; 6];
        let content = Cell::new(ConnectionContent::Unknown);
        let fd = Some(fd);
        Self {
            fd,
            connector,
            socket,
            closing,
            is_taken,
            is_lent,
            is_answered,
            is_shared,
            is_door: false,
            tries: Cell::new(0),
            is_refused,
            is_last,
            content,
            adapter,
        }
    }

    /// The index of the socket at which it was accepted.
    pub(super) fn socket(&self) -> usize {
        self.socket
    }

    /// Whether this is the line of a request of version 2.
    pub(super) fn is_line(&self) -> bool {
        self.adapter.is_some()
    }

    /// Notes that version 2 was spoken on it.
    pub(super) fn share(&self) {
        self.is_shared.set(true);
    }

    /// Whether it carries any number of requests, and nothing is known to keep it from carrying the next.
    pub(super) fn is_shared(&self) -> bool {
        self.is_shared.get() && !self.is_lent.get()
    }

    /// The caller, as a running call hears it.
    pub(super) fn caller(&self) -> CallerLine<'_> {
        let fd = self.as_fd();
        if self.is_line() { CallerLine::line(fd) } else { CallerLine::connection(fd) }
    }

    /// The process that connected, where the kernel says so.
    pub(super) fn connector(&self) -> Option<Sender> {
        self.connector
    }

    /// Whether a message is there, or the caller's end of the connection is closed: most callers send as soon
    /// as they have connected.
    pub(super) fn is_readable(&self) -> bool {
        let mut is_there = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        sys::poll_until(&mut is_there, Some(Instant::now())).unwrap_or(false)
    }

    /// Whether the caller has closed its end.
    pub(super) fn is_over(&self) -> bool {
        sys::poll_until(&mut [self.caller().hangup()], Some(Instant::now())).unwrap_or(true)
    }

    /// Notes that another process has a copy of the connection, and takes the first message out.
    pub(super) fn lend(&self) {
        self.is_lent.set(true);
    }

    /// Notes that the first message was taken out, and that the other process's copy is gone.
    pub(super) fn note_taken(&self) {
        self.is_lent.set(false);
        self.is_taken.set(true);
    }

    /// Notes that an adapter gets a copy of the connection, and takes one of many requests out.
    pub(super) fn lend_to_adapter(&self) {
        self.lend();
        // Where it fails, it is not known in the end whether the request was taken.
        sys::start_noting(self.as_fd()).ok();
    }

    /// Whether an adapter has taken the request out, however it ended, where the kernel says so. An empty
    /// message leaves no trace.
    pub(super) fn is_request_taken(&self) -> Option<bool> {
        sys::was_received(self.as_fd()).ok()
    }

    /// Notes that no adapter takes anything out any more; the request is still in it.
    pub(super) fn take_back(&self) {
        sys::stop_noting(self.as_fd()).ok();
        self.is_lent.set(false);
    }

    /// Notes that the adapter has taken one of many requests, and receives nothing more.
    pub(super) fn note_request_taken(&self) {
        self.take_back();
        self.tries.set(0);
        self.is_refused.set(false);
    }

    /// Whether no adapter could be had for the request in it before.
    pub(super) fn is_tried_again(&self) -> bool {
        self.tries.get() > 0
    }

    /// How long the request in it is to rest before it is tried again; `None` where it was tried so often
    /// that it is refused.
    pub(super) fn next_rest(&self) -> Option<Duration> {
        let tries = self.tries.get();
        self.tries.set(tries.saturating_add(1));
        let rest = REQUEST_REST_MIN.saturating_mul(1_u32.checked_shl(tries).unwrap_or(u32::MAX));
        (tries < REQUEST_TRIES_MAX).then_some(rest.min(REQUEST_REST_MAX))
    }

    /// Notes that the request in it was refused.
    pub(super) fn note_refused(&self) {
        self.is_refused.set(true);
    }

    /// Whether the request in it was refused.
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused.get()
    }

    /// Whether its place is needed, so that nothing more comes.
    pub(super) fn is_last(&self) -> bool {
        self.is_last.get()
    }

    /// Notes that the request in it cannot be taken, so that it can carry no other.
    pub(super) fn give_up(&self) {
        self.is_shared.set(false);
    }

    /// Waits until the adapter at the other end of this line has its request, and gives the number of
    /// descriptors that came with it.
    pub(super) fn await_taken(&self, stop: StopSignal<'_>) -> Result<usize, Refusal> {
        let adapter = self.adapter.as_ref().ok_or(Refusal::Failed)?;
        adapter.adapter().await_taken(stop)
    }

    /// Kills the adapter at the other end of this line, and says whether it has ended by `give_up`.
    pub(super) fn end_adapter(&self, give_up: Instant) -> bool {
        self.adapter.as_ref().is_some_and(|adapter| adapter.adapter().end(give_up))
    }

    /// Sends an answer. An error is ignored: the caller has left then.
    pub(super) fn answer(&self, message: &[u8]) {
        self.is_answered.set(true);
        drop(sys::send(self.as_fd(), message, &[]));
    }

    /// Sends bytes of frames in pieces that the adapter has room for. Gives up on an adapter that takes none
    /// for [`FRAME_SEND_MAX`], because its caller reads nothing.
    pub(super) fn send_frames(&self, bytes: &[u8]) {
        self.is_answered.set(true);
        for piece in bytes.chunks(FRAME_PIECE_BYTES) {
            let give_up = Some(Instant::now() + FRAME_SEND_MAX);
            if sys::send_patiently(self.as_fd(), piece, &[], give_up).is_err() {
                return;
            }
        }
    }

    /// Sends a short frame, if there is room for it now.
    pub(super) fn send_frame_now(&self, bytes: &[u8]) {
        drop(sys::send_patiently(self.as_fd(), bytes, &[], Some(Instant::now())));
    }

    /// Lets no more messages in, and says whether one is there. It stays there.
    pub(super) fn has_last_message(&self) -> bool {
        self.is_last.set(true);
        self.stop_receiving();
        sys::peek(self.as_fd(), 0).is_ok_and(|message| message.is_some())
    }

    /// Lets no more messages in, and returns how many messages wait behind the first one, as far as they are
    /// counted. Messages without descriptors are taken out.
    pub(super) fn count_rest(&self) -> usize {
        if self.is_lent.get() || self.is_shared.get() || self.is_line() {
            return 0;
        }
        self.stop_receiving();
        let own = usize::from(!self.is_taken.get());
        let most = SECOND_REQUESTS_MAX + own;
        let (mut count, first) = self.take_plain(most);
        // From here on every message stays, because a message with descriptors is ahead of it. That message
        // was peeked at already: if it is empty, the kernel remembers that, and does not show it again.
        let mut bytes = first.unwrap_or_default();
        count += usize::from(first.is_some());
        while self.content.get() == ConnectionContent::Descriptors && count < most {
            let Ok(Some(message)) = sys::peek_behind(self.as_fd(), bytes) else { break };
            (bytes, count) = (bytes + message.length, count + 1);
        }
        count.saturating_sub(own)
    }

    /// Lets no more messages in. It fails on a connection that its caller has closed, where none can come in
    /// any case.
    fn stop_receiving(&self) {
        shutdown(self.as_fd().as_raw_fd(), Shutdown::Read).ok();
    }

    /// Takes out messages without descriptors, until one has some or nothing is left. Returns how many were
    /// taken out, and the bytes of the message that has descriptors, if there is one.
    fn take_plain(&self, most: usize) -> (usize, Option<usize>) {
        let (mut count, mut first) = (0, None);
        // One peek more than messages, because an error may take one.
        for _ in 0..=most {
            match sys::peek(self.as_fd(), 0) {
                Ok(Some(message)) if message.brings_descriptors => {
                    self.content.set(ConnectionContent::Descriptors);
                    first = Some(message.length);
                    break;
                }
                Ok(Some(_)) if count == most => break,
                Ok(Some(_)) => {
                    sys::discard(self.as_fd()).ok();
                    count += 1;
                }
                Ok(None) => {
                    self.content.set(ConnectionContent::Nothing);
                    break;
                }
                // The kernel reports once that a caller left with an answer unread.
                Err(source) if source.kind() == io::ErrorKind::ConnectionReset => {}
                Err(_) => break,
            }
        }
        (count, first)
    }

    /// Whether it is certain that no message waits here, and that none comes any more.
    fn has_nothing(&self) -> bool {
        if self.is_lent.get() {
            return false;
        }
        if self.content.get() == ConnectionContent::Unknown {
            self.stop_receiving();
            // Where no answer was sent, messages stay, so that their sender sees that they were not read.
            self.take_plain(if self.is_answered.get() { SECOND_REQUESTS_MAX } else { 0 });
        }
        self.content.get() == ConnectionContent::Nothing
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("it is there until it is dropped").as_fd()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let is_empty = self.has_nothing();
        let Some(fd) = self.fd.take().filter(|_| !is_empty) else { return };
        let how = if self.is_answered.get() { CloseMode::Emptied } else { CloseMode::AsItIs };
        self.closing.hand(self.socket, fd, how);
    }
}
