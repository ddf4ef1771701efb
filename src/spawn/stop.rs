//! The broker's stop, as two descriptors that a thread polls beside the descriptors that it waits for.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};

use crate::sys;

/// Two descriptors that become readable, for good, when the broker stops.
#[derive(Clone, Copy, Debug)]
pub struct StopSignal<'a> {
    /// Running calls are to end.
    pub stopping: BorrowedFd<'a>,
    /// Running calls are to end at once, without time to obey a SIGTERM.
    pub hurry: BorrowedFd<'a>,
}

impl StopSignal<'_> {
    /// Whether running calls are to end at once.
    pub(super) fn is_hurried(&self) -> io::Result<bool> {
        let mut look = [PollFd::new(self.hurry, PollFlags::POLLIN)];
        sys::poll_until(&mut look, Some(Instant::now()))
    }
}
