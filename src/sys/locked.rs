//! A mutex without poison: when a thread panics while it holds the lock, the other threads go on, with the
//! value as that thread left it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A mutex whose [`lock`](Self::lock) ignores poison.
#[derive(Debug, Default)]
pub struct Locked<T>(Mutex<T>);

impl<T> Locked<T> {
    /// An unlocked value.
    pub const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Locks, and gives the value until the guard is dropped. `Mutex::lock`.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Unlocks until `changed` is notified, or a spurious wakeup. `Condvar::wait`, without its poison.
pub fn wait_change<'v, T>(changed: &Condvar, value: MutexGuard<'v, T>) -> MutexGuard<'v, T> {
    changed.wait(value).unwrap_or_else(PoisonError::into_inner)
}

/// Unlocks until `changed` is notified, the time is over, or a spurious wakeup. `Condvar::wait_timeout`,
/// without its poison.
pub fn wait_change_for<'v, T>(
    changed: &Condvar,
    value: MutexGuard<'v, T>,
    at_most: Duration,
) -> MutexGuard<'v, T> {
    changed.wait_timeout(value, at_most).unwrap_or_else(PoisonError::into_inner).0
}
