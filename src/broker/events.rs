//! The events between the broker's threads: the stop, the order to hurry it, and the wakeup of the main
//! thread. Each is an eventfd, so that a thread can wait for it beside other descriptors.

use std::io;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::limits::STOP_CALLS_MAX;
use crate::spawn::StopSignal;
use crate::sys::Wakeup;

use super::status_board::StatusBoard;

/// The events between the broker's threads.
#[derive(Debug)]
pub(super) struct BrokerEvents {
    stopping: Wakeup,
    hurry: Wakeup,
    wake: Wakeup,
    stopped: AtomicBool,
    stopped_at: OnceLock<Instant>,
}

impl BrokerEvents {
    pub(super) fn new() -> io::Result<Self> {
        let stopped = AtomicBool::new(false);
        let stopped_at = OnceLock::new();
        Ok(Self {
            stopping: Wakeup::new()?,
            hurry: Wakeup::new()?,
            wake: Wakeup::new()?,
            stopped,
            stopped_at,
        })
    }

    /// Ends running calls and refuses new ones, from now on and for good.
    pub(super) fn stop(&self) {
        self.stopped_at.get_or_init(Instant::now);
        self.stopped.store(true, Ordering::SeqCst);
        self.stopping.wake();
    }

    /// Ends running calls without waiting for their processes to obey.
    pub(super) fn hurry(&self) {
        self.hurry.wake();
    }

    /// Wakes the main thread: something is due, or to be written.
    pub(super) fn wake(&self) {
        self.wake.wake();
    }

    /// Notes that the main thread was woken.
    pub(super) fn woken(&self) {
        self.wake.clear();
    }

    /// Notes that the status line for the service manager is out of date.
    pub(super) fn note_change(&self, board: &StatusBoard) {
        if board.change() {
            self.wake();
        }
    }

    pub(super) fn wakes(&self) -> &Wakeup {
        &self.wake
    }

    /// The time at which the stop began.
    pub(super) fn stopped_at(&self) -> Option<Instant> {
        self.stopped_at.get().copied()
    }

    /// The time from which calls are not waited for any more.
    pub(super) fn late_at(&self) -> Option<Instant> {
        self.stopped_at.get().map(|since| *since + STOP_CALLS_MAX)
    }

    pub(super) fn is_late(&self) -> bool {
        self.late_at().is_some_and(|late_at| late_at <= Instant::now())
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    pub(super) fn as_stop(&self) -> StopSignal<'_> {
        StopSignal { stopping: self.stopping.as_fd(), hurry: self.hurry.as_fd() }
    }
}
