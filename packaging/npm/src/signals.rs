//! The signals that JavaScript sends to a call while its thread waits for the broker.

use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use napi::bindgen_prelude::Result;
use nix::sys::signal::Signal;
use sluice::sys::Wakeup;

use crate::asking::thrown;

/// The signals that were sent and not taken yet; readable while there are some.
#[derive(Debug)]
pub(crate) struct SentSignals {
    sent: Mutex<Vec<Signal>>,
    wakeup: Wakeup,
}

impl SentSignals {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { sent: Mutex::default(), wakeup: Wakeup::new().map_err(thrown)? })
    }

    pub(crate) fn send(&self, signal: Signal) {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push(signal);
        self.wakeup.wake();
    }

    pub(crate) fn take(&self) -> Vec<Signal> {
        self.wakeup.clear();
        mem::take(&mut *self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AsFd for SentSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wakeup.as_fd()
    }
}
