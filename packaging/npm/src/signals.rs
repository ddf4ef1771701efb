//! The signals that JavaScript sends to a call while its thread waits for the broker.

use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use napi::bindgen_prelude::Result;
use nix::sys::signal::Signal;
use sluice::sys::Wakeup;

use crate::asking::thrown;

/// The signals that were sent and not taken yet; readable while there are some.
#[derive(Debug)]
pub(crate) struct SentSignals {
    sent: Mutex<Vec<Signal>>,
    wakeup: Wakeup,
    /// Whether the thread waits for them.
    is_heard: AtomicBool,
}

impl SentSignals {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            sent: Mutex::default(),
            wakeup: Wakeup::new().map_err(thrown)?,
            is_heard: AtomicBool::new(false),
        })
    }

    /// Sends a signal, and gives whether the thread hears it now: not while it connects.
    pub(crate) fn send(&self, signal: Signal) -> bool {
        self.sent().push(signal);
        self.wakeup.wake();
        self.is_heard.load(Ordering::Acquire)
    }

    /// Says whether the thread waits for signals from now on.
    pub(crate) fn set_heard(&self, is_heard: bool) {
        self.is_heard.store(is_heard, Ordering::Release);
    }

    /// The first of these signals that was sent and not taken.
    pub(crate) fn find(&self, signals: &[Signal]) -> Option<Signal> {
        self.sent().iter().copied().find(|signal| signals.contains(signal))
    }

    pub(crate) fn take(&self) -> Vec<Signal> {
        self.wakeup.clear();
        mem::take(&mut *self.sent())
    }

    fn sent(&self) -> MutexGuard<'_, Vec<Signal>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for SentSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wakeup.as_fd()
    }
}
