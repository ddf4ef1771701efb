//! An eventfd that ends another thread's wait in poll(2) or epoll_wait(2). `eventfd(2)`, Linux 2.6.27.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// A descriptor that is readable from [`wake`](Self::wake) to [`clear`](Self::clear).
#[derive(Debug)]
pub struct Wakeup(EventFd);

impl Wakeup {
    /// A wakeup that is not readable, and that one [`clear`](Self::clear) clears however often it was woken.
    /// Errors: `EMFILE`, `ENFILE`, `ENOMEM`.
    pub fn new() -> io::Result<Self> {
        Self::with(EfdFlags::empty())
    }

    /// A wakeup that takes as many [`clear`](Self::clear)s as there were wakes (`EFD_SEMAPHORE`). Errors: as
    /// [`new`](Self::new).
    pub fn counting() -> io::Result<Self> {
        Self::with(EfdFlags::EFD_SEMAPHORE)
    }

    fn with(kind: EfdFlags) -> io::Result<Self> {
        Ok(Self(EventFd::from_flags(kind | EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?))
    }

    /// Makes the descriptor readable.
    pub fn wake(&self) {
        // write(2) on an eventfd fails only when its counter is full, and then it is readable already.
        self.0.write(1).ok();
    }

    /// Takes one wake, or all of them, and gives whether there was one. The state that the thread waits for
    /// has to be looked at after this: a wake that comes later makes the descriptor readable again.
    pub fn clear(&self) -> bool {
        self.0.read().is_ok()
    }
}

impl AsFd for Wakeup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
