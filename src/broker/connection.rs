//! A connection that was accepted. Messages in it may bring descriptors whose close takes as long as their
//! owner likes, so dropping the connection closes it only where it is certain that no message is left in it.
//! Any other connection goes to `closing.rs`, in whatever way it comes to its end.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};
use nix::sys::socket::{Shutdown, shutdown};

use crate::limits::SECOND_REQUESTS_MAX;
use crate::spawn::CloseMode;
use crate::sys::{self, Sender};

use super::closing::ConnectionCloser;

/// A connection, with its peer and what is known of the messages in it.
#[derive(Debug)]
pub(super) struct Connection {
    /// `None` only during the drop.
    fd: Option<OwnedFd>,
    /// The process that connected, in the kernel's words.
    connector: Option<Sender>,
    socket: usize,
    closing: Arc<ConnectionCloser>,
    /// Whether the first message was taken out.
    is_taken: Cell<bool>,
    /// Whether another process may be taking a message out: then this one must not look.
    is_lent: Cell<bool>,
    is_answered: Cell<bool>,
    content: Cell<ConnectionContent>,
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
        let [is_taken, is_lent, is_answered] = [const { Cell::new(false) }; 3];
        let content = Cell::new(ConnectionContent::Unknown);
        let connector = sys::connector(fd.as_fd()).ok();
        Self { fd: Some(fd), connector, socket, closing, is_taken, is_lent, is_answered, content }
    }

    /// The process that connected, where the kernel says so.
    pub(super) fn connector(&self) -> Option<Sender> {
        self.connector
    }

    /// Whether a message is there, or the caller's end of the connection is closed: most callers send as soon
    /// as they have connected.
    pub(super) fn is_readable(&self) -> bool {
        self.is_readable_until(Instant::now())
    }

    /// Whether that is so by this time; waits for it.
    pub(super) fn is_readable_until(&self, until: Instant) -> bool {
        self.shows(PollFlags::POLLIN, until).unwrap_or(false)
    }

    /// Whether the caller has closed its end.
    pub(super) fn is_over(&self) -> bool {
        self.shows(PollFlags::empty(), Instant::now()).unwrap_or(true)
    }

    fn shows(&self, events: PollFlags, until: Instant) -> io::Result<bool> {
        sys::poll_until(&mut [PollFd::new(self.as_fd(), events)], Some(until))
    }

    /// Notes that another process has a copy, and takes the first message out.
    pub(super) fn lend(&self) {
        self.is_lent.set(true);
    }

    /// Notes that the first message was taken out, and that the copy is gone.
    pub(super) fn note_taken(&self) {
        self.is_lent.set(false);
        self.is_taken.set(true);
    }

    /// Sends an answer. Where it does not arrive, its caller has left.
    pub(super) fn answer(&self, message: &[u8]) {
        self.is_answered.set(true);
        drop(sys::send(self.as_fd(), message, &[]));
    }

    /// Takes nothing in any more, and gives how many messages wait behind the first one, as far as they are
    /// counted. What brings no descriptors is taken out.
    pub(super) fn count_rest(&self) -> usize {
        if self.is_lent.get() {
            return 0;
        }
        self.stop_receiving();
        let own = usize::from(!self.is_taken.get());
        let most = SECOND_REQUESTS_MAX + own;
        let (mut count, first) = self.take_plain(most);
        // From here on every message stays, behind one with descriptors, which was looked at already: of an
        // empty one, the kernel remembers that, and does not show it again.
        let mut bytes = first.unwrap_or_default();
        count += usize::from(first.is_some());
        while self.content.get() == ConnectionContent::Descriptors && count < most {
            let Ok(Some(message)) = sys::peek_behind(self.as_fd(), bytes) else { break };
            (bytes, count) = (bytes + message.length, count + 1);
        }
        count.saturating_sub(own)
    }

    /// No message comes in after this. On a connection that its caller has closed, none does in any case.
    fn stop_receiving(&self) {
        shutdown(self.as_fd().as_raw_fd(), Shutdown::Read).ok();
    }

    /// Takes out messages without descriptors, until one has some or nothing is left, and gives how many; and
    /// of the one that has some, its bytes.
    fn take_plain(&self, most: usize) -> (usize, Option<usize>) {
        let (mut count, mut first) = (0, None);
        // One look more than messages, for an error that is told once.
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
                // A caller that left with an answer unread is told once.
                Err(source) if source.kind() == io::ErrorKind::ConnectionReset => {}
                Err(_) => break,
            }
        }
        (count, first)
    }

    /// Whether it is certain that nothing waits here, and that nothing comes any more.
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
