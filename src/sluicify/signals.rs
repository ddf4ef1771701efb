//! The signals of this process that are passed on to the command. They are read from a descriptor, so that
//! none is lost between two waits. Those that were ignored or blocked when this process was started are let
//! go.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::sys;
use crate::wire::v2::FORWARDED_SIGNALS;

/// The signals that are read instead of taking effect, for as long as this lives.
#[derive(Debug)]
pub(super) struct CaughtSignals {
    signals: SignalFd,
    /// The mask that this process was started with.
    before: SigSet,
}

impl CaughtSignals {
    /// Blocks the signals, and has them read from a descriptor.
    pub(super) fn begin() -> io::Result<Self> {
        let caught: SigSet = FORWARDED_SIGNALS.into_iter().collect();
        let before = caught.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let signals = SignalFd::with_flags(&caught, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { signals, before })
    }

    /// The next signal that came and is not to be let go.
    pub(super) fn next(&self) -> Option<Signal> {
        while let Ok(Some(arrived)) = self.signals.read_signal() {
            let number = i32::try_from(arrived.ssi_signo).unwrap_or_default();
            let signal = Signal::try_from(number).ok()?;
            // The kernel keeps blocked signals for a reader even where they are ignored.
            if !self.before.contains(signal) && !sys::ignores(signal) {
                return Some(signal);
            }
        }
        None
    }

    /// Lets `signal` have its usual effect on this process, and comes back if it survives: after a stop, once
    /// it goes on.
    pub(super) fn take_effect(&self, signal: Signal) {
        let one: SigSet = [signal].into_iter().collect();
        // A signal to oneself that is blocked waits, and comes at once when it no longer is.
        raise(signal).ok();
        one.thread_unblock().ok();
        one.thread_block().ok();
    }
}

impl AsFd for CaughtSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}

impl Drop for CaughtSignals {
    /// What has come and was not read takes effect.
    fn drop(&mut self) {
        self.before.thread_set_mask().ok();
    }
}
