//! Signals to a broker. They are blocked before there is a second thread, and read as events of its
//! loop.

use std::cell::Cell;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use nix::libc::{O_NOCTTY, O_NONBLOCK, SI_KERNEL};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::sys::{self, Wakeup};

use super::deadline::keep_deadline;
use super::notice::SayNotice;

/// The order that a signal gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignalOrder {
    /// HUP: the rules are to be read again.
    Reload,
    /// TERM, INT, or HUP because the terminal was closed.
    Stop,
}

/// The signals that a broker obeys.
#[derive(Debug)]
pub(super) struct BrokerSignals {
    descriptor: SignalFd,
    /// Woken when an order to stop was read.
    stop_taken: Arc<Wakeup>,
    /// Whether the broker was started to outlive its terminal (nohup).
    outlives_terminal: bool,
    has_terminal: Cell<bool>,
}

impl BrokerSignals {
    /// Blocks the signals, in this thread and in those that it makes. From here on, a write past the
    /// limit of a file's size fails, and processor time past its soft limit has no effect: neither ends the
    /// broker by a signal. Commands have the usual signals again.
    pub(super) fn begin() -> io::Result<Self> {
        let outlives_terminal = sys::ignores(Signal::SIGHUP);
        sys::ignore_limits()?;
        let mut wanted = SigSet::empty();
        [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT].into_iter().for_each(|signal| wanted.add(signal));
        wanted.thread_block()?;
        let descriptor = SignalFd::with_flags(&wanted, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let stop_taken = Arc::new(Wakeup::new()?);
        Ok(Self { descriptor, stop_taken, outlives_terminal, has_terminal: Cell::new(has_terminal()) })
    }

    /// Starts the thread that ends the process when a stop takes too long.
    pub(super) fn keep_deadline(&self, say: SayNotice) -> io::Result<()> {
        let mut stops = SigSet::empty();
        [Signal::SIGTERM, Signal::SIGINT].into_iter().for_each(|signal| stops.add(signal));
        let unread = SignalFd::with_flags(&stops, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        keep_deadline(unread, self.stop_taken.clone(), say)
    }

    /// The next order, if there is one. A signal that cannot be read now is there at the next look.
    pub(super) fn next(&self) -> Option<SignalOrder> {
        let order = self.take();
        if order == Some(SignalOrder::Stop) {
            self.stop_taken.wake();
        }
        order
    }

    fn take(&self) -> Option<SignalOrder> {
        while let Ok(Some(signal)) = self.descriptor.read_signal() {
            if signal.ssi_signo != Signal::SIGHUP as u32 {
                return Some(SignalOrder::Stop);
            }
            // When a terminal is closed, the kernel signals the session's first process; if that is a shell,
            // it signals its jobs.
            let is_closed = signal.ssi_code == SI_KERNEL || (self.has_terminal.get() && !has_terminal());
            if !is_closed {
                return Some(SignalOrder::Reload);
            }
            self.has_terminal.set(false);
            if !self.outlives_terminal {
                return Some(SignalOrder::Stop);
            }
        }
        None
    }
}

impl AsFd for BrokerSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Whether this process has a controlling terminal. The file that is opened for the test is closed at once.
fn has_terminal() -> bool {
    OpenOptions::new().read(true).custom_flags(O_NOCTTY | O_NONBLOCK).open("/dev/tty").is_ok()
}
