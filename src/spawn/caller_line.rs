//! A caller, as a running call hears it: a connection of version 1, on which only its end counts, or the line
//! of an adapter, on which signals come too.

use std::os::fd::BorrowedFd;

use nix::poll::{PollFd, PollFlags};
use nix::sys::epoll::EpollFlags;
use nix::sys::signal::Signal;

use crate::sys;

/// The descriptor at which a caller is heard.
#[derive(Clone, Copy, Debug)]
pub struct CallerLine<'a> {
    fd: BorrowedFd<'a>,
    is_piped: bool,
}

/// What a caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallerNews {
    /// This signal is to be forwarded.
    Signal(Signal),
    /// The caller is gone.
    Gone,
    /// Nothing.
    Nothing,
}

impl<'a> CallerLine<'a> {
    /// The connection of a caller of version 1.
    pub fn connection(fd: BorrowedFd<'a>) -> Self {
        Self { fd, is_piped: false }
    }

    /// The line of an adapter, whose first message was taken.
    pub fn line(fd: BorrowedFd<'a>) -> Self {
        Self { fd, is_piped: true }
    }

    /// Ready when the caller is gone. poll(2) reports the hangup of a connection in any case; the adapter
    /// says that nothing more comes, and goes on receiving.
    pub fn hangup(self) -> PollFd<'a> {
        let events = if self.is_piped { sys::SENDER_DONE } else { PollFlags::empty() };
        PollFd::new(self.fd, events)
    }

    /// The same for an epoll, which reports the hangup of a connection in any case as well.
    pub fn departure(self) -> EpollFlags {
        if self.is_piped { EpollFlags::EPOLLRDHUP } else { EpollFlags::empty() }
    }

    /// Ready when the caller wants something. A second request of version 1 stays unread.
    pub(super) fn news(self) -> PollFd<'a> {
        let events = if self.is_piped { PollFlags::POLLIN } else { PollFlags::empty() };
        PollFd::new(self.fd, events)
    }

    /// Whether a caller can have signals forwarded.
    pub(super) fn has_signals(self) -> bool {
        self.is_piped
    }

    /// What the caller wants, once [`Self::news`] is ready.
    pub(super) fn hear(self) -> CallerNews {
        if !self.is_piped {
            return CallerNews::Gone;
        }
        let mut signal = [0];
        match sys::receive_now(self.fd, &mut signal) {
            Ok(1) => Signal::try_from(i32::from(signal[0])).map_or(CallerNews::Nothing, CallerNews::Signal),
            Err(source) if source.kind() == std::io::ErrorKind::WouldBlock => CallerNews::Nothing,
            Ok(_) | Err(_) => CallerNews::Gone,
        }
    }
}
