//! The notes of threads for the status line: that something changed, and the last refusal.
//! `service_status.rs` makes the line of it and sends it.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::audit::RefusedRequest;
use crate::sd::Notifier;
use crate::sys::Locked;

/// The notes of threads for the status line.
#[derive(Debug)]
pub(super) struct StatusBoard {
    /// Whether a service manager is told at all.
    followed: bool,
    changed: AtomicBool,
    refused: Locked<Option<String>>,
}

impl StatusBoard {
    /// No notes.
    pub(super) fn new(notifier: &Notifier) -> Self {
        Self { followed: notifier.is_heard(), changed: AtomicBool::new(false), refused: Locked::default() }
    }

    /// Notes that calls came or went. Returns whether the main thread has to be woken.
    pub(super) fn change(&self) -> bool {
        self.followed && !self.changed.swap(true, Ordering::SeqCst)
    }

    /// Notes a refusal. Returns whether the main thread has to be woken.
    pub(super) fn refuse(&self, rejected: &RefusedRequest) -> bool {
        if self.followed {
            *self.refused.lock() = Some(rejected.summary());
        }
        self.change()
    }

    /// Whether something changed since the last [`Self::take_change`].
    pub(super) fn has_changed(&self) -> bool {
        self.changed.load(Ordering::SeqCst)
    }

    /// Whether something changed since the last time; the function's caller sends the status line then.
    pub(super) fn take_change(&self) -> bool {
        self.changed.swap(false, Ordering::SeqCst)
    }

    /// The last refusal, in a line.
    pub(super) fn last_refused(&self) -> Option<String> {
        self.refused.lock().clone()
    }
}
